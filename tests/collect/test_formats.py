"""Traces from elsewhere: each format, told by its content; a bad record is named, and the rest comes in."""

import json
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import Hub, Repository
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.collect import ImportSummary, import_traces
from tutelage.collect.export import openai_line, otel_line
from tutelage.collect.formats import choose
from tutelage.collect.formats.detect import BEGINNING
from tutelage.collect.formats.openai import FORMAT as OPENAI
from tutelage.collect.formats.otel import FORMAT as OTEL
from tutelage.collect.record import read_message
from tutelage.dialect.identity import chain
from tutelage.errors import TutelageError
from tutelage.store import TraceStore
from tutelage.trace import Trace, imported_from

CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"what": "attic"}'}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "You look."},
    {"role": "user", "content": "Where is the lamp?"},
    {"role": "assistant", "content": None, "reasoning_content": "Up there?", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "a lamp"},
    {"role": "assistant", "content": "In the attic."},
]
STARTED = "2026-03-04T05:06:07+00:00"


def lines(*values: Any) -> str:
    return "".join(f"{value if isinstance(value, str) else json.dumps(value)}\n" for value in values)


def log(messages: list[dict[str, Any]], at: int = 0) -> dict[str, Any]:
    """A line of a log of requests: all but the last message were asked."""
    response = {"created": 1772600767 + at, "choices": [{"message": messages[-1], "finish_reason": "stop"}]}
    headers = {"Authorization": "Bearer sk-0123456789abcdef0123"}
    request = {"model": "gpt", "messages": messages[:-1], "tools": [TOOL]}
    return {"request": request, "response": response, "headers": headers}


