"""Read a dataset that was published: from the Hub or a folder, into a build for the project's student."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import groupby, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import JsonValue

from tutelage.dataset.builder import assembling, new_summary
from tutelage.dataset.read import read_rows, read_summary
from tutelage.dataset.rows import Row, RowMaker
from tutelage.dataset.select import EvaluationTasks
from tutelage.dataset.summary import SPLITS, BuildSummary, SplitName
from tutelage.dataset.unroll import Unrolled
from tutelage.dataset.write import BUILD_FILE, CONVERSATION, SCHEMA
from tutelage.errors import TutelageError
from tutelage.hub import download_dataset
from tutelage.project import Project
from tutelage.render.fit import CutResults, results_cut
from tutelage.render.recut import Recutter
from tutelage.render.renderer import TokenRow
from tutelage.render.serving import planned_serving
from tutelage.render.truncate import note_of
from tutelage.trace import IMPORTED, Message, Task, Tool, Trace

FILES = ("train.parquet", "validation.parquet", BUILD_FILE)
SAME = ("template_sha256", "tokenizer_sha256", "engine", "serving", "reasoning")  # then tokens are what we would make


def take_published(project: Project, source: str, out: Path) -> BuildSummary:
    """Write a build of the published dataset `source`, a folder or OWNER/NAME on the Hub, to the folder `out`.

    Its token rows are taken as they are where they were rendered as the project's student is served, else its
    conversations are rendered anew. Its splits stay; evaluation tasks are refused as in any build, by id and by prompt.
    Raises TutelageError where it cannot be had or read.
    """
    with TemporaryDirectory(prefix="tutelage-") as scratch:
        folder, commit = Path(source), ""
        if not folder.is_dir():
            folder, commit = Path(scratch), f"@{_download(source, Path(scratch))}"
        origin = _origin(folder, source)
        day = _day(folder, origin)
        maker = RowMaker.of(project, planned_serving(project.settings), project.settings.dataset.reasoning, day)
        summary = new_summary(project, maker, None, day)
        tokens = origin is not None and _same(origin, summary) and origin.unroll == "steps"
        if origin and not tokens and origin.unroll == "steps" and origin.serving.over_length:
            raise TutelageError(
                f"{source} holds rows whose tool results were cut for another student. "
                "Ask for it as whole conversations: tutelage push dataset --unroll none."
            )
        _take_over(summary, origin, f"published: {source}{commit}")
        columns = (SCHEMA if tokens else CONVERSATION).names
        note = note_of(origin.serving.tool_results) if origin else {}
        recuts: dict[str, int] = {}  # trace -> its tool results that were cut otherwise
        recut = Recutter(project, maker.serving.tool_results, None)
        with assembling(out, maker, summary, EvaluationTasks.of(project)) as assembly:
            for split in SPLITS:
                for row, trace in _parts(_rows(folder, split, columns), source, note):
                    recuts.setdefault(trace.id, 0)
                    written = {row["messages"][place]["reasoning_content"] for place in row["reasoning_written"] or ()}
                    if tokens:
                        known = maker.fitting(_known(row, trace, maker.serving.over_length), trace)
                        assembly.take_part(trace, split, [known] if known else [], written)
                        continue
                    before = recut.results
                    if assembly.take_part(recut(trace), split, written=written):
                        recuts[trace.id] = max(recuts[trace.id], recut.results - before)  # rows repeat their history
            summary.traces, summary.results_recut = len(recuts), sum(recuts.values())
        return summary


def _take_over(summary: BuildSummary, origin: BuildSummary | None, store: str) -> None:
    """What the dataset says of itself, in the place of the project's settings, by which its traces were not chosen."""
    summary.store = store
    summary.licence, summary.min_reward = (origin.licence, origin.min_reward) if origin else (None, 0.0)
    summary.seed = origin.seed if origin else summary.seed


def _download(source: str, folder: Path) -> str:
    """Fetch its files; their commit."""

    def choose(files: list[str]) -> list[str]:
        if "train.parquet" not in files:
            raise TutelageError(f"The dataset {source} holds no train.parquet: Tutelage did not publish it.")
        return [name for name in FILES if name in files]

    return download_dataset(source, folder, choose)


