"""A chat with a project of one server, with the answers of an endpoint double in the place of a model."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint_double import Answer, endpoint_double, fails, says
from mcp_types import ElicitRequestParams, ElicitResult

from tutelage.agent.chat import run_chat
from tutelage.agent.rollout import REFUSED, RolloutEnd
from tutelage.agent.student import StudentView
from tutelage.endpoint.client import ChatEndpoint
from tutelage.project import Project
from tutelage.render.fit import CutResults
from tutelage.render.serving import Serving
from tutelage.settings import Settings, ToolResults
from tutelage.store import TraceStore
from tutelage.trace import Message, StopReason, ToolCall, Trace

SERVER = [str(Path(__file__).with_name("misbehaving_server.py")), "ordinary"]
ASKING = [str(Path(__file__).with_name("asking_server.py"))]
ECHO = says(None, ("echo", '{"text": "seven"}'))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    with TraceStore(f"sqlite:///{tmp_path / 'traces.db'}") as opened:
        yield opened


def chat(
    folder: Path,
    store: TraceStore,
    *answers: Answer,
    lines: list[str],
    server: list[str] = SERVER,
    requests: list[dict[str, Any]] | None = None,
    **options: object,
) -> tuple[RolloutEnd | None, list[Trace]]:
    (folder / "tutelage.toml").write_text('system_prompt = "be good"\n')
    (folder / "mcp.json").write_text(
        f'{{"mcpServers": {{"s": {{"command": "{sys.executable}", "args": {json.dumps(server)}}}}}}}'
    )
    said = iter(lines)
    with endpoint_double(*answers) as double:
        end = run_chat(
            Project.open(folder),
            store,
            endpoint=lambda _: ChatEndpoint(double.url, "m"),
            read=lambda: next(said, None),
            **{"on_message": lambda _: None, **options},  # type: ignore[arg-type]
        )
    if requests is not None:
        requests += double.requests
    return end, list(store.traces(run="chat"))


def test_a_question_is_answered_with_a_tool_and_logged(tmp_path: Path, store: TraceStore) -> None:
    end, (trace,) = chat(tmp_path, store, ECHO, says("It is seven."), lines=["", "  ", "Which number?"])
    assert end
    assert [message.role for message in trace.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert (trace.stop_reason, trace.answer(), trace.task.turns) == ("answer", "It is seven.", ("Which number?",))


def test_the_student_is_shown_what_its_adapter_says(tmp_path: Path, store: TraceStore) -> None:
    results, cut = ToolResults(limit=50), CutResults(prompt_tokens=400)
    Serving(thinking=False, send_reasoning=False, tool_results=results, over_length=cut).write(tmp_path)
    view = StudentView.open(Project(tmp_path, Settings()), tmp_path)
    call = ("echo", json.dumps({"text": "seven " * 100}))
    answers = [says(None, call, reasoning="Hm.") for _ in range(3)]
    requests: list[dict[str, Any]] = []
    chat(tmp_path, store, *answers, says("Done."), lines=["Which number?"], view=view, requests=requests)
    assert all(body["chat_template_kwargs"] == {"enable_thinking": False} for body in requests)
    assert not any("reasoning_content" in message for body in requests for message in body["messages"])
    first, *_, last = (message["content"] for message in requests[-1]["messages"] if message["role"] == "tool")
    assert "no longer shown" in first and last.endswith("… [cut: 50 of 600 characters shown]")


@pytest.mark.parametrize("allowed", [True, False])
def test_a_call_runs_only_where_the_user_allows_it(allowed: bool, tmp_path: Path, store: TraceStore) -> None:
    asked: list[ToolCall] = []

    def confirm(call: ToolCall) -> bool:
        asked.append(call)
        return allowed

    _, (trace,) = chat(tmp_path, store, ECHO, says("Done."), lines=["Which number?"], confirm=confirm)
    assert [call.name for call in asked] == ["echo"]
    assert trace.messages[3].content == ("seven" if allowed else REFUSED)


def test_what_a_server_asks_its_user_reaches_the_user(tmp_path: Path, store: TraceStore) -> None:
    def question(server: str, asked: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"said": f"{server}: {asked.message}"})

    asks = says(None, ("elicitation", "{}"))
    _, (trace,) = chat(tmp_path, store, asks, says("Done."), lines=["Ask me"], server=ASKING, question=question)
    assert "s: Sure?" in str(trace.messages[3].content)


def test_ctrl_c_at_a_servers_question_cancels_it(tmp_path: Path, store: TraceStore) -> None:
    def question(server: str, asked: ElicitRequestParams) -> ElicitResult:
        raise KeyboardInterrupt

    asks = says(None, ("elicitation", "{}"))
    _, (trace,) = chat(tmp_path, store, asks, says("Done."), lines=["Ask me"], server=ASKING, question=question)
    assert '"action": "cancel"' in str(trace.messages[3].content)
    assert trace.stop_reason == StopReason.ANSWER


def test_who_says_nothing_leaves_no_trace(tmp_path: Path, store: TraceStore) -> None:
    assert chat(tmp_path, store, says("?"), lines=["", " "]) == (None, [])


def test_a_chat_whose_endpoint_fails_is_finished_and_says_why(tmp_path: Path, store: TraceStore) -> None:
    end, (trace,) = chat(tmp_path, store, says("hello"), fails(401, "who are you"), lines=["hi", "and?"])
    assert end
    assert "who are you" in end.detail
    assert (trace.stop_reason, len(trace.messages)) == (StopReason.ENDPOINT_ERROR, 4)


@pytest.fixture
def heeded() -> Iterator[None]:
    """A shell's background job ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_during_an_answer_finishes_the_chat(heeded: None, tmp_path: Path, store: TraceStore) -> None:
    def interrupt(message: Message) -> None:
        if message.role == "user":
            os.kill(os.getpid(), signal.SIGINT)

    end, (trace,) = chat(tmp_path, store, says("hello"), lines=["hi"], on_message=interrupt)
    assert end
    assert (trace.stop_reason, end.detail) == (StopReason.TIME_LIMIT, "The user stopped it.")
