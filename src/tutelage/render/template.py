"""A chat template, rendered as the serving engine renders it.

The Jinja environment is Transformers'. What llama.cpp does to a request before its template sees it is done here too,
found by comparing with its /apply-template (tests/render/test_engine.py repeats the comparison):

- call arguments are parsed, so the model sees them written anew: ", " and ": ", each key once, no \\u escapes;
- numbers with a point or an exponent, and integers beyond 64 bits, keep six digits: 1.0 is 1, 12345.67 is 12345.7;
  integers that fit 64 bits only without a sign wrap around: 2 ** 64 - 1 is -1;
- a tool is its name, description ("" if missing) and parameters ({} if missing), in that order, and nothing else;
- arguments that are no JSON, or JSON that C++ cannot hold (NaN, 1e400, half a surrogate pair), are refused.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tutelage.errors import TutelageError
from tutelage.trace import Message, Tool

SIGNED, UNSIGNED = range(-(2**63), 2**63), range(2**63, 2**64)  # what the engine keeps as integers


class CannotExpress(TutelageError):
    """The engine cannot render this conversation, or could not parse this answer back: it makes no row."""


class ExactFloat(float):
    """A number that must survive: in the answer to be learnt, a figure is not cut to six digits."""


class Template:
    """A compiled chat template."""

    def __init__(self, source: str) -> None:
        """Raises TutelageError where `source` is no Jinja template."""
        self.source = source
        try:
            self._compiled = _environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TutelageError(
                f"The chat template is not valid Jinja: line {error.lineno}: {error.message}."
            ) from None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool,
        thinking: bool,
    ) -> str:
        """The text for `messages` as `engine_message` gives them. Raises CannotExpress where the template refuses."""
        try:
            return self._compiled.render(
                messages=list(messages),
                tools=list(tools) or None,
                add_generation_prompt=add_generation_prompt,
                enable_thinking=thinking,
            )
        except jinja2.TemplateError as error:
            raise CannotExpress(f"the chat template refuses the conversation: {error}") from None
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise CannotExpress(f"the chat template fails on the conversation: {error}") from None


def engine_message(message: Message, *, reasoning: bool, exact: bool = False) -> dict[str, Any]:
    """`message` as the engine hands it to the template; `exact` for the answer to be learnt, history without."""
    data = message.to_openai(reasoning=reasoning)
    for call in data.get("tool_calls", ()):
        function = call["function"]
        function["arguments"] = parse_json(function["arguments"], f'the arguments of "{function["name"]}"', exact=exact)
    return data


@lru_cache(maxsize=256)
def engine_tool(tool: Tool) -> dict[str, Any]:
    """`tool` as the engine hands it to the template; shared, not to be changed."""
    definition = parse_json(tool.definition, f'the definition of the tool "{tool.name}"')
    function = definition.get("function") if isinstance(definition, dict) else None
    if not isinstance(function, dict) or definition.get("type") != "function" or not function.get("name"):
        raise CannotExpress(f'the tool "{tool.name}" is not defined as a function with a name')
    return {
        "type": "function",
        "function": {
            "name": function["name"],
            "description": function.get("description", ""),
            "parameters": function.get("parameters", {}),
        },
    }


def parse_json(text: str, what: str, *, exact: bool = False) -> Any:
    """The value of a JSON text as the engine holds it. Raises CannotExpress for what the engine refuses."""

    def integer(digits: str) -> int | float:
        value = int(digits)
        if exact or value in SIGNED:
            return value
        return value - 2**64 if value in UNSIGNED else real(digits)

    def real(digits: str) -> float:
        value = float(digits)
        if value in (float("inf"), float("-inf")):
            refuse(digits)
        return ExactFloat(value) if exact else value

    def refuse(constant: str) -> NoReturn:
        raise CannotExpress(f"{what} hold a number that is too large or none: {constant[:40]}")

    try:
        text.encode()
        value = json.loads(text, parse_int=integer, parse_float=real, parse_constant=refuse)
        to_json(value).encode()  # half a surrogate pair cannot be encoded
        return value
    except (ValueError, RecursionError):  # JSONDecodeError and UnicodeEncodeError are ValueErrors
        raise CannotExpress(f"{what} are not valid JSON: {text[:80]!r}") from None


def to_json(value: Any) -> str:
    """`value` as the engine writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quote(str(key))}: {to_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(to_json(item) for item in value) + "]"
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, float):
        short = f"{value:g}"
        return repr(float(value)) if isinstance(value, ExactFloat) and float(short) != value else short
    return json.dumps(value)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Transformers' filter (Jinja's own escapes HTML); plain, the engine's way of writing numbers."""
    if not (ensure_ascii or indent or separators or sort_keys):
        return to_json(value)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