def sent_back(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As a client repeats a history: without reasoning."""
    return [{key: value for key, value in message.items() if key != "reasoning_content"} for message in messages]


def anthropic_log() -> dict[str, Any]:
    use = {"type": "tool_use", "id": "call_1", "name": "look", "input": {"what": "attic"}}
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "a lamp"}]}
    return {
        "timestamp": STARTED,
        "request": {
            "model": "claude",
            "system": "You look.",
            "tools": [{"name": "look", "input_schema": {"type": "object"}}],
            "messages": [
                {"role": "user", "content": "Where is the lamp?"},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "Up there?"}, use]},
                {"role": "user", "content": [result]},
            ],
        },
        "response": {"content": [{"type": "text", "text": "In the attic."}], "stop_reason": "end_turn"},
    }


def attribute(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value if isinstance(value, str) else json.dumps(value)}}


def span(messages: list[dict[str, Any]], start: int) -> dict[str, Any]:
    def parts(message: dict[str, Any]) -> list[dict[str, Any]]:
        if message["role"] == "tool":
            return [{"type": "tool_call_response", "id": message["tool_call_id"], "response": message["content"]}]
        found = []
        if message.get("reasoning_content"):
            found.append({"type": "reasoning", "content": message["reasoning_content"]})
        if message["content"]:
            found.append({"type": "text", "content": message["content"]})
        for call in message.get("tool_calls", ()):
            function = call["function"]
            arguments = json.loads(function["arguments"])
            found.append({"type": "tool_call", "id": call["id"], "name": function["name"], "arguments": arguments})
        return found

    told = [{"role": message["role"], "parts": parts(message)} for message in messages]
    return {
        "traceId": "a1",
        "spanId": f"b{start}",
        "startTimeUnixNano": str(1772600767 * 10**9 + start),
        "attributes": [
            attribute("gen_ai.operation.name", "chat"),
            attribute("gen_ai.request.model", "gpt"),
            attribute("gen_ai.system_instructions", told[0]["parts"]),
            attribute("gen_ai.input.messages", told[1:-1]),
            attribute("gen_ai.output.messages", [{**told[-1], "finish_reason": "stop"}]),
            attribute("gen_ai.tool.definitions", [{"type": "function", **TOOL["function"]}]),  # type: ignore[dict-item]
        ],
    }


def otel(*spans: dict[str, Any]) -> dict[str, Any]:
    other = {"traceId": "a1", "spanId": "c", "name": "execute_tool look", "attributes": []}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [other, *spans]}]}]}


def generation(messages: list[dict[str, Any]], at: int) -> dict[str, Any]:
    return {
        "id": f"o{at}",
        "traceId": "t1",
        "type": "GENERATION",
        "model": "gpt",
        "startTime": f"2026-03-04T05:06:0{at}Z",
        "input": {"messages": messages[:-1], "tools": [TOOL]},
        "output": messages[-1],
    }


def sample() -> dict[str, Any]:
    answer = {"role": "assistant", "content": [{"type": "reasoning", "reasoning": "Up there?"}], "tool_calls": []}
    answer["tool_calls"] = [{"id": "call_1", "function": "look", "arguments": {"what": "attic"}, "type": "function"}]
    tool = {"name": "look", "description": "", "parameters": {"type": "object", "properties": {}, "anyOf": None}}
    return {
        "id": 7,
        "epoch": 1,
        "messages": [
            MESSAGES[0],
            {"role": "user", "content": "attachment://a"},
            answer,
            {"role": "tool", "tool_call_id": "call_1", "content": "a lamp", "function": "look"},
            {"role": "assistant", "content": "In the attic."},
        ],
        "attachments": {"a": "Where is the lamp?"},
        "scores": {"match": {"value": "C"}},
        "events": [{"event": "model", "tools": [tool]}],
    }


def inspect_log(*samples: Any) -> dict[str, Any]:
    return {"version": 2, "eval": {"model": "gpt", "created": STARTED, "task": "attic"}, "samples": list(samples)}


def claude_code() -> list[dict[str, Any]]:
    use = {"type": "tool_use", "id": "call_1", "name": "look", "input": {"what": "attic"}}
    answers = [{"type": "thinking", "thinking": "Up there?", "signature": "x"}, use]
    told: list[tuple[str, Any]] = [("user", {"role": "user", "content": "Where is the lamp?"})]
    told += [
        ("assistant", {"role": "assistant", "id": "m1", "model": "claude", "content": [block]}) for block in answers
    ]
    told.append(
        ("user", {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "a lamp"}]})
    )
    text = {"type": "text", "text": "In the attic."}
    told.append(("assistant", {"role": "assistant", "id": "m2", "model": "claude", "content": [text]}))
    common = {"sessionId": "s", "isSidechain": False, "timestamp": STARTED, "version": "2.1.0"}
    found: list[dict[str, Any]] = [{"type": "summary", "summary": "The lamp", "leafUuid": "u4"}]
    for number, (kind, message) in enumerate(told):
        parent = f"u{number - 1}" if number else None
        found.append({**common, "type": kind, "uuid": f"u{number}", "parentUuid": parent, "message": message})
    return found


def codex() -> list[dict[str, Any]]:
    user = [{"type": "input_text", "text": "Where is the lamp?"}]
    items: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": user},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Up there?"}], "encrypted_content": "x"},
        {"type": "function_call", "name": "look", "arguments": '{"what": "attic"}', "call_id": "call_1"},
        {"type": "function_call_output", "call_id": "call_1", "output": "a lamp"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "In the attic."}]},
    ]
    meta = {"id": "s", "cli_version": "1", "base_instructions": {"text": "You look."}}
    told = [("session_meta", meta), ("turn_context", {"model": "gpt"}), ("event_msg", {"type": "task_started"})]
    told += [("response_item", item) for item in items]
    return [{"timestamp": STARTED, "type": kind, "payload": payload} for kind, payload in told]


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


FILES: dict[str, tuple[str, Any]] = {
    "trace": ("a.json", {"timestamp": STARTED, "model": "gpt", "messages": MESSAGES, "tools": [TOOL]}),
    "openai": ("a.jsonl", [{"messages": MESSAGES, "tools": [TOOL]}]),
    "openai log": ("b.jsonl", [log(MESSAGES[:3]), log(sent_back(MESSAGES), 1)]),
    "openai anthropic": ("c.jsonl", [anthropic_log()]),
    "huggingface": ("a.parquet", [{"messages": sent_back(MESSAGES), "tools": json.dumps([TOOL]), "id": 1}]),
    "otel": ("d.jsonl", [otel(span(sent_back(MESSAGES), 5)), otel(span(MESSAGES[:3], 1))]),
    "langfuse": ("e.json", {"data": [generation(MESSAGES[:3], 1), generation(sent_back(MESSAGES), 2)]}),
    "langfuse trace": ("f.json", [{"id": "t1", "observations": [generation(MESSAGES, 1), {"type": "SPAN"}]}]),
    "inspect": ("g.json", inspect_log(sample())),
    "claude-code": ("h.jsonl", claude_code()),
    "codex": ("i.jsonl", codex()),
}


def write(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        parquet(path, value)
    else:
        path.write_text(lines(*value) if name.endswith("l") else json.dumps(value))
    return path


def brought_in(store: TraceStore, path: Path, **more: Any) -> tuple[ImportSummary, list[Trace]]:
    return import_traces(store, path, **more), list(store.traces())


@pytest.mark.parametrize("name", FILES)
def test_each_format_becomes_the_trace_that_it_tells(store: TraceStore, tmp_path: Path, name: str) -> None:
    path = write(tmp_path, *FILES[name])
    chosen = choose(path, None)
    assert chosen and chosen.name == name.split()[0]
    summary, traces = brought_in(store, path)
    assert (summary.faults, summary.imported) == ([], 1)
    (trace,) = traces
    sends_system = chosen.name != "claude-code"  # a session file of Claude Code does not hold it
    assert [message.role for message in trace.messages] == ["system", "user", "assistant", "tool", "assistant"][
        not sends_system :
    ]
    told = trace.messages[sends_system:]
    assert [message.content or "" for message in told] == ["Where is the lamp?", "", "a lamp", "In the attic."]
    (call,) = told[1].tool_calls
    assert (call.id, call.name, json.loads(call.arguments)) == ("call_1", "look", {"what": "attic"})
    assert told[1].reasoning_content == (None if name == "huggingface" else "Up there?")
    assert all(message.weight == 1 for message in trace.messages) is (
        name not in ("openai anthropic", "langfuse trace")
    )
    assert [tool.name for tool in trace.tools] == ([] if chosen.name in ("claude-code", "codex") else ["look"])
    assert trace.reward == (1.0 if name == "inspect" else None)
    assert brought_in(store, path)[0].imported == 0, "importing twice adds nothing"


def test_an_answer_in_a_log_that_nobody_logged_is_context(store: TraceStore, tmp_path: Path) -> None:
    _, (trace,) = brought_in(store, write(tmp_path, "a.jsonl", [anthropic_log()]))
    assert [message.weight for message in trace.messages if message.role == "assistant"] == [0, 1]


def test_a_dataset_on_the_hub_comes_in_with_its_tools(store: TraceStore, hub: Hub, tmp_path: Path) -> None:
    table = write(tmp_path, *FILES["huggingface"]).read_bytes()
    files = {"data/train-00000.parquet": table, "README.md": b"# Chats", "extra.json": b"{}"}
    hub.repositories["dataset", "somebody/chats"] = Repository("dataset", private=True, files=files)
    summary = import_traces(store, "hf:somebody/chats")
    (trace,) = store.traces()
    assert (summary.imported, summary.faults, [tool.name for tool in trace.tools]) == (1, [], ["look"])
    assert trace.messages[2].tool_calls[0].arguments == '{"what": "attic"}'
    assert (imported_from(trace.metadata) or {})["file"] == "hf:somebody/chats/data/train-00000.parquet"
    assert import_traces(store, "hf:somebody/chats").known == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("hf:somebody/nothing", "did not give the dataset somebody/nothing .HTTP 404"),
        ("hf:somebody/empty", "holds no file of a known kind"),
        ("hf:no name", "no name of a dataset"),
    ],
)
def test_a_dataset_that_the_hub_does_not_give_is_one_sentence(store: TraceStore, hub: Hub, name: str, why: str) -> None:
    hub.repositories["dataset", "somebody/empty"] = Repository("dataset", private=False, files={"README.md": b""})
    with pytest.raises(TutelageError, match=why):
        import_traces(store, name)


BAD: dict[str, tuple[str, Any, str, str]] = {
    "openai": (
        "a.jsonl",
        lines({"messages": MESSAGES}, "{", {"messages": 5}, {"messages": MESSAGES[1:]}),
        "line 2",
        "not valid JSON",
    ),
    "openai log": (
        "a.jsonl",
        lines(log(MESSAGES), {"response": {"choices": []}, "request": {"a": 1}}),
        "line 2",
        "no answer",
    ),
    "openai log with a number for its usage": (
        "a.jsonl",
        lines(log(MESSAGES), {**log(MESSAGES), "response": {**log(MESSAGES)["response"], "usage": 3}}),
        "line 2",
        "not written as its format is",
    ),
    "a picture": (
        "a.jsonl",
        lines({"messages": MESSAGES}, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
        "line 2",
        "not a part of text",
    ),
    "otel": ("a.jsonl", lines(otel(span(MESSAGES, 1)), {"resourceSpans": 3}), "line 2", "not a list of objects"),
    "inspect": ("a.json", json.dumps(inspect_log(sample(), {"messages": 1})), "sample 2", "not a list of objects"),
    "langfuse": (
        "a.json",
        json.dumps([generation(MESSAGES, 1), {**generation(MESSAGES, 2), "output": 3}]),
        "record 2",
        "no answer",
    ),
    "claude-code": ("a.jsonl", lines(*claude_code(), "nonsense"), "line 7", "not valid JSON"),
    "codex": ("a.jsonl", lines(*codex(), "[]"), "line 9", "no line of a session"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_named_and_the_rest_comes_in(store: TraceStore, tmp_path: Path, name: str) -> None:
    file, text, where, why = BAD[name]
    (tmp_path / file).write_text(text)
    summary, traces = brought_in(store, tmp_path / file)
    assert traces
    assert (summary.faults[0].file, summary.faults[0].where) == (file, where)
    assert why in summary.faults[0].why
    assert f"{file}, {where}: " in summary.faults[0].sentence()


def test_a_log_in_inspects_own_archive_is_read(store: TraceStore, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "log.eval", "w") as archive:
        archive.writestr("header.json", json.dumps({"version": 2, "eval": {"model": "gpt", "created": STARTED}}))
        archive.writestr("samples/7_epoch_1.json", json.dumps(sample()))
        archive.writestr("samples/8_epoch_1.json", "{")
    summary, traces = brought_in(store, tmp_path)
    assert (len(traces), traces[0].reward, summary.faults[0].where) == (1, 1.0, "samples/8_epoch_1.json")


@pytest.mark.parametrize("file", ["inspect.eval", "inspect.json"])
def test_logs_that_inspect_itself_wrote_are_read(store: TraceStore, file: str) -> None:
    """Two samples of inspect_ai 0.3.285 over its mock model; the .eval file is packed with Zstandard."""
    summary, traces = brought_in(store, Path(__file__).parent / "samples" / file)
    assert (summary.faults, summary.imported) == ([], 2)
    chair, lamp = sorted(traces, key=lambda trace: trace.task.turns)
    assert (chair.reward, lamp.reward, lamp.model) == (0.0, 1.0, "mockllm/model")
    assert [message.content for message in lamp.messages] == [
        "You look.",
        "Where is the lamp?",
        "I look.",
        "seen: attic",
        "The lamp is in the attic.",
    ]
    assert lamp.messages[2].tool_calls[0].arguments == '{"what": "attic"}'
    assert lamp.tools[0].to_openai()["function"]["parameters"]["required"] == ["what"]


def test_spans_that_opentelemetrys_own_library_wrote_are_read(store: TraceStore) -> None:
    """Two model calls recorded by opentelemetry-util-genai 1.3b0, which OpenTelemetry's instrumentations write with."""
    summary, (trace,) = brought_in(store, Path(__file__).parent / "samples" / "otel.json")
    assert summary.faults == []
    assert [message.content or "" for message in trace.messages] == [message["content"] or "" for message in MESSAGES]
    assert (trace.messages[2].reasoning_content, trace.messages[2].weight) == ("Up there?", 1)


def test_a_dataset_that_hugging_face_datasets_itself_wrote_is_read(store: TraceStore, tmp_path: Path) -> None:
    import datasets

    rows = [{"messages": sent_back(MESSAGES), "tools": json.dumps([TOOL])}, {"messages": sent_back(MESSAGES[1:3])}]
    made = datasets.Dataset.from_list(rows)
    made.save_to_disk(str(tmp_path / "disk"))
    summary, traces = brought_in(store, tmp_path / "disk")
    assert (summary.faults, len(traces)) == ([], 2)
    made.to_parquet(str(tmp_path / "made.parquet"))
    assert import_traces(store, tmp_path / "made.parquet").known == 2


def test_side_chains_and_compacted_contexts_of_session_files_are_traces_of_their_own(
    store: TraceStore, tmp_path: Path
) -> None:
    side = [
        {
            **line,
            "isSidechain": True,
            "uuid": f"s{line['uuid']}",
            "parentUuid": line["parentUuid"] and f"s{line['parentUuid']}",
        }
        for line in claude_code()[1:]
    ]
    compacted = {
        "timestamp": STARTED,
        "type": "compacted",
        "payload": {"message": "So far: nothing.", "replacement_history": None},
    }
    write(tmp_path, "a.jsonl", [*claude_code(), *side])
    write(tmp_path, "b.jsonl", [*codex(), compacted, *codex()[-1:]])
    _, traces = brought_in(store, tmp_path)
    assert (
        sorted(trace.task.kind for trace in traces) == ["compacted", "imported", "imported", "sub-agent"][: len(traces)]
    )


def test_lines_between_messages_of_a_session_file_cut_no_conversation(store: TraceStore, tmp_path: Path) -> None:
    _, *told = claude_code()
    session = []
    for line in told:  # each message is followed by a timing and a hook, and the next one links to the hook
        session.append({**line, "parentUuid": line["parentUuid"] and f"{line['parentUuid']}-hook"})
        timing = {"type": "system", "sessionId": "s", "uuid": f"{line['uuid']}-timing", "parentUuid": line["uuid"]}
        session += [timing, {**timing, "uuid": f"{line['uuid']}-hook", "parentUuid": timing["uuid"]}]
    summary, (trace,) = brought_in(store, write(tmp_path, "a.jsonl", session))
    assert (summary.faults, summary.records) == ([], 1)
    assert [message.role for message in trace.messages] == ["user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize("first", [0, 1])
def test_results_of_calls_made_at_once_are_of_one_conversation(store: TraceStore, tmp_path: Path, first: int) -> None:
    """Each result is linked to its own call's line; what comes next, to the result that came last."""
    common = {"sessionId": "s", "timestamp": STARTED}

    def line(uuid: str, parent: str | None, role: str, content: Any, **more: str) -> dict[str, Any]:
        message = {"role": role, "content": content, **more}
        return {**common, "type": role, "uuid": uuid, "parentUuid": parent, "message": message}

    uses = [{"type": "tool_use", "id": f"c{n}", "name": "look", "input": {"n": n}} for n in range(2)]
    results = [
        line(f"r{n}", f"a{n}", "user", [{"type": "tool_result", "tool_use_id": f"c{n}", "content": f"{n}"}])
        for n in (first, 1 - first)
    ]
    session = [
        line("u", None, "user", "Look twice."),
        line("a0", "u", "assistant", [uses[0]], id="m1", model="claude"),
        line("a1", "a0", "assistant", [uses[1]], id="m1", model="claude"),
        *results,
        line("a2", results[-1]["uuid"], "assistant", [{"type": "text", "text": "Seen."}], id="m2", model="claude"),
    ]
    summary, (trace,) = brought_in(store, write(tmp_path, "a.jsonl", session))
    assert summary.faults == []
    assert [message.role for message in trace.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [call.id for call in trace.messages[1].tool_calls] == ["c0", "c1"]
    assert {message.tool_call_id for message in trace.messages[2:4]} == {"c0", "c1"}


def test_a_large_file_of_one_indented_value_is_known_by_its_content(store: TraceStore, tmp_path: Path) -> None:
    long = {"role": "user", "content": "Grüße " * (BEGINNING // 6)}  # more bytes than are looked at, fewer characters
    trace = {**FILES["trace"][1], "messages": [*MESSAGES, long, MESSAGES[-1]]}
    (tmp_path / "a.json").write_text(json.dumps(trace, ensure_ascii=False, indent=1))
    summary, traces = brought_in(store, tmp_path / "a.json")
    assert (summary.faults, len(traces)) == ([], 1)


def test_credentials_beside_a_trace_are_left_out(store: TraceStore, tmp_path: Path) -> None:
    token, key = "abcdefgh1234" * 2, "ghp_" + "a1B2" * 9
    names = ("token", "github_token", "refresh_token", "session_token", "passwd", "privateKey")
    named = dict.fromkeys(names, "a")
    kept = {"total_tokens": 5, "session": "s1", "author": "ada"}
    run = {"api_key": "a", **named, **kept, "url": f"u?token=Bearer {token}", "log": [f"cloned with {key}"]}
    _, (found,) = brought_in(store, write(tmp_path, "a.json", {**FILES["trace"][1], "headers": {"x": 1}, "run": run}))
    assert found.metadata["record"] == {"run": {**kept, "url": "u?token=Bearer [key]", "log": ["cloned with [key]"]}}


def test_a_format_that_is_named_is_taken_and_one_that_is_not_known_is_one_sentence(
    store: TraceStore, tmp_path: Path
) -> None:
    path = write(tmp_path, "a.json", {key: value for key, value in FILES["trace"][1].items() if key != "model"})
    assert import_traces(store, path, format="trace").faults[0].sentence() == 'a.json: "model": missing.'
    with pytest.raises(TutelageError, match=r'no format "csv"\. Known are trace, inspect'):
        import_traces(store, path, format="csv")


@pytest.mark.parametrize("name", FILES)
def test_what_is_exported_comes_in_again_as_it_was(store: TraceStore, tmp_path: Path, name: str) -> None:
    _, (trace,) = brought_in(store, write(tmp_path, *FILES[name]))
    (tmp_path / "out.jsonl").write_text(openai_line(trace) + "\n")
    (record,) = [entry.read() for entry in OPENAI.read(tmp_path / "out.jsonl")]
    assert (record.messages, record.model, record.timestamp) == (trace.messages, trace.model, trace.timestamp)
    assert [json.loads(tool.definition) for tool in record.tools] == [tool.to_openai() for tool in trace.tools]
    (tmp_path / "out.jsonl").write_text(otel_line(trace) + "\n")
    (record,) = [entry.read() for entry in OTEL.read(tmp_path / "out.jsonl")]
    assert chain(record.messages) == chain(trace.messages)
    told = [[(message.reasoning_content, message.weight) for message in each.messages] for each in (record, trace)]
    assert told[0] == told[1]


def came_back(trace: Trace) -> Any:
    """A trace's messages after it was written in the form that Tutelage exports, and read."""
    told = json.loads(openai_line(trace))
    return tuple(read_message(entry, "") for entry in told["messages"])


KEYS = ["role", "content", "messages", "type", "message", "response", "request", "payload", "parts", "output", "input"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)


def damaged(draw: Any, value: Any) -> Any:
    """`value` with something put in the place of something in it."""
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 3)) == 0:
        return draw(JSON)
    if isinstance(value, list):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], damaged(draw, value[index]), *value[index + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    if draw(st.integers(0, 5)) == 0:
        return {name: item for name, item in value.items() if name != key}
    return {**value, key: damaged(draw, value[key])}


@pytest.mark.parametrize("name", [name for name in FILES if name != "huggingface"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_a_file_ends_in_more_than_a_fault(
    tmp_path: Path, store: TraceStore, name: str, data: st.DataObject
) -> None:
    file, value = FILES[name]
    broken = damaged(data.draw, value)
    if file.endswith("l") and not isinstance(broken, list):
        broken = [broken]
    path = write(tmp_path, file, broken)
    for format in (None, name.split()[0]):
        summary = import_traces(store, path, format=format, run=uuid.uuid4().hex)
        traces = list(store.traces(run=summary.run))
        assert summary.imported == len(traces)
        for trace in traces:
            assert came_back(trace) == trace.messages
