"""What an MCP server asks the person who chats (elicitation), on the terminal: a form's fields, or a page to open."""

import json
from typing import Any

from mcp_types import ElicitRequestParams, ElicitRequestURLParams, ElicitResult
from rich.console import Console

YES = ("y", "yes", "true")
NO = ("n", "no", "false")
Value = str | int | float | bool | list[str] | None


def answer(server: str, asked: ElicitRequestParams) -> ElicitResult:
    """Ask the person. They may decline before a form and after it; end of input and Ctrl-C are the caller's to heed.

    Fields are those that the protocol has: text, numbers, yes or no, one or several of some choices. An empty line is
    the default, or leaves out what need not be there.
    """
    terminal = Console()
    terminal.print(f"\nServer {server} asks you: {asked.message}", style="yellow", markup=False, highlight=False)
    if isinstance(asked, ElicitRequestURLParams):
        terminal.print(f"It wants you to open {asked.url}", style="yellow", markup=False, highlight=False)
        return ElicitResult(action="accept" if _yes("Go on once you did?") else "decline")
    if not _yes("Answer it?"):
        return ElicitResult(action="decline")
    properties: dict[str, dict[str, Any]] = asked.requested_schema.get("properties", {})
    required = asked.requested_schema.get("required", ())
    content: dict[str, Value] = {}
    for name, schema in properties.items():
        value = _field(name, schema, name in required)
        if value is not None:
            content[name] = value
    terminal.print(json.dumps(content, ensure_ascii=False), markup=False, highlight=False)
    if not _yes("Send it?"):
        return ElicitResult(action="decline")
    return ElicitResult(action="accept", content=content)


def _yes(question: str) -> bool:
    return input(f"  {question} [y/N] ").strip().lower() in YES


def _field(name: str, schema: dict[str, Any], required: bool) -> Value:
    """The field's value as its schema wants it, asked for until it is; None where it was left out."""
    default = schema.get("default")
    while True:
        line = input(f"  {_label(name, schema, required)}: ").strip()
        if not line:
            if default is not None or not required:
                return default
            print("  It is needed. Ctrl-C answers nothing at all.")
            continue
        try:
            value = _read(line, schema)
        except ValueError:
            print(f"  That is no {schema.get('type', 'value')}.")
            continue
        wrong = _wrong(value, schema)
        if not wrong:
            return value
        print(f"  {wrong}")


def _label(name: str, schema: dict[str, Any], required: bool) -> str:
    about = schema.get("title") or name
    if schema.get("description"):
        about += f", {schema['description']}"
    notes = {
        "boolean": ["y/n"],
        "array": ["several, with commas between them"],
    }.get(schema.get("type", ""), [])
    choices = _choices(schema)
    if choices:
        notes.append(" | ".join(key if key == title else f"{key} = {title}" for key, title in choices.items()))
    if schema.get("default") is not None:
        notes.append(f"default: {schema['default']}")
    elif not required:
        notes.append("may be left out")
    return f"{about} ({'; '.join(notes)})" if notes else about


def _choices(schema: dict[str, Any]) -> dict[str, str]:
    """What may be chosen, with its title: `enum` with or without `enumNames`, or `oneOf`/`anyOf` of constants."""
    of = schema.get("items", schema)
    if "enum" in of:
        return dict(zip(of["enum"], of.get("enumNames") or of["enum"], strict=False))
    return {one["const"]: one.get("title", one["const"]) for one in of.get("oneOf") or of.get("anyOf") or ()}


def _read(line: str, schema: dict[str, Any]) -> Value:
    """Raises ValueError."""
    match schema.get("type"):
        case "boolean":
            if line.lower() not in (*YES, *NO):
                raise ValueError
            return line.lower() in YES
        case "integer":
            return int(line)
        case "number":
            return float(line)
        case "array":
            return [part.strip() for part in line.split(",") if part.strip()]
        case _:
            return line


def _wrong(value: Value, schema: dict[str, Any]) -> str:
    """In what the value is not as the schema wants it; "" in nothing. A schema that is none is held to be satisfied."""
    from jsonschema import SchemaError
    from jsonschema.exceptions import best_match
    from jsonschema.validators import Draft202012Validator

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        return ""
    error = best_match(Draft202012Validator(schema).iter_errors(value))
    return f"{error.message}." if error else ""
