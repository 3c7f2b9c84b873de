import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from endpoint_double import Answer, EndpointDouble, endpoint_double, fails, says

from tutelage.agent.rollout import REFUSED, RolloutEnd, run_rollout
from tutelage.agent.servers import connect_servers
from tutelage.endpoint import client
from tutelage.endpoint.client import ChatEndpoint
from tutelage.endpoint.errors import EndpointUnreachable
from tutelage.render.truncate import Cutter
from tutelage.settings import McpServer, RolloutLimits, Student, ToolResults
from tutelage.trace import Message, Step, StopReason, Task, ToolCall
from tutelage.world import World

SERVER = McpServer(command=sys.executable, args=(str(Path(__file__).with_name("misbehaving_server.py")), "ordinary"))


@dataclass
class Memory:
    """Records in memory, and what had been recorded when each request was made."""

    messages: list[Message] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    blobs: list[bytes] = field(default_factory=list)

    def message(self, message: Message, blobs: Sequence[bytes] = ()) -> None:
        self.messages.append(message)
        self.blobs += blobs

    def step(self, step: Step, message: Message) -> None:
        assert step.seen == len(self.messages)
        self.steps.append(step)
        self.messages.append(message)


def roll(
    *answers: Answer,
    folder: Path,
    turns: tuple[str, ...] = ("do it",),
    ask: Callable[[ToolCall], Awaitable[bool]] | None = None,
    recording: Memory | None = None,
    seconds: float = 20,
    tool_results: ToolResults | None = None,
    **limits: Any,
) -> tuple[RolloutEnd, EndpointDouble]:
    async def run(url: str) -> RolloutEnd:
        async with (
            ChatEndpoint(url, "m", request_seconds=seconds) as endpoint,
            connect_servers({"s": SERVER}, World("w", folder), tool_seconds=1) as servers,
        ):
            return await run_rollout(
                Task(id="t", turns=turns),
                endpoint=endpoint,
                servers=servers,
                recording=recording or Memory(),
                system_prompt="be good",
                limits=RolloutLimits(**limits),
                cut=Cutter(tool_results or ToolResults(), Student(), folder),
                ask=ask,
            )

    with endpoint_double(*answers) as double:
        return asyncio.run(run(double.url)), double


def echo(text: str) -> tuple[str, str]:
    return "echo", f'{{"text": "{text}"}}'


def test_calls_run_in_order_and_their_results_go_back(tmp_path: Path) -> None:
    memory = Memory()
    end, double = roll(says(None, echo("a"), echo("b")), says("done"), folder=tmp_path, recording=memory)
    assert end.stop_reason == StopReason.ANSWER
    assert [message.role for message in end.messages] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    assert [message.content for message in end.messages[3:5]] == ["a", "b"]
    assert [message["tool_call_id"] for message in double.requests[1]["messages"][3:]] == ["id0", "id1"]
    assert memory.messages == end.messages
    assert [step.seen for step in memory.steps] == [2, 5]


def test_the_message_is_recorded_before_its_tools_run(tmp_path: Path) -> None:
    memory = Memory()

    async def look(call: ToolCall) -> bool:
        assert memory.messages[-1].tool_calls == (call,)
        return True

    roll(says(None, echo("a")), says("done"), folder=tmp_path, recording=memory, ask=look)
    assert len(memory.steps) == 2


def test_the_next_user_turn_follows_the_answer(tmp_path: Path) -> None:
    end, _ = roll(says("one"), says("two"), folder=tmp_path, turns=("first", "second"))
    assert [message.content for message in end.messages] == ["be good", "first", "one", "second", "two"]


