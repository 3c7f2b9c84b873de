"""How llama.cpp's rendering differs from Transformers'.

From its common/chat.cpp, which tells families of templates apart by what stands in their text, and from trying its
Jinja; tests/render/test_templates.py compares the outcome with its /apply-template.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from tutelage.render.engine import CannotExpress, Kept, to_json

WHITE_SPACE = " \t\n\r\f\v"  # what its Jinja strips; Python strips Unicode's too


def rewrite(source: str, messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The messages as it hands them to the template `source`."""
    if "<|channel|>" in source:  # gpt-oss
        return [_harmony(message) for message in messages]
    if "List of tools: " in source:  # LFM2 and LFM2.5
        return [
            {**message, "thinking": message["reasoning_content"]} if message.get("reasoning_content") else message
            for message in messages
        ]
    if "'<|tool_call>call:'" in source and "OpenAI Chat Completions:" not in source:
        raise CannotExpress("llama.cpp rewrites conversations for this older template of Gemma 4: take its current one")
    return list(messages)


def finish(source: str, prompt: str) -> str:
    """A prompt as it leaves the template, with what is added to it."""
    if "'<|tool_call>call:'" in source and prompt.endswith("<turn|>\n"):  # Gemma 4, after content beside a call
        return prompt + "<|turn>model\n"
    return prompt


def variables(day: date) -> dict[str, Any]:
    """What every template finds beside messages and tools."""
    return {"date_string": day.strftime("%d %b %Y"), "datetime": day.strftime("%b %d %Y")}


def _harmony(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Reasoning under the name that gpt-oss's template knows; a call keeps only one of content and reasoning."""
    if not message.get("reasoning_content"):
        return message
    kept = {**message, "thinking": message["reasoning_content"]}
    if message.get("tool_calls"):
        del kept["content"]
    return kept


def output(value: Any) -> Any:
    """A value as `{{ value }}` writes it: numbers without an exponent, to six places; None and objects not at all."""
    if isinstance(value, float):
        text = f"{value:.6f}".rstrip("0")
        text += "0" if text.endswith(".") else ""
        return float.__repr__(value) if isinstance(value, Kept) and float(text) != value else text
    if isinstance(value, list):
        return "".join(str(output(item)) for item in value)
    return "" if value is None or isinstance(value, dict) else value


def to_string(value: Any) -> str:
    """The filter `string`: Python's writing, but nothing is escaped, and numbers within are as output writes them."""
    return value if isinstance(value, str) else to_json(value) if isinstance(value, float) else _python(value)


def _python(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_python(key)}: {_python(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_python(item) for item in value) + "]"
    if isinstance(value, str):
        quote = '"' if "'" in value else "'"
        return quote + value + quote
    return str(output(value)) if isinstance(value, float) else str(value)


def sorted_items(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The filter `dictsort`: capitals come first."""
    return sorted(value.items())
