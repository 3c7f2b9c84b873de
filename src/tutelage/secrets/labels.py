"""Secrets that only their label gives away: "password": "…", API_KEY=…, --token …, Pwd=…;.

A label alone is no sign, since tool schemas and manuals are full of them: the value has to look like a secret too.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator

from tutelage.secrets.forms import PLACEHOLDERS

PASSWORD = r"passw(?:or)?d|passwort|kennwort|passphrase|pwd"
KEY = (
    r"api[_-]?key|secret[_-]?(?:access[_-]?)?key|access[_-]?key|account[_-]?key|private[_-]?key|signing[_-]?key"
    r"|encryption[_-]?key|master[_-]?key|(?:client|app|consumer|webhook|shared|jwt)[_-]?secret|secret|apikey"
    r"|(?:access|auth|api|refresh|bearer|bot|session|security|oauth|id|personal[_-]?access|deploy)[_-]?token"
)
LABEL = re.compile(rf"(?i)(?P<password>{PASSWORD})|(?P<key>{KEY}|(?<![a-z0-9_-])token)(?![a-z0-9])")
SIGNS = ("pass", "pwd", "kennwort", "key", "secret", "token")  # one stands in every label; looked for first, for speed
FLAG = re.compile(r"--[\w-]*$")  # before a label: of a command line
# From the label to the value: a quote that ends the label, a separator, a quote that opens the value.
TO_VALUE = re.compile(
    r"(?P<end>\\*[\"'])?\s{0,3}(?::=|=>|[:=]|\bis\b)\s{0,3}(?P<quote>\\*[\"'])?|(?P<flag> )(?P<q2>[\"'])?"
)
CODE = re.compile(r"[A-Za-z_][\w.]*(?:[(\[].*|[}\]])?")  # password = os.environ[…, password: PasswordType
LEAST_PASSWORD, LEAST_KEY = 6, 16  # characters
LEAST_ENTROPY = 3.0  # bits a character of a key; words have less


def labelled(text: str) -> Iterator[tuple[str, str]]:
    """The kind and the value of each labelled secret in `text`."""
    lower = text.lower()
    if not any(sign in lower for sign in SIGNS):
        return
    for label in LABEL.finditer(text):
        to_value = TO_VALUE.match(text, label.end())
        if to_value is None:
            continue
        if to_value["flag"] and not FLAG.search(text, max(0, label.start() - 30), label.start()):
            continue
        quote = to_value["quote"] or to_value["q2"]
        found = _quoted(text, to_value.end(), quote) if quote else _bare(text, to_value.end())
        kind = "password" if label["password"] else "key"
        if found and is_secret(kind, found) and (quote or not is_code(found)):
            yield f"labelled {kind}", found


def field(name: str, value: str) -> Iterator[tuple[str, str]]:
    """The same for a field of a JSON object."""
    label = LABEL.search(name)
    if label and label.end() == len(name):
        kind = "password" if label["password"] else "key"
        if is_secret(kind, value):
            yield f"labelled {kind}", value


def is_secret(kind: str, value: str) -> bool:
    """Whether what stands beside a label looks like a secret: no word, no sentence, no placeholder."""
    if re.search(r"\s|^[<\[{$%]", value) or PLACEHOLDERS.search(value):
        return False
    if kind == "password":
        kinds = (str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum())
        words = re.fullmatch(r"[A-Z]?[a-z]+(?:[ _.,:/-]+[A-Za-z]?[a-z]*)*", value)
        return len(value) >= LEAST_PASSWORD and not words and sum(any(map(is_, value)) for is_ in kinds) > 1
    return (
        len(value) >= LEAST_KEY
        and any(map(str.isdigit, value))
        and any(map(str.isalpha, value))
        and entropy(value) >= LEAST_ENTROPY
    )


def is_code(value: str) -> bool:
    """Whether a value without quotes is an expression: a name without digits, a call, an index."""
    return CODE.fullmatch(value) is not None and not re.match(r"\w*\d\w*$", value)


def entropy(value: str) -> float:
    """Bits a character, by how often each of its characters comes."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())


def _quoted(text: str, start: int, quote: str) -> str:
    end = text.find(quote, start)
    while end > 0 and len(quote) == 1 and text[end - 1] == "\\":  # an escaped quote belongs to the value
        end = text.find(quote, end + 1)
    return text[start:end] if 0 <= end - start < 500 else ""


def _bare(text: str, start: int) -> str:
    found = re.compile(r"[^\s,;&\"'<>\\]+").match(text, start)
    return found[0].rstrip(".)") if found else ""
