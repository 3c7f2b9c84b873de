"""What gives way where a conversation is too long."""

from tutelage.render.fit import CutResults, fit
from tutelage.trace import Message, ToolCall

QUESTION = Message(role="user", content="Which is cheaper?")


def call(id: str) -> Message:
    return Message(role="assistant", content="", tool_calls=(ToolCall(id=id, name="look", arguments="{}"),))


def result(id: str, length: int) -> Message:
    return Message(role="tool", content="x" * length, tool_call_id=id)


def characters(messages: object) -> int:
    return sum(len(message.content or "") for message in messages)  # type: ignore[attr-defined]


LONG = (QUESTION, call("a"), result("a", 500), call("b"), result("b", 400), call("c"), result("c", 300))
NOTICE = "[an earlier result of 500 characters, no longer shown]"


def test_what_fits_is_left_as_it_is() -> None:
    assert fit(LONG, characters, CutResults(prompt_tokens=characters(LONG))) == LONG


def test_the_oldest_results_give_way_and_no_more_than_needed() -> None:
    shown = fit(LONG, characters, CutResults(prompt_tokens=900))
    assert [message.content for message in shown if message.role == "tool"] == [NOTICE, "x" * 400, "x" * 300]
    assert [message for message in shown if message.role != "tool"] == [m for m in LONG if m.role != "tool"]
    assert shown[2].tool_call_id == "a"


def test_the_results_of_the_last_calls_stay_whatever_it_costs() -> None:
    shown = fit(LONG, characters, CutResults(prompt_tokens=10))
    assert [len(message.content or "") for message in shown if message.role == "tool"][2] == 300
    assert all("no longer shown" in (shown[index].content or "") for index in (2, 4))


def test_a_result_that_the_notice_would_not_shorten_stays() -> None:
    messages = (QUESTION, call("a"), result("a", 20), call("b"), result("b", 500), call("c"), result("c", 5))
    shown = fit(messages, characters, CutResults(prompt_tokens=200))
    assert (shown[2], len(shown[4].content or "") < 100) == (messages[2], True)


def test_what_a_model_sees_hangs_on_what_it_was_told_and_not_on_earlier_requests() -> None:
    policy = CutResults(prompt_tokens=900)
    assert fit(fit(LONG, characters, policy), characters, policy) == fit(LONG, characters, policy)


def test_the_policy_reads_its_notice_from_where_it_is_kept() -> None:
    policy = CutResults.model_validate_json('{"prompt_tokens": 900, "notice": "({characters} gone)"}')
    assert fit(LONG, characters, policy)[2].content == "(500 gone)"
