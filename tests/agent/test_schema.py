"""Schemas that engines digest accept what the servers' own do."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tutelage.agent.offer import NAME_CHARACTERS, Listed, model_tool, named
from tutelage.agent.schema import digestible

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}


@pytest.mark.parametrize(
    ("property", "written"),
    [
        ({"$ref": "#/$defs/point"}, POINT),
        ({"$ref": "#/$defs/point", "description": "where"}, {**POINT, "description": "where"}),
        ({"$ref": "#/$defs/point", "maxProperties": 1}, {"maxProperties": 1, "allOf": [POINT]}),
        ({"anyOf": [{"$ref": "#/$defs/point"}, {"type": "null"}]}, {"anyOf": [POINT, {"type": "null"}]}),
        ({"const": {"$ref": "#/$defs/point"}}, {"const": {"$ref": "#/$defs/point"}}),
    ],
)
def test_references_are_written_out(property: dict[str, Any], written: dict[str, Any]) -> None:
    schema = {"$schema": "x", "type": "object", "properties": {"$ref": property}, "$defs": {"point": POINT}}
    assert digestible(schema) == {"type": "object", "properties": {"$ref": written}}


def test_a_tool_that_takes_nothing_has_properties_all_the_same() -> None:
    assert digestible({"type": "object"}) == {"type": "object", "properties": {}}


def test_a_schema_that_leads_back_to_itself_keeps_its_reference() -> None:
    tree = {"type": "object", "properties": {"below": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}
    schema = {"type": "object", "properties": {"tree": {"$ref": "#/$defs/tree"}}, "$defs": {"tree": tree}}
    written = digestible(schema)
    assert written["$defs"]
    assert Draft202012Validator(written).is_valid({"tree": {"below": [{"below": []}]}})
    assert not Draft202012Validator(written).is_valid({"tree": {"below": [{"below": 3}]}})


def test_a_schema_that_would_grow_without_bound_stays_as_it_is() -> None:
    doubling = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**doubling, "d30": {}}}
    assert digestible(schema) == schema


NAMES = st.sampled_from(["a", "b", "$ref", "enum"])
LEAVES = st.sampled_from([{"type": "integer"}, {"type": "string", "maxLength": 2}, {"enum": [1, "a"]}, True, {}])
SCHEMAS = st.recursive(
    LEAVES | st.sampled_from([{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}, {"$ref": "#/$defs/no", "title": "t"}]),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=2)}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"$ref": st.just("#/$defs/a"), "not": inner}),
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
    ),
    max_leaves=5,
)
VALUES = st.recursive(
    st.sampled_from([1, "a", "long", None]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=5,
)


@settings(deadline=None, max_examples=150)
@given(a=LEAVES, b=SCHEMAS, property=SCHEMAS, values=st.lists(VALUES, min_size=1, max_size=8))
def test_what_a_schema_accepts_stays(a: Any, b: Any, property: Any, values: list[Any]) -> None:
    schema = {"type": "object", "properties": {"a": property}, "$defs": {"a": a, "b": b, "no": {"type": "null"}}}
    given, written = Draft202012Validator(schema), Draft202012Validator(digestible(schema))
    for value in values:
        verdicts = [_verdict(validator, {"a": value}) for validator in (given, written)]
        assert None in verdicts or verdicts[0] == verdicts[1]


def _verdict(validator: Draft202012Validator, value: Any) -> bool | None:
    """None of a reference that leads to itself alone, which has no answer; the library's Rust panics at times."""
    try:
        return bool(validator.is_valid(value))
    except BaseException as error:
        if not isinstance(error, RecursionError) and type(error).__name__ != "PanicException":
            raise
        return None


@settings(deadline=None, max_examples=150)
@given(
    tools=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "a_b"]), st.text(min_size=1, max_size=4) | st.text(min_size=60, max_size=80)
        ),
        unique=True,
        max_size=6,
    )
)
def test_every_tool_has_a_name_that_apis_take_and_that_leads_back_to_it(tools: list[tuple[str, str]]) -> None:
    listed = [Listed(server, name, "", {"type": "object"}) for server, name in tools]
    found = named(listed)
    assert sorted((tool.server, tool.name) for tool in found.values()) == sorted(tools)
    assert named(listed[::-1]) == found
    for name, tool in found.items():
        assert 0 < len(name) <= NAME_CHARACTERS
        assert name.replace("-", "_").isascii()
        shown = model_tool(name, tool)
        assert (shown.original or shown.name) == tool.name
