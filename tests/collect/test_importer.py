"""Traces that another program recorded, from a folder of JSON files."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tutelage.collect import import_traces
from tutelage.collect.record import BadRecord, parsed, read_record
from tutelage.dataset import build, read_rows
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.store import TraceStore
from tutelage.trace import StopReason, Verdict

REAL = Path(__file__).parents[3] / "shared" / "traces"  # traces of Qwen3-30B over a browser, beside the checkout
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"what":  "ü"}'}}
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "z": 1, "a": 2.0}}}


def trace(prompt: str = "Look it up.", **more: Any) -> dict[str, Any]:
    return {
        "timestamp": "20250529_195610",
        "model": "Qwen/Qwen3-30B-A3B-FP8",
        "messages": [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": "\n\n", "reasoning_content": "\nI look.\n", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "12"},
            {"role": "assistant", "content": "It is 12."},
        ],
        "tools": [LOOK],
        **more,
    }


def write(folder: Path, **traces: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in traces.items():
        (folder / f"{name}.json").write_text(data if isinstance(data, str) else json.dumps(data))
    return folder


@pytest.fixture
def toml() -> str:
    return "[dataset]\nmax_length = 40000\nvalidation = 0.0\n"


def test_a_trace_is_stored_as_it_was_written(store: TraceStore, tmp_path: Path) -> None:
    summary = import_traces(store, write(tmp_path / "in", one=trace()))
    assert (summary.imported, summary.known, summary.faults, summary.ignored) == (1, 0, [], {})
    (found,) = store.traces(run="import")
    assert found.timestamp == datetime(2025, 5, 29, 19, 56, 10, tzinfo=UTC)
    assert (found.model, found.task.turns, found.stop_reason) == (
        "Qwen/Qwen3-30B-A3B-FP8",
        ("Look it up.",),
        StopReason.ANSWER,
    )
    assert found.messages[1].reasoning_content == "\nI look.\n" and found.messages[1].content == "\n\n"
    assert found.messages[1].tool_calls[0].arguments == '{"what":  "ü"}'
    assert found.tools[0].definition == json.dumps(LOOK)
    assert [step.seen for step in found.steps] == [1, 3]
    assert (found.reward, found.verdict) == (None, Verdict.UNDECIDED)


def test_importing_twice_adds_nothing(store: TraceStore, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", one=trace(), same_as_one=trace(), two=trace("And now?"))
    assert (import_traces(store, folder).imported, import_traces(store, folder).imported) == (2, 0)
    write(folder, three=trace("Once more."))
    summary = import_traces(store, folder)
    assert (summary.imported, summary.known) == (1, 3)
    assert len(store.summaries()) == 3


def test_traces_with_one_prompt_and_toolset_are_one_task(store: TraceStore, tmp_path: Path) -> None:
    other_tools = trace(tools=[{"type": "function", "function": {"name": "look"}}])
    folder = write(tmp_path / "in", a=trace(), b=trace("look  it UP.", timestamp=0), c=other_tools)
    import_traces(store, folder)
    found = {(item.task_id, item.attempt) for item in store.summaries()}
    assert len(found) == 3 and len({task for task, _ in found}) == 2


FAULTS: dict[str, tuple[Any, str, str]] = {
    "no_json": ("{", "", "not valid JSON: line 1"),
    "a_list": ("[]", "", "of no known format"),
    "no_messages": ({key: value for key, value in trace().items() if key != "messages"}, "", "of no known format"),
    "bad_time": (trace(timestamp="yesterday"), "timestamp", "'yesterday' is no time"),
    "bad_role": (trace(messages=[{"role": "robot"}]), "messages[0].role", "'robot' is none of"),
    "a_picture": (
        trace(messages=[{"role": "user", "content": [{"type": "image_url"}]}]),
        "messages[0].content[0]",
        "not a part of text",
    ),
    "no_question": (trace(messages=[{"role": "assistant", "content": "hi"}]), "messages", "no user message"),
    "stray_result": (
        trace(messages=[*trace()["messages"], {"role": "tool", "tool_call_id": "c1", "content": "again"}]),
        "messages[4].tool_call_id",
        "'c1' is the id of no call before it that waits",
    ),
    "nameless_tool": (trace(tools=[{"type": "function", "function": {}}]), "tools[0].function.name", "missing"),
    "bad_weight": (
        trace(messages=[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "weight": "no"}]),
        "messages[1].weight",
        "'no' is no number",
    ),
    "bad_reward": (trace(reward=2), "reward", "2 is no number from 0 to 1"),
    "surrogate": ('{"model": "\\ud800"}', "", "half a surrogate pair"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_with_a_fault_names_its_key_and_the_others_are_imported(
    store: TraceStore, tmp_path: Path, name: str
) -> None:
    data, key, why = FAULTS[name]
    summary = import_traces(store, write(tmp_path / "in", good=trace(), **{name: data}))
    assert summary.imported == 1
    (fault,) = summary.faults
    assert (fault.file, fault.key) == (f"{name}.json", key)
    assert why in fault.why


def test_weight_or_loss_mask_0_marks_context_only(project: Project, store: TraceStore, tmp_path: Path) -> None:
    messages = trace()["messages"]
    messages[1]["loss_mask"] = 0
    other = trace("Other.")["messages"]
    other[3]["weight"] = 0
    folder = write(tmp_path / "in", a=trace(messages=messages), b=trace(messages=other))
    import_traces(store, folder, approve_as="me")
    assert sorted(
        tuple(message.weight for message in found.messages if message.role == "assistant") for found in store.traces()
    ) == [(0.0, 1.0), (1.0, 0.0)]
    build(project, store, tmp_path / "out")
    assert sorted(row["step"] for row in read_rows(tmp_path / "out", "train")) == [0, 1]


def test_what_stands_beside_the_messages_is_kept_and_what_is_not_is_said(store: TraceStore, tmp_path: Path) -> None:
    messages = [{**message, "cost": 3, "audio": None} for message in trace()["messages"]]
    summary = import_traces(store, write(tmp_path / "in", a=trace(messages=messages, session="s1", reward=0.5)))
    assert summary.ignored == {"cost": 4}
    assert '"cost" (4)' in summary.sentence()
    (found,) = store.traces()
    assert (found.metadata["record"], found.reward) == ({"session": "s1"}, 0.5)


def test_other_ways_of_writing_the_same_are_read() -> None:
    call = {"id": "c1", "function": {"name": "look", "arguments": {"what": "ü"}}}
    data = trace(
        timestamp=1748548570,
        tools=json.dumps([LOOK]),
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Look "}, {"type": "text", "text": "it up."}]},
            {"role": "assistant", "content": None, "reasoning": "I look.", "tool_calls": [call]},
        ],
    )
    record = read_record(data)
    assert record.timestamp == datetime(2025, 5, 29, 19, 56, 10, tzinfo=UTC)
    assert [message.content for message in record.messages] == ["Look it up.", None]
    assert record.messages[1].reasoning_content == "I look."
    assert record.messages[1].tool_calls[0].arguments == '{"what": "ü"}'
    assert record.tools[0].name == "look"
    with pytest.raises(BadRecord, match="NaN is no number"):
        parsed('{"timestamp": NaN}')


def test_messages_of_the_api_before_tool_calls_are_read() -> None:
    messages = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": "Look twice."},
        *(
            message
            for what in ("12", "13")
            for message in (
                {
                    "role": "assistant",
                    "content": None,
                    "function_call": {"name": "look", "arguments": f'{{"n": {what}}}'},
                },
                {"role": "function", "name": "look", "content": what},
            )
        ),
        {"role": "assistant", "content": "12 and 13."},
    ]
    record = read_record(trace(messages=messages))
    assert [message.role for message in record.messages] == ["system", "user", *["assistant", "tool"] * 2, "assistant"]
    assert [call.arguments for message in record.messages for call in message.tool_calls] == ['{"n": 12}', '{"n": 13}']
    assert [message.content for message in record.messages if message.role == "tool"] == ["12", "13"]
    assert not record.ignored
    with pytest.raises(BadRecord, match=r"tool_calls\[0\]\.function"):
        read_record(trace(messages=[messages[1], {"role": "assistant", "function_call": "auto"}]))


def test_a_folder_without_a_trace_is_one_sentence(store: TraceStore, tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match=r"holds no file of a known kind"):
        import_traces(store, write(tmp_path / "in"))
    with pytest.raises(TutelageError, match="was not found"):
        import_traces(store, tmp_path / "nowhere")


def test_an_imported_trace_is_kept_by_its_verdict(project: Project, store: TraceStore, tmp_path: Path) -> None:
    import_traces(store, write(tmp_path / "in", a=trace(), b=trace("Other."), c=trace("Third.", reward=1)))
    ids = {found.task.turns[0]: found.id for found in store.traces()}
    store.judge(ids["Look it up."], 0, Verdict.APPROVED, reviewer="me")
    summary = build(project, store, tmp_path / "out")
    assert summary.traces_left_out == {"neither reward nor approval": 1}
    assert (summary.traces_kept, summary.train.rows, summary.kinds["imported"].traces) == (2, 4, 2)


def test_an_imported_trace_of_a_held_out_prompt_is_refused_whatever_the_setup(
    project: Project, store: TraceStore, tmp_path: Path
) -> None:
    (tmp_path / "tasks").mkdir()
    task = {"id": "held-out", "prompt": "look it up.", "setup": {"price": 12}}
    (tmp_path / "tasks" / "evaluate.jsonl").write_text(json.dumps(task))
    import_traces(store, write(tmp_path / "in", a=trace(), b=trace("Other.")), approve_as="me")
    summary = build(project, store, tmp_path / "out")
    assert (summary.evaluation_refused, summary.traces_kept) == (1, 1)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real traces do not lie beside this checkout, in ../shared/traces")
def test_real_traces_of_qwen3_over_a_browser_import_unroll_and_render(
    project: Project, store: TraceStore, tmp_path: Path
) -> None:
    """Counted by hand in the two files: 4 and 12 messages, 2 and 5 of them the assistant's, 1 and 5 calls, 25 tools."""
    summary = import_traces(store, REAL, approve_as="me")
    assert (summary.files, summary.imported, summary.faults, summary.ignored) == (2, 2, [], {})
    traces = sorted(store.traces(), key=lambda found: len(found.messages))
    assert [len(found.messages) for found in traces] == [4, 12]
    assert [len(found.tools) for found in traces] == [25, 25]
    assert [found.timestamp.isoformat() for found in traces] == [
        "2025-05-29T19:56:10+00:00",
        "2025-05-29T13:09:00+00:00",
    ]
    built = build(project, store, tmp_path / "out")
    assert (built.train.rows, built.rows_left_out, built.reasoning_rows) == (7, {}, {"recorded": 7})
    assert built.tools == {
        "browser_click": 2,
        "browser_navigate": 2,
        "browser_snapshot": 1,
        "browser_tab_select": 1,
    }
    rows = list(read_rows(tmp_path / "out", "train"))
    assert [row["step"] for row in sorted(rows, key=lambda row: len(row["messages"]))] == [0, 0, 1, 1, 2, 3, 4]
    definitions = [tool["function"] for tool in json.loads((next(REAL.glob("Navigate*"))).read_text())["tools"]]
    assert [tool["function"] for tool in json.loads(rows[0]["tools"])] == definitions