def _origin(folder: Path, source: str) -> BuildSummary | None:
    """What the dataset says of itself; None where it says nothing."""
    if not (folder / BUILD_FILE).is_file():
        return None
    try:
        return read_summary(folder)
    except TutelageError:
        raise TutelageError(
            f"The {BUILD_FILE} of {source} cannot be read: another version of Tutelage wrote it. "
            "Have it built and pushed anew."
        ) from None


def _day(folder: Path, origin: BuildSummary | None) -> date | None:
    """What its rows took for today, if they say so, else that of the newest."""
    if origin and origin.day:
        return origin.day
    rows = (row for split in SPLITS for row in _rows(folder, split, ["timestamp"]))
    return max((row["timestamp"].date() for row in rows), default=None)


def _same(origin: BuildSummary, ours: BuildSummary) -> bool:
    return all(getattr(origin, name) == getattr(ours, name) for name in SAME)


def _rows(folder: Path, split: SplitName, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    if split == "validation" and not (folder / "validation.parquet").is_file():
        return iter(())
    return read_rows(folder, split, columns)


def _parts(
    rows: Iterable[Mapping[str, Any]], source: str, note: Mapping[str, JsonValue]
) -> Iterator[tuple[Mapping[str, Any], Trace]]:
    """Each row with its conversation as a trace, whose task is that of the longest row of the trace.

    `note` goes into its metadata.
    """
    for _, group in groupby(rows, key=lambda row: row["trace_id"]):  # a build keeps a trace's rows together
        together = list(group)
        task = _task(max(together, key=lambda row: len(row["messages"])))
        for row in together:
            yield row, _trace(row, task, source, note)


def _task(row: Mapping[str, Any]) -> Task:
    """What was asked; what was set up for it nobody knows."""
    turns = tuple(message["content"] or "" for message in row["messages"] if message["role"] == "user")
    return Task(id=row["task_id"], turns=turns or ("",), kind=row["kind"])


def _trace(row: Mapping[str, Any], task: Task, source: str, note: Mapping[str, JsonValue]) -> Trace:
    try:
        messages = tuple(Message.from_openai(_given(message)) for message in row["messages"])
    except (ValueError, KeyError, TypeError):
        raise TutelageError(f'{source}: the row "{row["id"]}" holds a message that is no chat message.') from None
    try:
        tools = tuple(_tool(text) for text in json_items(row["tools"] or "[]"))
    except (ValueError, KeyError, TypeError):
        raise TutelageError(
            f'{source}: the row "{row["id"]}" holds tools that are no JSON list of functions.'
        ) from None
    return Trace(
        id=row["trace_id"],
        task=task,
        run="published",
        attempt=0,
        model=row["model"],
        timestamp=row["timestamp"],
        messages=messages,
        tools=tools,
        reward=row["reward"],
        revision=row["revision"],
        metadata={IMPORTED: {"dataset": source}, **note},
    )


def _known(row: Mapping[str, Any], trace: Trace, over_length: CutResults | None) -> Row:
    prompt = sum(1 for _ in takewhile(lambda weight: weight == 0, row["weights"]))
    tokens = TokenRow(row["input_ids"], row["weights"], prompt)
    cut = results_cut(trace.messages, over_length) if over_length else 0
    return Row(Unrolled(row["step"], trace.messages, trace.timestamp), tokens, cut)


def _given(message: Mapping[str, Any]) -> dict[str, Any]:
    """Parquet fills in every key; what is null was not there."""
    return {key: value for key, value in message.items() if value is not None}


def _tool(text: str) -> Tool:
    return Tool(name=json.loads(text)["function"]["name"], definition=text)


def json_items(text: str) -> list[str]:
    """The items of a JSON list, each as the text that stands there. Raises ValueError."""
    if not isinstance(json.loads(text), list):
        raise ValueError("no list")
    items: list[str] = []
    decoder, place = json.JSONDecoder(), text.index("[") + 1
    while True:
        while text[place] in " \t\r\n,":
            place += 1
        if text[place] == "]":
            return items
        _, end = decoder.raw_decode(text, place)
        items.append(text[place:end])
        place = end
