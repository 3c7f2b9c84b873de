"""Whether a call's arguments are what the tool's schema asks for."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tutelage.trace import Tool


def fault(tools: Sequence[Tool], name: str, arguments: str) -> str:
    """What is wrong with a call, in one sentence; "" where nothing is."""
    tool = next((tool for tool in tools if tool.name == name), None)
    if tool is None:
        return f'There is no tool "{name}". There are: {", ".join(tool.name for tool in tools)}.'
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}, column {error.colno}: " if isinstance(error, json.JSONDecodeError) else ""
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep"
        return f"Not valid JSON: {where}{reason}."
    if not isinstance(value, dict):
        return "Arguments are a JSON object: { … }."
    return _schema_fault(tool, value)


def _schema_fault(tool: Tool, value: dict[str, Any]) -> str:
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    validator = _validator(tool.definition)
    if validator is None:
        return ""
    try:
        error = best_match(validator.iter_errors(value))
    except Unresolvable:  # the schema points to another document
        return ""
    if error is None:
        return ""
    where = ".".join(map(str, error.absolute_path))
    return f'"{where}": {error.message}.' if where else f"{error.message}."


@lru_cache(maxsize=512)
def _validator(definition: str) -> Any:
    """None where the tool has no schema that can be used: then everything fits."""
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    try:
        schema = json.loads(definition)["function"]["parameters"]
        cls = validator_for(schema)
        cls.check_schema(schema)
        return cls(schema, registry=Registry())  # which fetches nothing that a schema points to
    except (ValueError, KeyError, TypeError, SchemaError):
        return None
