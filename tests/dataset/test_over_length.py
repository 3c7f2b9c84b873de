"""Rows over the length limit: dropped, refused, or cut as the agent that serves the student cuts."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from dataset_examples import PRICE, Record, make_project
from endpoint_double import EndpointDouble, endpoint_double, says

from tutelage.agent.rollout import run_rollout
from tutelage.agent.servers import connect_servers
from tutelage.agent.student import StudentView
from tutelage.dataset import build, read_rows, read_summary
from tutelage.endpoint.client import ChatEndpoint
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.render.serving import read_serving
from tutelage.settings import McpServer
from tutelage.store import TraceStore
from tutelage.trace import Message, StopReason, Task, ToolCall
from tutelage.world import Reward, World

SERVER = McpServer(
    command=sys.executable, args=(str(Path(__file__).parents[1] / "agent" / "misbehaving_server.py"), "ordinary")
)
LIMIT = 900


def settings(policy: str, limit: int = LIMIT) -> str:
    return f'[dataset]\nvalidation = 0.0\nmax_length = {limit}\nover_length = "{policy}"\n'


def long_conversation(steps: int = 4, words: int = 150) -> list[Message]:
    messages = [Message(role="user", content="What do they cost?")]
    for number in range(steps):
        call = ToolCall(id=f"c{number}", name="price", arguments=f'{{"product": "P-{number}"}}')
        messages.append(Message(role="assistant", content="", reasoning_content="Next.", tool_calls=(call,)))
        messages.append(Message(role="tool", content=f"P-{number} " * words, tool_call_id=call.id))
    return [*messages, Message(role="assistant", content="They cost 12.50.", reasoning_content="Done.")]


def test_longer_rows_are_dropped_and_counted(store: TraceStore, record: Record, tmp_path: Path) -> None:
    record("P-1", messages=long_conversation())
    summary = build(make_project(tmp_path, settings("drop")), store, tmp_path / "out")
    assert summary.rows_left_out == {f"longer than {LIMIT} tokens": 5 - summary.train.rows}
    assert 0 < summary.train.rows < 5
    assert (summary.over_length, summary.rows_cut, summary.serving.over_length) == ("drop", 0, None)


def test_refusing_names_the_longest_row_and_builds_nothing(store: TraceStore, record: Record, tmp_path: Path) -> None:
    id = record("P-1", messages=long_conversation())
    project = make_project(tmp_path, settings("refuse"))
    with pytest.raises(TutelageError, match=rf"rows are longer than {LIMIT} tokens; the longest, step 4 of trace {id}"):
        build(project, store, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert build(make_project(tmp_path, settings("refuse", 9000)), store, tmp_path / "out").train.rows == 5


def test_cutting_keeps_every_row_and_says_so(store: TraceStore, record: Record, tmp_path: Path) -> None:
    record("P-1", messages=long_conversation(words=120))
    summary = build(make_project(tmp_path, settings("cut_results")), store, tmp_path / "out")
    assert (summary.train.rows, summary.rows_left_out) == (5, {})
    assert summary.longest <= LIMIT
    rows = list(read_rows(tmp_path / "out", "train"))
    cut = [[("no longer shown" in m["content"]) for m in row["messages"] if m["role"] == "tool"] for row in rows]
    assert cut[0] == [] and not any(results[-1] for results in cut[1:])
    assert (summary.rows_cut, summary.results_cut) == (sum(map(any, cut)), sum(map(sum, cut)))
    assert summary.rows_cut > 0 and f"cut in {summary.rows_cut} rows" in summary.sentence()
    kept = read_serving(tmp_path / "out")
    assert kept == read_summary(tmp_path / "out").serving
    assert kept and kept.over_length and kept.over_length.prompt_tokens == LIMIT - 160
    assert "cut_results to prompts of 740 tokens" in (tmp_path / "out" / "README.md").read_text()


def test_a_limit_without_room_for_a_prompt_is_one_sentence(store: TraceStore, record: Record, tmp_path: Path) -> None:
    record("P-1")
    with pytest.raises(TutelageError, match=r"max_length \(160\) leaves no room"):
        build(make_project(tmp_path, settings("cut_results", 160)), store, tmp_path / "out")


def test_the_agent_shows_the_student_at_each_step_what_its_row_holds(store: TraceStore, tmp_path: Path) -> None:
    """A rollout through the real agent loop, whose recorded trace is then built into rows."""
    limit = 3600  # the calls' arguments, which repeat the results, are never cut
    project = make_project(tmp_path, settings("cut_results", limit))
    view = StudentView.open(project, tmp_path / "no adapter yet")
    calls = [("echo", json.dumps({"text": f"{number} " * 250})) for number in range(4)]
    answers = [says("", call, reasoning="Next.") for call in calls]
    with endpoint_double(*answers, says("Done.", reasoning="Done.")) as double:
        id = asyncio.run(roll(project, store, view, double))
    trace = store.load(id)
    assert all("no longer shown" not in (message.content or "") for message in trace.messages)  # recorded in full
    assert trace.metadata["results_cut"] > 0  # type: ignore[operator]
    summary = build(project, store, tmp_path / "out")
    assert summary.rows_cut > 0
    rows = {row["step"]: row for row in read_rows(tmp_path / "out", "train")}
    assert (len(double.requests), len(rows)) == (5, 4)  # one answer is too long for its row
    for step in rows:
        request = double.requests[step]
        sent = [(message["role"], message["content"]) for message in request["messages"]]
        assert sent == [(message["role"], message["content"] or "") for message in rows[step]["messages"][:-1]]
        renderer = view._renderer
        shown = [Message.from_openai(message) for message in request["messages"]]
        prompt = renderer.prompt_tokens(shown, trace.tools)
        assert rows[step]["input_ids"][: len(prompt)] == prompt and len(prompt) <= limit - 160


async def roll(project: Project, store: TraceStore, view: StudentView, double: EndpointDouble) -> str:
    async with (
        ChatEndpoint(double.url, "student") as endpoint,
        connect_servers({"s": SERVER}, World("w", project.folder), tool_seconds=5) as servers,
    ):
        recording = store.begin(run="r", task=Task(id="t", turns=("Echo.",)), attempt=0, model="m", tools=servers.tools)
        end = await run_rollout(
            Task(id="t", turns=("Echo.",)),
            endpoint=endpoint,
            servers=servers,
            recording=recording,
            limits=view.limits,
            cut=view.cut,
            extra=view.extra,
            show=view.show,
        )
        recording.finish(end.stop_reason, Reward(1.0, "as the test wants"), end.notes)
        assert end.stop_reason is StopReason.ANSWER
        return recording.id


def test_the_adapters_folder_says_what_the_agent_does(tmp_path: Path) -> None:
    trained_with = make_project(
        tmp_path, settings("cut_results") + 'reasoning = "off"\n[rollout]\nsend_reasoning = false'
    )
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    StudentView.open(trained_with, adapter).serving.write(adapter)
    changed_since = make_project(tmp_path, settings("drop"))
    view = StudentView.open(changed_since, adapter)
    assert view.serving.over_length and view.serving.over_length.prompt_tokens == LIMIT - 160
    assert (view.limits.send_reasoning, changed_since.settings.rollout.send_reasoning) == (False, True)
    assert view.extra == {"chat_template_kwargs": {"enable_thinking": False}}
    shown = view.show(long_conversation()[:-1], [PRICE])
    assert sum("no longer shown" in (message.content or "") for message in shown) > 0
    (adapter / "serving.json").write_text("{}")
    with pytest.raises(TutelageError, match=r"serving\.json cannot be read"):
        StudentView.open(changed_since, adapter)
