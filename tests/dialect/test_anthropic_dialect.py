"""Anthropic's Messages API: tools whose schema only the provider's models know."""

from typing import Any

import pytest

from tutelage.dialect.anthropic import read

LOOK = {"name": "look", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "memory_20250818", "name": "memory"},
    ],
)
def test_a_call_of_a_tool_without_a_schema_is_noted(tool: dict[str, Any]) -> None:
    def answered(name: str) -> dict[str, int]:
        request = {"model": "m", "messages": [{"role": "user", "content": "Look."}], "tools": [LOOK, tool]}
        response = {"content": [{"type": "tool_use", "id": "t", "name": name, "input": {}}], "stop_reason": "tool_use"}
        return dict(read(request, response).not_kept)

    assert answered("look") == {}
    assert answered(tool["name"]) == {f"tool {tool['name']}": 1}
