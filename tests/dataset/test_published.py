"""A dataset through the Hub and back: whole conversations, a row a user turn, a row a step."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_examples import SETTINGS, Record, conversation, make_project
from hub_server import TOKEN, Hub

from tutelage.dataset import build, read_rows, read_summary
from tutelage.dataset.conversations import write_conversations
from tutelage.dataset.published import json_items, take_published
from tutelage.dataset.write import SCHEMA
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.publish import push_dataset
from tutelage.store import TraceStore
from tutelage.trace import Message, StopReason, Task, Tool, ToolCall, Verdict

REPO = "me/traces"


def two_turns(product: str) -> list[Message]:
    first = conversation(product)
    return [*first, Message(role="user", content="And two?"), Message(role="assistant", content="25.00, twice.")]


def published(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    return list(pq.read_table(folder / f"{split}.parquet").to_pylist())


def as_published(project: Project, store: TraceStore, made: Path, unroll: str) -> Path:
    """The build `made` as it is pushed."""
    if unroll == "steps":
        return made
    folder = made.with_name(unroll)
    folder.mkdir()
    write_conversations(project, made, store, unroll, folder)  # type: ignore[arg-type]
    return folder


def weights(row: dict[str, Any]) -> list[float | None]:
    return [message["weight"] for message in row["messages"]]


def test_whole_conversations_and_turns_say_which_messages_are_taught(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    messages = two_turns("P-1")
    messages[1] = messages[1].model_copy(update={"weight": 0.0})
    record("P-1", messages=messages)
    build(project, store, tmp_path / "out")
    for unroll in ("none", "turns"):
        (tmp_path / unroll).mkdir()
        write_conversations(project, tmp_path / "out", store, unroll, tmp_path / unroll)  # type: ignore[arg-type]
    (whole,) = published(tmp_path / "none")
    assert weights(whole) == [None, 0.0, None, 1.0, None, 1.0]
    assert [(row["step"], weights(row)) for row in published(tmp_path / "turns")] == [
        (1, [None, 0.0, None, 1.0]),
        (2, [None, 0.0, None, 0.0, None, 1.0]),
    ]
    assert list(whole)[:5] == ["id", "timestamp", "model", "messages", "tools"] and "input_ids" not in whole
    card = (tmp_path / "turns" / "README.md").read_text()
    assert "after its last user message carry loss" in " ".join(card.split()) and "| train | 1 | 1 | 2 |" in card
    assert read_summary(tmp_path / "none").unroll == "none"


def test_results_that_a_build_cut_are_whole_in_conversations(store: TraceStore, record: Record, tmp_path: Path) -> None:
    project = make_project(tmp_path, SETTINGS + 'max_length = 560\nover_length = "cut_results"\n')
    messages = two_turns("P-1")
    messages[2] = messages[2].model_copy(update={"content": "12.50 " * 30})
    record("P-1", messages=messages)
    summary = build(project, store, tmp_path / "out")
    assert summary.rows_cut > 0
    (tmp_path / "none").mkdir()
    write_conversations(project, tmp_path / "out", store, "none", tmp_path / "none")
    (whole,) = published(tmp_path / "none")
    assert whole["messages"][2]["content"] == "12.50 " * 30


@pytest.mark.parametrize("unroll", ["steps", "turns", "none"])
def test_what_comes_back_from_the_hub_has_the_rows_that_went(
    hub: Hub, project: Project, store: TraceStore, record: Record, tmp_path: Path, unroll: str
) -> None:
    for number in range(24):
        record(f"P-{number}", messages=two_turns(f"P-{number}"))
    record("P-0", attempt=1, messages=[*two_turns("P-0")[:-1], Message(role="assistant", content="25.00.")])
    build(project, store, tmp_path / "out")
    push_dataset(as_published(project, store, tmp_path / "out", unroll), REPO)
    summary = take_published(project, REPO, tmp_path / "back")
    assert summary.traces == summary.traces_kept == 25
    for split in ("train", "validation"):
        before, after = (
            {
                (row["trace_id"], row["revision"], row["step"]): (row["input_ids"], row["weights"], row["tools"])
                for row in read_rows(place, split)  # type: ignore[arg-type]
            }
            for place in (tmp_path / "out", tmp_path / "back")
        )
        assert before == after and before
    assert summary.task_ids == read_summary(tmp_path / "out").task_ids


def test_token_rows_are_made_anew_where_the_student_is_served_otherwise(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    record("P-1")
    build(project, store, tmp_path / "out")
    other = make_project(tmp_path, SETTINGS + 'reasoning = "off"\n')
    take_published(other, str(tmp_path / "out"), tmp_path / "back")
    build(other, store, tmp_path / "wanted")
    wanted, got = ([row["input_ids"] for row in read_rows(tmp_path / name, "train")] for name in ("wanted", "back"))
    assert got == wanted != [row["input_ids"] for row in read_rows(tmp_path / "out", "train")]


def test_rows_that_were_cut_for_another_student_are_refused(store: TraceStore, record: Record, tmp_path: Path) -> None:
    project = make_project(tmp_path, SETTINGS + 'over_length = "cut_results"\n')
    record("P-1")
    build(project, store, tmp_path / "out")
    assert take_published(project, str(tmp_path / "out"), tmp_path / "back").train.rows == 2
    with pytest.raises(TutelageError, match="--unroll none"):
        take_published(make_project(tmp_path, SETTINGS), str(tmp_path / "out"), tmp_path / "other")


def test_token_rows_are_held_to_this_projects_length(store: TraceStore, record: Record, tmp_path: Path) -> None:
    record("P-1")
    build(make_project(tmp_path, SETTINGS), store, tmp_path / "out")
    shorter, longer = sorted(len(row["input_ids"]) for row in read_rows(tmp_path / "out", "train"))
    tight = make_project(tmp_path, SETTINGS + f"max_length = {shorter}\n")
    summary = take_published(tight, str(tmp_path / "out"), tmp_path / "back")
    assert (summary.rows_left_out, summary.longest) == ({f"longer than {shorter} tokens": 1}, shorter)
    assert [len(row["input_ids"]) for row in read_rows(tmp_path / "back", "train")] == [shorter]
    strict = make_project(tmp_path, SETTINGS + f'max_length = {shorter}\nover_length = "refuse"\n')
    with pytest.raises(TutelageError, match=f"1 rows are longer than {shorter} tokens; .* has {longer}"):
        take_published(strict, str(tmp_path / "out"), tmp_path / "other")


@pytest.mark.parametrize("unroll", ["steps", "turns", "none"])
def test_what_a_build_says_of_its_rows_comes_back_too(
    hub: Hub, store: TraceStore, record: Record, tmp_path: Path, unroll: str
) -> None:
    settings = SETTINGS + 'max_length = 560\nover_length = "cut_results"\n'
    project = make_project(tmp_path, settings + 'licence = "cc-by-4.0"\nmin_reward = 0.5\n')
    messages = two_turns("P-1")
    messages[2] = messages[2].model_copy(update={"content": "12.50 " * 30})
    record("P-1", messages=messages)
    explained = [
        message.model_copy(update={"reasoning_content": f"Thought {at}."}) if message.role == "assistant" else message
        for at, message in enumerate(conversation("P-2"))
    ]
    id = record("P-2")
    store.judge(id, store.revise(id, explained, base=0, author="ada", note=""), Verdict.APPROVED, reviewer="ada")
    built = build(project, store, tmp_path / "out")
    assert built.rows_cut and built.reasoning_rows == {"recorded": 2, "written": 2, "none": 1}
    push_dataset(as_published(project, store, tmp_path / "out", unroll), REPO)
    back = take_published(make_project(tmp_path, settings), REPO, tmp_path / "back")
    same = ("reasoning_rows", "rows_cut", "results_cut", "licence", "min_reward", "seed")
    assert [getattr(back, name) for name in same] == [getattr(built, name) for name in same]
    assert back.store == f"published: {REPO}@{hub.repositories['dataset', REPO].head}"


@pytest.mark.parametrize("unroll", ["steps", "none"])
def test_results_that_are_cut_anew_are_counted_once(
    store: TraceStore, record: Record, tmp_path: Path, unroll: str
) -> None:
    project = make_project(tmp_path, SETTINGS)
    messages = two_turns("P-1")
    messages[2] = messages[2].model_copy(update={"content": "12.50 " * 90})
    record("P-1", messages=messages)
    build(project, store, tmp_path / "steps")
    (tmp_path / "none").mkdir()
    write_conversations(project, tmp_path / "steps", store, "none", tmp_path / "none")
    other = make_project(tmp_path, SETTINGS + "[rollout]\ntool_results = {limit = 100}\n")
    assert take_published(other, str(tmp_path / unroll), tmp_path / "back").results_recut == 1


def test_results_that_were_cut_before_are_not_cut_once_more(store: TraceStore, record: Record, tmp_path: Path) -> None:
    """What is left of a result, cut anew, would not be what the student is shown of the whole."""
    cut = make_project(tmp_path, SETTINGS + "[rollout]\ntool_results = {limit = 100}\n")
    messages = two_turns("P-1")
    messages[2] = messages[2].model_copy(update={"content": "12.50 " * 90})
    record("P-1", messages=messages)
    build(cut, store, tmp_path / "out")
    (tmp_path / "none").mkdir()
    write_conversations(cut, tmp_path / "out", store, "none", tmp_path / "none")
    assert take_published(cut, str(tmp_path / "none"), tmp_path / "same").train.rows == 3
    for limit in (50, 300):
        other = make_project(tmp_path, SETTINGS + f"[rollout]\ntool_results = {{limit = {limit}}}\n")
        with pytest.raises(TutelageError, match=rf"cut \(head, limit 100 characters\).*\(head, limit {limit} char"):
            take_published(other, str(tmp_path / "none"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_published_row_of_a_held_out_prompt_is_refused(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    """Also its first turn alone, which is not the whole of what was asked."""
    record("P-1")
    record("P-2", messages=two_turns("P-2"))
    build(project, store, tmp_path / "out")
    (tmp_path / "tasks").mkdir()
    held_out = {"id": "new", "turns": ["what does P-2 cost?", "and two?"], "setup": {"prices": {"P-2": 12.5}}}
    (tmp_path / "tasks" / "evaluate.jsonl").write_text(json.dumps(held_out))
    summary = take_published(project, str(tmp_path / "out"), tmp_path / "back")
    assert (summary.traces, summary.evaluation_refused, summary.task_ids) == (2, 1, ["task-P-1"])


def test_a_dataset_that_cannot_be_had_is_one_sentence(hub: Hub, project: Project, tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match="did not give the dataset me/nothing"):
        take_published(project, "me/nothing", tmp_path / "back")
    with pytest.raises(TutelageError, match="no name of a dataset"):
        take_published(project, "x y", tmp_path / "back")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TutelageError, match=r"holds no train\.parquet"):
        take_published(project, str(tmp_path / "empty"), tmp_path / "back")


def test_a_published_row_that_is_no_conversation_is_one_sentence(
    project: Project, store: TraceStore, record: Record, tmp_path: Path
) -> None:
    record("P-1")
    build(project, store, tmp_path / "out")
    path = tmp_path / "out" / "train.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0]["messages"][0]["role"] = "robot"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    with pytest.raises(TutelageError, match=f'the row "{rows[0]["id"]}" holds a message that is no chat message'):
        take_published(project, str(tmp_path / "out"), tmp_path / "back")


def unlike_tools(count: int = 30) -> list[Tool]:
    """Tools whose schemas share no shape: what an Arrow struct would fill up with each other's keys."""
    kinds: list[dict[str, Any]] = [
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer", "default": 0}}},
        {"properties": {"when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}}, "type": "object"},
        {"type": "object", "properties": {"x": {"enum": [1, "1", None, 1.0, True]}}, "additionalProperties": False},
        {"type": "object", "$defs": {"N": {"$ref": "#/$defs/N"}}, "properties": {"ü": {"const": "“”\u2028"}}},
    ]
    tools = []
    for number in range(count):
        schema = {**kinds[number % len(kinds)], f"x-{number}": [number, {"deep": {str(number): None}}]}
        definition = {"type": "function", "function": {"parameters": schema, "name": f"tool-{number}"}}
        separators = (", ", ": ") if number % 2 else (",", ":")
        text = json.dumps(definition, ensure_ascii=number % 3 == 0, separators=separators)
        tools.append(Tool(name=f"tool-{number}", definition=text))
    return tools


TOOLS = unlike_tools()
ARGUMENTS = [
    f'{{"n":  {number}, "x": {json.dumps({str(number): [None, 1e-7]})}, "ä": "\\u00e4"}}' for number in range(30)
]


def build_of_thirty(store: TraceStore, folder: Path) -> Project:
    """A build in `folder`/out of a trace that calls each of them at once; the project."""
    calls = tuple(
        ToolCall(id=f"c{number}", name=tool.name, arguments=ARGUMENTS[number]) for number, tool in enumerate(TOOLS)
    )
    results = [Message(role="tool", content="ok", tool_call_id=call.id) for call in calls]
    recording = store.begin(run="r", task=Task(id="t", turns=("all",)), attempt=0, model="m", tools=TOOLS)
    answer = Message(role="assistant", content="", tool_calls=calls)
    recording.messages(
        [Message(role="user", content="all"), answer, *results, Message(role="assistant", content="done")]
    )
    recording.finish(StopReason.ANSWER)
    store.judge(recording.id, 0, Verdict.APPROVED, reviewer="me")
    wide = make_project(folder, "[dataset]\nmax_length = 50000\nvalidation = 0.0\n")
    build(wide, store, folder / "out")
    return wide


def require_to_the_letter(row: Mapping[str, Any]) -> None:
    assert json_items(row["tools"]) == [tool.definition for tool in TOOLS]
    assert [call["function"]["arguments"] for call in row["messages"][1]["tool_calls"]] == ARGUMENTS


def test_thirty_unlike_tools_and_their_arguments_come_back_to_the_letter(
    hub: Hub, store: TraceStore, tmp_path: Path
) -> None:
    wide = build_of_thirty(store, tmp_path)
    push_dataset(tmp_path / "out", REPO)
    path = huggingface_hub.hf_hub_download(
        REPO, "train.parquet", repo_type="dataset", endpoint=hub.url, token=TOKEN, cache_dir=tmp_path / "cache"
    )
    for row in pq.read_table(path).to_pylist():
        require_to_the_letter(row)
    assert take_published(wide, REPO, tmp_path / "back").train.rows == 2
    for row in read_rows(tmp_path / "back", "train"):
        require_to_the_letter(row)


def test_datasets_gives_the_same_text_through_arrow_too(store: TraceStore, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    build_of_thirty(store, tmp_path)
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    mapped = loaded.map(
        lambda row: {"count": len(row["messages"])}, keep_in_memory=True
    )  # written as Arrow, read again
    assert len(mapped) == 2
    for row in (*loaded, *mapped):
        require_to_the_letter(row)