def test_the_time_that_a_person_takes_is_not_the_rollouts(tmp_path: Path) -> None:
    async def slowly(_: ToolCall) -> bool:
        await asyncio.sleep(3)
        return True

    end, _ = roll(says(None, echo("hi")), says("done"), folder=tmp_path, ask=slowly, max_seconds=3)
    assert (end.stop_reason, end.messages[3].content) == (StopReason.ANSWER, "hi")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("echo", '{"text": '), "not valid JSON"),
        (("echo", "[1]"), "not a JSON object"),
        (("echo", '{"text": NaN}'), "NaN is no JSON"),
        (("echo", '{"text": "\\ud800"}'), "a surrogate stands alone"),
        (("echo", "[" * 100_000), "nested too deeply"),
        (("ecko", "{}"), 'no tool "ecko". The tools are: die, echo'),
        (("fail", '{"text": "no stock"}'), "no stock"),
        (("hang", "{}"), "did not answer within 1 s"),
    ],
)
def test_a_call_that_goes_wrong_is_a_result_the_model_can_react_to(
    call: tuple[str, str], words: str, tmp_path: Path
) -> None:
    end, double = roll(says(None, call), says("sorry"), folder=tmp_path)
    assert end.stop_reason == StopReason.ANSWER
    assert end.messages[3].is_error
    assert words in double.requests[1]["messages"][3]["content"]


def test_long_results_are_cut_with_a_notice_and_kept_whole(tmp_path: Path) -> None:
    memory = Memory()
    end, double = roll(
        says(None, echo("x" * 50)), says("done"), folder=tmp_path, recording=memory, tool_results=ToolResults(limit=10)
    )
    assert end.messages[3].content == "x" * 10 + "\n… [cut: 10 of 50 characters shown]"
    assert [part.mime_type for part in end.messages[3].parts] == ["text/plain"]
    assert memory.blobs == [b"x" * 50]
    assert set(double.requests[1]["messages"][3]) == {"role", "content", "tool_call_id"}


def test_a_call_that_the_user_refuses_does_not_run(tmp_path: Path) -> None:
    async def no(_: ToolCall) -> bool:
        return False

    end, _ = roll(says(None, ("die", "{}")), says("fine"), folder=tmp_path, ask=no)
    assert end.messages[3].content == REFUSED


BAD = says(None, ("ecko", "{}"))


@pytest.mark.parametrize(
    ("answers", "limits", "reason", "steps"),
    [
        ([says("")], {}, StopReason.ANSWER, 1),
        ([says(None, reasoning="and so")], {}, StopReason.ANSWER, 1),
        ([BAD, says(None, echo("a")), BAD, says(None, echo("b")), BAD], {}, StopReason.REPEATED_CALL, 5),
        ([says(None, echo("a"))], {}, StopReason.REPEATED_CALL, 3),
        ([says(None, echo(text)) for text in "sasbscsd"] + [says("done")], {}, StopReason.ANSWER, 9),
        ([says(None, echo(str(n))) for n in range(9)], {"max_steps": 4}, StopReason.STEP_LIMIT, 4),
        ([says(None, echo(str(n))) for n in range(9)], {"max_total_tokens": 22}, StopReason.TOKEN_LIMIT, 3),
        ([says("half a sen", finish="length")], {}, StopReason.TOKEN_LIMIT, 1),
        ([says(None, ("hang", "{}"))], {"max_seconds": 0.5}, StopReason.TIME_LIMIT, 1),
        ([says(None, ("die", "{}"))], {}, StopReason.SERVER_ERROR, 1),
        ([fails(400, "long", type="exceed_context_size_error")], {}, StopReason.TOKEN_LIMIT, 0),
        ([fails(500, "Failed to parse input at pos 3")], {}, StopReason.INVALID_OUTPUT, 0),
        ([fails(500, "oops")], {}, StopReason.ENDPOINT_ERROR, 0),
    ],
)
def test_every_end_has_its_stop_reason(
    answers: list[Answer],
    limits: dict[str, Any],
    reason: StopReason,
    steps: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.01)
    end, _ = roll(*answers, folder=tmp_path, **limits)
    assert (end.stop_reason, end.steps) == (reason, steps)


def test_an_endpoint_that_is_too_slow_is_no_time_limit_of_the_rollout(tmp_path: Path) -> None:
    end, _ = roll(says("late"), folder=tmp_path, seconds=0.0001)
    assert (end.stop_reason, end.broken) == (StopReason.ENDPOINT_ERROR, True)
    assert "did not answer within" in end.detail


def test_an_endpoint_that_is_gone_is_no_outcome_of_the_rollout(tmp_path: Path) -> None:
    with pytest.raises(EndpointUnreachable):
        roll(fails(401, "who are you"), folder=tmp_path)
