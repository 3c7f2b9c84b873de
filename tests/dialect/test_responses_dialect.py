"""The Responses API: what of a request and a response makes an exchange."""

from typing import Any

import pytest

from tutelage.dialect import Unreadable
from tutelage.dialect.responses import read

SAID = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A lamp."}]}]


@pytest.mark.parametrize("status", ["failed", "queued", "cancelled", "in_progress"])
def test_a_response_that_holds_no_whole_answer_is_none(status: str) -> None:
    with pytest.raises(Unreadable, match=f"the response is {status}"):
        read({"model": "m", "input": "Look."}, {"status": status, "output": []})


@pytest.mark.parametrize(("status", "finish"), [("completed", "stop"), ("incomplete", "length"), (None, "stop")])
def test_a_response_that_was_completed_or_cut_short_is_an_answer(status: str | None, finish: str) -> None:
    (answer,) = read({"model": "m", "input": "Look."}, {"status": status, "output": SAID}).answers
    assert (answer.message.content, answer.finish_reason) == ("A lamp.", finish)


@pytest.mark.parametrize(
    "item", [{"type": "item_reference", "id": "msg_1"}, {"type": "compaction", "encrypted_content": "x"}]
)
def test_items_that_hide_what_the_model_was_shown_are_noted(item: dict[str, Any]) -> None:
    exchange = read({"model": "m", "input": [item, {"role": "user", "content": "And?"}]}, {"output": SAID})
    assert exchange.not_kept == {item["type"]: 1}
    assert [message.role for message in exchange.messages] == ["user"]


def test_a_shell_that_the_client_runs_has_no_schema_to_show() -> None:
    call = {"type": "local_shell_call", "call_id": "c", "action": {"type": "exec", "command": ["ls"]}}
    exchange = read({"model": "m", "input": "Look.", "tools": [{"type": "local_shell"}]}, {"output": [call]})
    assert exchange.not_kept == {"tool local_shell": 1}


@pytest.mark.parametrize("name", ["previous_response_id", "conversation"])
def test_names_that_are_no_text_are_refused(name: str) -> None:
    with pytest.raises(Unreadable, match=f'"{name}" is no text'):
        read({"model": "m", "input": "Look.", name: ["resp_1"]}, {"output": SAID})
