"""A chat template, in Transformers' Jinja environment."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tutelage.errors import TutelageError
from tutelage.render.engine import CannotExpress, to_json


class Template:
    """A compiled chat template."""

    def __init__(self, source: str) -> None:
        """Raises TutelageError where `source` is no Jinja template."""
        self.source = source
        try:
            self._compiled = _environment().from_string(source)
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
        try:
            return self._compiled.render(
                messages=list(messages),
                tools=list(tools) or None,
                add_generation_prompt=add_generation_prompt,
                enable_thinking=thinking,
            )
        except jinja2.TemplateError as error:
            raise CannotExpress("the chat template refuses the conversation", str(error)) from None
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise CannotExpress("the chat template fails on the conversation", str(error)) from None


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
    """Transformers' filter (Jinja's own escapes HTML); with no option, the engine's way of writing numbers."""
    if not (ensure_ascii or indent or separators or sort_keys):
        return to_json(value)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
