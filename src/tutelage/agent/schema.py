"""Tool schemas as engines and APIs digest them, accepting what they accepted.

Some engines' grammars and some APIs do not follow `$ref`; references into the schema itself are therefore written out,
save those that lead back to themselves. `$schema`, which says nothing of the arguments, is left out; `properties` are
there, if only none.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

# Siblings of a `$ref` that only describe; others limit what is accepted, beside what the reference says.
DESCRIBES = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
DEFINITIONS = ("$defs", "definitions")
# Where values stand that are no schemas, and may hold a "$ref" of their own.
DATA = {"const", "enum", "default", "examples"}
MOST_NODES = 5_000  # written out, a schema that refers much could be of any size; then it stays as it was


def digestible(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An equivalent schema without local references, in the same order of keys. What cannot be written out stays."""
    writer = _Writer(schema)
    try:
        written = writer.write(dict(schema), ())
    except _TooLarge:
        return dict(schema)
    if not isinstance(written, dict):
        return dict(schema)
    if not writer.kept:
        for name in DEFINITIONS:
            written.pop(name, None)
    written.pop("$schema", None)
    if written.get("type") == "object" and not isinstance(written.get("properties"), dict):
        written["properties"] = {}  # which OpenAI insists on, also of a tool that takes nothing
    return written


class _TooLarge(Exception):
    pass


class _Writer:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.kept = False  # whether a reference stays, and its definition with it
        self.nodes = 0

    def write(self, node: Any, inside: tuple[str, ...]) -> Any:
        """`node` with its references written out; `inside` are those that led here."""
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise _TooLarge
        if isinstance(node, list):
            return [self.write(item, inside) for item in node]
        if not isinstance(node, dict):
            return node
        reference = node.get("$ref")
        if isinstance(reference, str):
            return self._referred(reference, node, inside)
        return {key: self._value(key, value, inside) for key, value in node.items()}

    def _value(self, key: str, value: Any, inside: tuple[str, ...]) -> Any:
        if key in DATA:
            return value
        if key in ("properties", "patternProperties", "dependentSchemas", *DEFINITIONS) and isinstance(value, dict):
            return {name: self.write(schema, inside) for name, schema in value.items()}  # names, not keywords
        return self.write(value, inside)

    def _referred(self, reference: str, node: dict[str, Any], inside: tuple[str, ...]) -> Any:
        target = self._target(reference)
        if target is None or reference in inside:
            self.kept = True
            return node
        written = self.write(target, (*inside, reference))
        siblings = {key: self._value(key, value, inside) for key, value in node.items() if key != "$ref"}
        definitions = {key: siblings.pop(key) for key in DEFINITIONS if key in siblings}
        if isinstance(written, dict) and siblings.keys() <= DESCRIBES:
            return {**written, **siblings, **definitions}
        if not siblings and not definitions:
            return written
        return {**siblings, "allOf": [written, *siblings.get("allOf", [])], **definitions}

    def _target(self, reference: str) -> Any:
        """What a reference like "#/$defs/point" points at; None where that is not in this schema."""
        found: Any = self.root
        if not reference.startswith("#/"):
            return None
        for step in unquote(reference[2:]).split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                return None
            found = found[name]
        return found if isinstance(found, (dict, bool)) else None
