"""What a serving engine does to a request before its chat template sees it, and how it writes JSON.

llama.cpp, found by comparing with its /apply-template (tests/render/test_engine.py repeats the comparison):

- call arguments are parsed, so the model sees them written anew: ", " and ": ", each key once, no \\u escapes;
- numbers with a point or an exponent, and integers beyond 64 bits, keep six digits: 1.0 is 1, 12345.67 is 12345.7;
  integers that fit 64 bits only without a sign wrap around: 2 ** 64 - 1 is -1;
- a tool is its name, description ("" if missing) and parameters ({} if missing), in that order, and nothing else;
- arguments that are no JSON, or JSON that C++ cannot hold (NaN, 1e400, half a surrogate pair), are refused.

vLLM, from its source: Python's json throughout; empty arguments are {}; a tool is its name, description, parameters
(null if missing), then what else was sent.
"""

import json
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any, NoReturn

from tutelage.errors import TutelageError
from tutelage.trace import Message, Tool

SIGNED, UNSIGNED = range(-(2**63), 2**63), range(2**63, 2**64)  # what llama.cpp keeps as integers
_quote = json.JSONEncoder(ensure_ascii=False).encode  # a text, as JSON


class Engine(StrEnum):
    """Whose rendering is followed."""

    LLAMA_CPP = "llama.cpp"
    VLLM = "vllm"


class CannotExpress(TutelageError):
    """The engine cannot render this conversation, or would read the answer otherwise: it makes no row."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason  # the same for all rows of its kind, to be counted by
        self.detail = detail  # of this row


class SixDigits(float):
    """A number that llama.cpp writes with six digits."""

    def __str__(self) -> str:
        return f"{self:g}"

    __repr__ = __str__


class Kept(float):
    """A number of the answer to be learnt: written with six digits only where nothing is lost."""

    def __str__(self) -> str:
        short = f"{self:g}"
        return short if float(short) == self else float.__repr__(self)

    __repr__ = __str__


class Written(dict[str, Any]):
    """A tool as the engine holds it; its text is made once, since every row of a trace writes it again."""

    @cached_property
    def text(self) -> str:
        return to_json(dict(self))

    def named(self, name: str) -> "Written":
        """The same tool under another name, made once too."""
        if name not in self._renamed:
            self._renamed[name] = Written({**self, "function": {**self["function"], "name": name}})
        return self._renamed[name]

    @cached_property
    def _renamed(self) -> dict[str, "Written"]:
        return {}


def engine_message(message: Message, engine: Engine, *, reasoning: bool, exact: bool = False) -> dict[str, Any]:
    """`message` as the engine hands it to the template; `exact` for the answer to be learnt. Raises CannotExpress."""
    data = message.to_openai(reasoning=reasoning)
    for call in data.get("tool_calls", ()):
        function = call["function"]
        text = function["arguments"]
        if engine is Engine.VLLM and not text:
            text = "{}"
        function["arguments"] = parse_json(text, f'arguments of "{function["name"]}"', engine, exact=exact)
    return data


@lru_cache(maxsize=1024)
def engine_tool(tool: Tool, engine: Engine) -> Written:
    """`tool` as the engine hands it to the template; shared, not to be changed. Raises CannotExpress."""
    definition = parse_json(tool.definition, f'tool "{tool.name}"', engine)
    function = definition.get("function") if isinstance(definition, dict) else None
    if not isinstance(function, dict) or definition.get("type") != "function" or not function.get("name"):
        raise CannotExpress("a tool is not defined as a function with a name", tool.name)
    missing: dict[str, Any] = {"description": "", "parameters": {}}
    if engine is Engine.VLLM:
        missing = {"description": None, "parameters": None}
    known = {"name": function["name"], **{key: function.get(key, value) for key, value in missing.items()}}
    more = function if engine is Engine.VLLM else {}
    return Written({"type": "function", "function": {**known, **{key: more[key] for key in more if key not in known}}})


def parse_json(text: str, what: str, engine: Engine, *, exact: bool = False) -> Any:
    """The value of a JSON text as the engine holds it. Raises CannotExpress for what it refuses."""

    def integer(digits: str) -> int | float:
        value = int(digits)
        if exact or engine is Engine.VLLM or value in SIGNED:
            return value
        return value - 2**64 if value in UNSIGNED else real(digits)

    def real(digits: str) -> float:
        value = float(digits)
        if value in (float("inf"), float("-inf")):
            refuse(digits)
        if engine is Engine.VLLM:
            return value
        return Kept(value) if exact else SixDigits(value)

    def refuse(number: str) -> NoReturn:
        raise CannotExpress("JSON with a number that is none or too large", f"{what}: {number[:40]}")

    try:
        value = json.loads(text, parse_int=integer, parse_float=real, parse_constant=refuse)
        to_json(value).encode()  # half a surrogate pair cannot be encoded
        return value
    except (ValueError, RecursionError):  # JSONDecodeError and UnicodeEncodeError are ValueErrors
        raise CannotExpress("arguments or a tool that are not valid JSON", f"{what}: {text[:80]!r}") from None


def to_json(value: Any, indent: int | None = None, depth: int = 0) -> str:
    """`value`, as parse_json gave it, in the engine's writing."""
    if isinstance(value, Written) and indent is None:
        return value.text
    if isinstance(value, dict):
        items = [f"{_quote(str(key))}: {to_json(item, indent, depth + 1)}" for key, item in value.items()]
        return _bracketed("{", items, "}", indent, depth)
    if isinstance(value, (list, tuple)):
        return _bracketed("[", [to_json(item, indent, depth + 1) for item in value], "]", indent, depth)
    if isinstance(value, str):
        return _quote(value)
    return str(value) if isinstance(value, (SixDigits, Kept)) else json.dumps(value)


def _bracketed(start: str, items: list[str], end: str, indent: int | None, depth: int) -> str:
    if indent is None or not items:
        return start + ", ".join(items) + end
    line = "\n" + " " * indent * depth
    inner = line + " " * indent
    return start + inner + ("," + inner).join(items) + line + end
