"""Personal data whose form can be checked: e-mail addresses, phone and card numbers, IBANs.

Phone numbers are found by phonenumbers, which knows every country's ranges. Names and addresses have no form; they are
not looked for.
"""

import re
from collections.abc import Iterator
from typing import Any

from tutelage.errors import MissingExtra, TutelageError

EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,6}[A-Za-z]{2,24}\b"
)
# Addresses of nobody: reserved domains, Git's login, and file names such as icon@2x.png.
NOBODY = re.compile(
    r"(?i)@(?:.*\.)?example(?:\.\w+)?$|\.(?:example|invalid|test|localhost|png|jpe?g|gif|svg|webp)$|^git@"
)
CARD = re.compile(r"(?<![\w.-])[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}(?![\w-]|\.\d)")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
INTERNATIONAL = re.compile(r"(?<![\w+])\+\d[\d\s()./-]{6,22}")


def personal_data(text: str, region: str | None = None) -> Iterator[tuple[str, str]]:
    """The kind and the value of each in a text without JSON's escapes. `region`: of numbers without a country code."""
    for match in EMAIL.finditer(text) if "@" in text else ():
        if not NOBODY.search(match[0]):
            yield "email", match[0]
    for match in IBAN.finditer(text):
        if _is_iban(match[0]):
            yield "iban", match[0]
    for match in CARD.finditer(text):
        if _is_card(match[0]):
            yield "card", match[0]
    for number in _phones(text, region):
        yield "phone", number


def require_region(region: str | None) -> None:
    """Raises TutelageError for a region that there is not."""
    if region is None:
        return
    known = _library().SUPPORTED_REGIONS
    if region not in known:
        raise TutelageError(f'There is no region "{region}" of phone numbers. Write two capital letters, as "DE".')


def _phones(text: str, region: str | None) -> Iterator[str]:
    if region is None and "+" not in text:
        return
    library = _library()
    parts = [text] if region else [match[0] for match in INTERNATIONAL.finditer(text)]
    for part in parts:
        for found in library.PhoneNumberMatcher(part, region, leniency=library.Leniency.VALID):
            # Bare digits may be anything: an order, a time.
            if not found.raw_string.isdigit():
                yield found.raw_string


def _library() -> Any:
    try:
        import phonenumbers
    except ImportError as error:
        raise MissingExtra("phonenumbers", "curate") from error
    return phonenumbers


def _is_card(text: str) -> bool:
    """Luhn's check sum, ISO/IEC 7812-1."""
    digits = [int(character) for character in text if character.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 2:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """ISO 13616: its remainder by 97 is 1."""
    compact = text.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1
