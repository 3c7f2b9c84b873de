"""Traces from elsewhere: each format, told by its content; a bad record is named, and the rest comes in."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, Repository
from lamp_files import (
    FILES,
    MESSAGES,
    STARTED,
    TOOL,
    anthropic_log,
    attribute,
    claude_code,
    codex,
    generation,
    inspect_log,
    lines,
    log,
    otel,
    sample,
    sent_back,
    span,
    write,
)
from round_trip import came_back

from tutelage.collect import ImportSummary, import_traces
from tutelage.collect.export import FORMATS as EXPORTS
from tutelage.collect.formats import choose
from tutelage.collect.formats.detect import BEGINNING
from tutelage.errors import TutelageError
from tutelage.store import TraceStore
from tutelage.trace import Trace, imported_from


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


def test_a_byte_that_is_no_text_costs_its_own_line(store: TraceStore, tmp_path: Path) -> None:
    good = json.dumps({"messages": MESSAGES, "tools": [TOOL]}).encode()
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([good, good.replace(b"lamp", b"l\xffmp"), good.replace(b"?", b"!")]))
    whole = json.dumps(FILES["trace"][1], indent=1).encode().replace(b"lamp", b"l\xffmp", 1)
    (tmp_path / "b.json").write_bytes(whole)
    summary, traces = brought_in(store, tmp_path)
    assert len(traces) == 2
    assert [fault.sentence() for fault in summary.faults] == [
        f"a.jsonl, line 2: it is not UTF-8 text (byte {good.index(b'lamp') + 2}).",
        f"b.json: it is not UTF-8 text (byte {whole.index(bytes([255])) + 1}).",
    ]


def test_a_bad_span_is_named_and_the_others_come_in(store: TraceStore, tmp_path: Path) -> None:
    no_time, no_number = {**span(MESSAGES[:3], 1), "startTimeUnixNano": "soon"}, span(MESSAGES, 2)
    no_number["attributes"] = [*no_number["attributes"], {"key": "n", "value": {"intValue": "many"}}]
    no_answer = {**span(MESSAGES, 3), "attributes": [attribute("gen_ai.output.messages", [])]}
    export = otel(no_time, no_number, no_answer, span(MESSAGES, 4))
    summary, traces = brought_in(store, write(tmp_path, "a.json", export))
    assert len(traces) == 1
    assert [(fault.where, fault.key) for fault in summary.faults] == [
        ("span 2", "startTimeUnixNano"),
        ("span 3", ""),
        ("span 4", "gen_ai.output.messages"),
    ]


def test_of_several_answers_in_a_span_the_first_is_taken(store: TraceStore, tmp_path: Path) -> None:
    twice = span(MESSAGES, 1)
    answers = [{"role": "assistant", "parts": [{"type": "text", "content": text}]} for text in ("Up.", "Down.")]
    twice["attributes"] = [*twice["attributes"], attribute("gen_ai.output.messages", answers)]
    _, (trace,) = brought_in(store, write(tmp_path, "a.json", otel(twice)))
    assert [message.content for message in trace.messages[-2:]] == ["a lamp", "Up."]


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_broken_sample_of_an_archive_costs_no_other(store: TraceStore, tmp_path: Path, packed: int) -> None:
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w", packed) as file:
        file.writestr("header.json", json.dumps({"version": 2, "eval": {"model": "gpt", "created": STARTED}}))
        for number in (7, 8):
            file.writestr(f"samples/{number}_epoch_1.json", json.dumps({**sample(), "id": number}))
        place = file.getinfo("samples/7_epoch_1.json").header_offset + 80
    data = path.read_bytes()
    path.write_bytes(data[:place] + b"\xff\xff\xff\xff" + data[place + 4 :])
    summary, (trace,) = brought_in(store, path)
    assert trace.metadata["record"]["sample"] == "8"  # type: ignore[index,call-overload]
    assert [fault.where for fault in summary.faults] == ["samples/7_epoch_1.json"]
    assert "is broken" in summary.faults[0].why


def langchain() -> list[dict[str, Any]]:
    """Two generations as Langfuse's handler for LangChain writes them."""
    call = {"name": "look", "args": {"what": "attic"}, "id": "call_1", "type": "tool_call"}
    use = {"type": "tool_use", "id": "call_1", "name": "look", "input": {"what": "attic"}}
    blocks = [{"type": "thinking", "thinking": "Up there?"}, {"type": "text", "text": "I look."}, use]
    asked = [MESSAGES[0], {**MESSAGES[1], "additional_kwargs": {"name": "somebody"}}]
    looks = {"role": "assistant", "content": blocks, "tool_calls": [call]}
    tool = {"role": "tool", "content": TOOL}
    common = {"traceId": "t1", "type": "GENERATION"}
    told = [*asked, looks, MESSAGES[3]]
    return [
        {
            **common,
            "id": "o1",
            "startTime": STARTED,
            "providedModelName": "gpt",
            "input": [*asked, tool],
            "output": looks,
        },
        {
            **common,
            "id": "o2",
            "startTime": STARTED,
            "provided_model_name": "gpt",
            "input": [*told, tool],
            "output": MESSAGES[4],
        },
    ]


