"""A call's arguments: the JSON object that they are, and whether it is what the tool's schema asks for."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NoReturn

from tutelage.trace import Tool


class BadArguments(Exception):
    """What the arguments are instead of a JSON object that a server can be sent: "not valid JSON: …"."""


def read_arguments(text: str) -> dict[str, Any]:
    """Raises BadArguments."""
    try:
        arguments = json.loads(text or "{}", parse_constant=_refuse)
        json.dumps(arguments, ensure_ascii=False).encode()
    except RecursionError:
        raise BadArguments("nested too deeply") from None
    except UnicodeEncodeError:
        raise BadArguments("not valid JSON: a surrogate stands alone") from None
    except ValueError as error:
        raise BadArguments(f"not valid JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise BadArguments("not a JSON object")
    return arguments


def is_object(text: str) -> bool:
    """Whether a server could be sent them."""
    try:
        read_arguments(text)
    except BadArguments:
        return False
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def fault(tools: Sequence[Tool], name: str, arguments: str) -> str:
    """What is wrong with a call, in one sentence; "" where nothing is."""
    tool = next((tool for tool in tools if tool.name == name), None)
    if tool is None:
        return f'There is no tool "{name}". There are: {", ".join(tool.name for tool in tools)}.'
    try:
        return _schema_fault(tool, read_arguments(arguments))
    except BadArguments as error:
        return f"The arguments are {error}."


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
