"""Session files of Claude Code and Codex: what was said on which history, and what is taught of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.collect import ImportSummary, import_traces
from tutelage.store import TraceStore
from tutelage.trace import Trace

STARTED = "2026-03-04T05:06:07Z"
Lines = list[dict[str, Any]]


def brought_in(store: TraceStore, path: Path, lines: Lines, run: str = "import") -> tuple[ImportSummary, list[Trace]]:
    """The traces of the run after the import, the one with the fewest messages first."""
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    summary = import_traces(store, path, run=run)
    return summary, sorted(store.traces(run=run), key=lambda trace: len(trace.messages))


def taught(trace: Trace) -> list[str]:
    """What each taught step says, or calls."""
    given = [message for message in trace.messages if message.role == "assistant" and message.weight > 0]
    return [message.content or message.tool_calls[0].name for message in given]


def said(trace: Trace) -> list[str | None]:
    return [message.content for message in trace.messages]


def claude(*told: tuple[str, str | None, str, Any], **more: Any) -> Lines:
    """Lines of Claude Code: uuid, parent, role, content; an assistant's are a message each."""
    common = {"sessionId": "s", "timestamp": STARTED, **more}
    found = []
    for uuid, parent, role, content in told:
        message = {"role": role, "content": content}
        if role == "assistant":
            message |= {"id": f"m-{uuid}", "model": "claude"}
        found.append({**common, "type": role, "uuid": uuid, "parentUuid": parent, "message": message})
    return found


ASKED = ("u1", None, "user", "Where is the lamp?")
ANSWERED = ("a1", "u1", "assistant", [{"type": "text", "text": "In the attic."}])
AGAIN = ("u2", "a1", "user", "And the key?")
FOUND = ("a2", "u2", "assistant", [{"type": "text", "text": "In the cellar."}])


def test_errors_of_the_api_are_no_answers_of_the_model(store: TraceStore, tmp_path: Path) -> None:
    error = claude(("e", "u1", "assistant", [{"type": "text", "text": "API Error: 529"}]), isApiErrorMessage=True)
    synthetic = claude(("n", "e", "assistant", [{"type": "text", "text": "No response requested."}]))
    synthetic[0]["message"]["model"] = "<synthetic>"
    lines = [*claude(ASKED), *error, *synthetic, *claude(("u2", "n", "user", "Please!"), ("a", "u2", *ANSWERED[2:]))]
    summary, (trace,) = brought_in(store, tmp_path / "a.jsonl", lines)
    assert (summary.faults, said(trace)) == ([], ["Where is the lamp?\nPlease!", "In the attic."])
    assert trace.model == "claude"


def test_a_compacted_context_is_a_lineage_of_its_own_kind(store: TraceStore, tmp_path: Path) -> None:
    boundary = {"type": "system", "subtype": "compact_boundary", "parentUuid": None, "logicalParentUuid": "a1"}
    summary = ("s", "b", "user", "So far: a lamp was found.")
    lines = [
        *claude(ASKED, ANSWERED),
        {**boundary, "uuid": "b", "sessionId": "s", "timestamp": STARTED},
        *claude(summary, ("a2", "s", *FOUND[2:])),
    ]
    _, traces = brought_in(store, tmp_path / "a.jsonl", lines)
    assert sorted((trace.task.kind, *said(trace)) for trace in traces) == [
        ("compacted", "So far: a lamp was found.", "In the cellar."),
        ("imported", "Where is the lamp?", "In the attic."),
    ]


def test_what_a_rewound_conversation_shares_is_taught_once_and_by_the_newest(store: TraceStore, tmp_path: Path) -> None:
    other = claude(
        ("u3", "a1", "user", "And the broom?"), ("a3", "u3", "assistant", [{"type": "text", "text": "Here."}])
    )
    _, traces = brought_in(store, tmp_path / "a.jsonl", [*claude(ASKED, ANSWERED, AGAIN, FOUND), *other])
    assert sorted(map(taught, traces)) == [["In the attic.", "Here."], ["In the cellar."]]
    assert all(said(trace)[:2] == ["Where is the lamp?", "In the attic."] for trace in traces)


def test_a_session_that_grew_adds_what_is_new(store: TraceStore, tmp_path: Path) -> None:
    first, _ = brought_in(store, tmp_path / "a.jsonl", claude(ASKED, ANSWERED))
    again, traces = brought_in(store, tmp_path / "a.jsonl", claude(ASKED, ANSWERED, AGAIN, FOUND))
    assert (first.imported, again.imported, again.known) == (1, 1, 0)
    assert list(map(taught, traces)) == [["In the attic."], ["In the cellar."]]
    assert said(traces[1]) == ["Where is the lamp?", "In the attic.", "And the key?", "In the cellar."]
    unanswered = claude(ASKED, ANSWERED, AGAIN, FOUND, ("u3", "a2", "user", "And?"))
    third, traces = brought_in(store, tmp_path / "a.jsonl", unanswered)
    assert (third.imported, third.known, len(traces)) == (0, 1, 2)
    other, _ = brought_in(store, tmp_path / "a.jsonl", claude(ASKED, ANSWERED), run="other")
    assert other.imported == 1, "a run of another name knows nothing of it"