def test_messages_and_tools_of_langchain_in_langfuse_are_read(store: TraceStore, tmp_path: Path) -> None:
    summary, (trace,) = brought_in(store, write(tmp_path, "a.json", langchain()))
    assert (summary.faults, trace.model, [tool.to_openai() for tool in trace.tools]) == ([], "gpt", [TOOL])
    assert [message.role for message in trace.messages] == [message["role"] for message in MESSAGES]
    looks = trace.messages[2]
    assert (looks.content, looks.reasoning_content, looks.weight) == ("I look.", "Up there?", 1)
    assert [(call.id, call.name, call.arguments) for call in looks.tool_calls] == [
        ("call_1", "look", '{"what": "attic"}')
    ]
    anthropics = [{**found, "input": [{"role": "user", "content": "Look."}]} for found in langchain()[:1]]
    anthropics[0]["input"].append({"role": "tool", "content": {"name": "look", "input_schema": {"type": "object"}}})
    import_traces(store, write(tmp_path, "b.json", anthropics), run="other")
    ((tool,),) = [trace.tools for trace in store.traces(run="other")]
    assert tool.to_openai()["function"] == {"name": "look", "parameters": {"type": "object"}}


def test_what_branches_of_a_log_share_is_taught_once_and_a_log_that_grew_adds_what_is_new(
    store: TraceStore, tmp_path: Path
) -> None:
    user, answer = MESSAGES[1], MESSAGES[4]
    branches = [
        [user, answer, {"role": "user", "content": text}, {"role": "assistant", "content": text}] for text in "AB"
    ]
    path = write(tmp_path, "a.jsonl", [log([user, answer]), log(branches[0], 1)])
    assert import_traces(store, path).imported == 1
    summary, traces = brought_in(store, write(tmp_path, "a.jsonl", [log([user, answer]), *map(log, branches)]))
    assert (summary.imported, summary.known) == (1, 1)
    taught = [
        [message.content for message in trace.messages if message.role == "assistant" and message.weight]
        for trace in traces
    ]
    assert sorted(taught) == [["B"], ["In the attic.", "A"]]


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


def test_spans_that_opentelemetrys_exporter_wrote_to_a_file_are_read(store: TraceStore) -> None:
    """As tests/collect/test_own_tools.py has them written; in OTLP's own JSON, with hexadecimal ids."""
    path = Path(__file__).parent / "samples" / "otel-openai-v2-2.4b0.jsonl"
    assert '"kind":3' in path.read_text().replace(" ", "")
    summary, (trace,) = brought_in(store, path)
    assert summary.faults == []
    assert [message.role[0] for message in trace.messages] == list("suatatta")


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
    side[0]["message"] = {"role": "user", "content": "Somebody looks for a lamp."}
    compacted = {
        "timestamp": STARTED,
        "type": "compacted",
        "payload": {"message": "So far: nothing.", "replacement_history": None},
    }
    write(tmp_path, "a.jsonl", [*claude_code(), *side])
    write(tmp_path, "b.jsonl", [*codex(), compacted, *codex()[-1:]])
    _, traces = brought_in(store, tmp_path)
    assert sorted(trace.task.kind for trace in traces) == ["compacted", "imported", "imported", "sub-agent"]


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
    for form in EXPORTS:
        record = came_back(trace, form, tmp_path)
        assert (record.messages, record.model, record.timestamp) == (trace.messages, trace.model, trace.timestamp)
        assert [json.loads(tool.definition) for tool in record.tools] == [tool.to_openai() for tool in trace.tools]
