"""A chat template, rendered as the serving engine does it."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache, partial
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node, Scope
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tutelage.errors import TutelageError
from tutelage.render import llama_cpp
from tutelage.render.engine import CannotExpress, Engine, to_json

DICT_METHODS = frozenset(dir(dict))
STRIPS = frozenset(("strip", "lstrip", "rstrip"))


class Template:
    """A compiled chat template; `bos` and `eos` are the texts of the tokenizer's tokens.

    `day` is the one that it takes for today; None: today, as in the engine.
    """

    def __init__(
        self,
        source: str,
        engine: Engine = Engine.LLAMA_CPP,
        bos: str = "",
        eos: str = "",
        day: date | None = None,
    ) -> None:
        """Raises TutelageError where `source` is no Jinja template."""
        self.source = source
        self._engine = engine
        self._day = day
        self._tokens = {"bos_token": bos, "eos_token": eos}
        try:
            self._compiled = _environment(engine).from_string(source)
        except jinja2.TemplateSyntaxError as error:
            where = f"line {error.lineno}: {error.message}"
            raise TutelageError(f"The chat template is not valid Jinja: {where}.") from None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool,
        thinking: bool,
    ) -> str:
        """The text for `messages` as engine_message gives them. Raises CannotExpress where the template refuses."""
        variables: dict[str, Any] = {"tools": list(tools) or None, "enable_thinking": thinking, **self._tokens}
        day = self._day or datetime.now()
        variables["strftime_now"] = day.strftime
        if self._engine is Engine.LLAMA_CPP:
            messages = llama_cpp.rewrite(self.source, messages)
            variables |= llama_cpp.variables(day)
        elif "<|channel|>" in self.source:
            raise CannotExpress("vLLM writes gpt-oss's prompts by rules of its own, not by the template")
        else:  # as Transformers does
            messages = [
                {"thinking": message["reasoning_content"], **message} if "reasoning_content" in message else message
                for message in messages
            ]
        try:
            text = self._compiled.render(
                messages=list(messages), add_generation_prompt=add_generation_prompt, **variables
            )
        except jinja2.TemplateError as error:
            raise CannotExpress(f"the chat template refuses: {str(error)[:80]}") from None
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise CannotExpress("the chat template fails on the conversation", str(error)) from None
        if add_generation_prompt and self._engine is Engine.LLAMA_CPP:
            return llama_cpp.finish(self.source, text)
        return text


class _Generation(Extension):
    """`{% generation %}`, which marks what a model writes: the text stands as it is."""

    tags = {"generation"}  # noqa: RUF012  (Jinja's own declaration)

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        return Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Environment(ImmutableSandboxedEnvironment):
    """Transformers' environment, which vLLM uses, with shortcuts: half of a rendering is looking up attributes."""

    def __init__(self, finalize: Callable[[Any], Any] | None = None) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], finalize=finalize
        )
        self.filters["tojson"] = _tojson
        self.globals["raise_exception"] = _raise_exception
        self._safe: dict[tuple[type, str], bool] = {}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key of a dict at once: Jinja first looks for an attribute of that name, which no dict has."""
        if isinstance(obj, dict) and attribute not in DICT_METHODS:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """What Jinja says, which hangs on the type and the name alone."""
        key = (type(obj), attr)
        if key not in self._safe:
            self._safe[key] = super().is_safe_attribute(obj, attr, value)
        return self._safe[key]


class _LlamaCpp(_Environment):
    """llama.cpp's environment: where no characters are named, only ASCII's white space is stripped."""

    def __init__(self) -> None:
        super().__init__(llama_cpp.output)
        self.filters["trim"] = lambda value, characters=None: str(value).strip(characters or llama_cpp.WHITE_SPACE)
        self.filters["string"] = llama_cpp.to_string
        self.filters["dictsort"] = llama_cpp.sorted_items

    def getattr(self, obj: Any, attribute: str) -> Any:
        found = super().getattr(obj, attribute)
        return partial(_strip, found) if attribute in STRIPS and isinstance(obj, str) else found


def _strip(strip: Any, characters: str | None = None) -> str:
    return str(strip(characters or llama_cpp.WHITE_SPACE))


@lru_cache(maxsize=2)
def _environment(engine: Engine) -> _Environment:
    return _LlamaCpp() if engine is Engine.LLAMA_CPP else _Environment()


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Transformers' filter (Jinja's own escapes HTML); with no option but `indent`, the engine's way of writing."""
    if not (ensure_ascii or separators or sort_keys):
        return to_json(value, indent)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