def test_a_call_whose_result_came_before_the_next_call_of_its_message_is_of_one_message(
    store: TraceStore, tmp_path: Path
) -> None:
    uses = [{"type": "tool_use", "id": f"c{n}", "name": "look", "input": {"n": n}} for n in range(2)]
    results = [[{"type": "tool_result", "tool_use_id": f"c{n}", "content": f"{n}"}] for n in range(2)]
    lines = claude(
        ("a0", None, "assistant", [uses[0]]),
        ("r0", "a0", "user", results[0]),
        ("a1", "r0", "assistant", [uses[1]]),
        ("r1", "a1", "user", results[1]),
        ("a2", "r1", *ANSWERED[2:]),
    )
    for line in lines[:4:2]:
        line["message"]["id"] = "m"
    lines = [*claude(ASKED), *lines]
    lines[1]["parentUuid"] = "u1"
    summary, (trace,) = brought_in(store, tmp_path / "a.jsonl", lines)
    assert summary.faults == []
    assert [message.role for message in trace.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [call.id for call in trace.messages[1].tool_calls] == ["c0", "c1"]


def test_after_a_picture_in_a_session_nothing_is_taught(store: TraceStore, tmp_path: Path) -> None:
    picture = ("u2", "a1", "user", [{"type": "text", "text": "This one?"}, {"type": "image", "source": {}}])
    _, (trace,) = brought_in(store, tmp_path / "a.jsonl", claude(ASKED, ANSWERED, picture, FOUND))
    assert (taught(trace), len(trace.messages)) == (["In the attic."], 4)
    assert trace.metadata["record"] == {"session": "s", "not_kept": {"image": 1}}
    first = claude(("u1", None, "user", [{"type": "image", "source": {}}]), ANSWERED)
    summary, _ = brought_in(store, tmp_path / "b.jsonl", first, run="other")
    assert "they hold what is no text and cannot be taught: image" in summary.faults[0].sentence()


def test_a_bad_line_of_a_session_is_named_and_the_rest_comes_in(store: TraceStore, tmp_path: Path) -> None:
    circle = claude(("x", "y", "user", "?"), ("y", "x", "assistant", []))
    unhashable = [{**line, "uuid": ["u"]} for line in claude(ASKED)]
    bad = claude(("v1", None, "user", "So?"), ("v2", "v1", "assistant", 5))
    lines = [*circle, *unhashable, *claude(ASKED), *bad, *claude(ANSWERED)]
    summary, (trace,) = brought_in(store, tmp_path / "a.jsonl", lines)
    assert said(trace) == ["Where is the lamp?", "In the attic."]
    assert [fault.sentence() for fault in summary.faults] == [
        'a.jsonl, line 3: "uuid": not a text.',
        'a.jsonl, line 1: "parentUuid": the lines are linked in a circle.',
        'a.jsonl, line 2: "parentUuid": the lines are linked in a circle.',
        'a.jsonl, line 5 to line 6: "message.content": neither text nor a list, in line 6.',
    ]


def codex(*items: dict[str, Any]) -> Lines:
    """Lines of Codex: items of the conversation, or whole lines (with a payload)."""
    meta = {"type": "session_meta", "payload": {"id": "s", "base_instructions": {"text": "You look."}}}
    lines = [meta, {"type": "turn_context", "payload": {"model": "gpt"}}]
    lines += [item if "payload" in item else {"type": "response_item", "payload": item} for item in items]
    return [{"timestamp": STARTED, **line} for line in lines]


def item(role: str, text: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def rolled_back(turns: int) -> dict[str, Any]:
    return {"type": "event_msg", "payload": {"type": "thread_rolled_back", "num_turns": turns}}


LAMP = (item("user", "Where is the lamp?"), item("assistant", "In the attic."))
KEY = (item("user", "And the key?"), item("assistant", "I do not know."))
CONTEXT = item("user", "<environment_context>\n<cwd>/attic</cwd>\n</environment_context>")


@pytest.mark.parametrize(("turns", "left"), [(1, 3), (2, 1), (9, 1)])
def test_turns_that_were_rolled_back_are_no_history_and_not_taught(
    store: TraceStore, tmp_path: Path, turns: int, left: int
) -> None:
    items = codex(CONTEXT, *LAMP, CONTEXT, *KEY, rolled_back(turns), item("user", "So?"), item("assistant", "Here."))
    _, (trace,) = brought_in(store, tmp_path / "a.jsonl", items)
    whole = ["You look.", CONTEXT["content"][0]["text"], "Where is the lamp?", "In the attic."]
    assert said(trace) == [*whole[: left + 1], "So?", "Here."]


SEARCH = {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "lamp"}}
SECRET = {"type": "compaction", "encrypted_content": "gAAAA"}


@pytest.mark.parametrize("hidden", [SEARCH, SECRET, {"type": "image_generation_call", "status": "completed"}])
def test_after_what_a_session_does_not_show_nothing_is_taught(
    store: TraceStore, tmp_path: Path, hidden: dict[str, Any]
) -> None:
    _, (trace,) = brought_in(store, tmp_path / "a.jsonl", codex(*LAMP, KEY[0], hidden, KEY[1]))
    assert taught(trace) == ["In the attic."]
    assert trace.metadata["record"] == {"session": "s", "not_kept": {hidden["type"]: 1}}


@pytest.mark.parametrize("kind", ["ghost_snapshot", "configuration_update", "additional_tools", "other"])
def test_items_that_tell_the_model_nothing_are_left_out(store: TraceStore, tmp_path: Path, kind: str) -> None:
    silent = {"type": kind, "ghost_commit": {"id": "c"}, "tools": [], "reasoning": {"effort": "high"}}
    summary, (trace,) = brought_in(store, tmp_path / "a.jsonl", codex(LAMP[0], silent, LAMP[1], silent, *KEY))
    assert (summary.faults, taught(trace)) == ([], ["In the attic.", "I do not know."])


def test_searches_for_tools_and_messages_of_other_agents_are_kept(store: TraceStore, tmp_path: Path) -> None:
    tools = [{"type": "function", "name": "lift"}]
    items = codex(
        item("user", "Lift the lamp."),
        {"type": "tool_search_call", "call_id": "c1", "execution": "client", "arguments": {"query": "lift"}},
        {"type": "tool_search_output", "call_id": "c1", "status": "completed", "execution": "client", "tools": tools},
        item("assistant", "I wait."),
        {"type": "agent_message", "author": "b", "recipient": "a", "content": [{"type": "input_text", "text": "Now."}]},
        item("assistant", "Lifted."),
    )
    summary, (trace,) = brought_in(store, tmp_path / "a.jsonl", items)
    assert (summary.faults, taught(trace)) == ([], ["tool_search", "I wait.", "Lifted."])
    assert said(trace)[3:] == [json.dumps(tools), "I wait.", "Now.", "Lifted."]


def test_a_bad_conversation_of_a_session_is_named_by_its_lines(store: TraceStore, tmp_path: Path) -> None:
    compacted = {"type": "compacted", "payload": {"message": "So far.", "replacement_history": [item("robot", "?")]}}
    summary, (trace,) = brought_in(store, tmp_path / "a.jsonl", codex(*LAMP, compacted, *KEY))
    assert said(trace)[1:] == ["Where is the lamp?", "In the attic."]
    assert [fault.sentence() for fault in summary.faults] == ["a.jsonl, line 5 to line 7: 'robot' is no role."]


def test_a_fork_teaches_what_it_adds_to_the_session_it_came_from(store: TraceStore, tmp_path: Path) -> None:
    brought_in(store, tmp_path / "a.jsonl", codex(*LAMP))
    fork = [*codex()[:1], *codex(*LAMP, *KEY)]  # its own head, then all of the other file
    fork[0]["payload"] = {**fork[0]["payload"], "id": "fork"}
    _, traces = brought_in(store, tmp_path / "b.jsonl", fork)
    assert list(map(taught, traces)) == [["In the attic."], ["I do not know."]]
    assert traces[1].metadata["record"] == {"session": "fork"}


def test_a_session_that_codex_itself_wrote_is_read(store: TraceStore) -> None:
    """codex-cli 0.169.0 with a scripted endpoint in the place of its model; long texts of the file are shortened."""
    file = Path(__file__).parent / "samples" / "codex-cli-0.169.0.jsonl"
    import_traces(store, file, run="import")
    (trace,) = store.traces(run="import")
    assert [message.role for message in trace.messages] == [
        *("system", "system", "user", "user"),
        *("assistant", "tool", "assistant"),
    ]
    asked, call, result, answer = trace.messages[3:]
    assert (asked.content, answer.content, trace.model) == ("Which number?", "It says seven.", "scripted")
    assert [(each.name, each.arguments) for each in call.tool_calls] == [("exec_command", '{"cmd": "echo seven"}')]
    assert "Process exited with code 0" in (result.content or "")
    assert call.weight == answer.weight == 1
