"""A build's traces as whole conversations, or as a row a user turn, for those who unroll by themselves."""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Literal

from tutelage.dataset.card import card
from tutelage.dataset.read import read_rows, read_summary
from tutelage.dataset.summary import SPLITS, SplitName
from tutelage.dataset.unroll import Unrolled
from tutelage.dataset.write import BUILD_FILE, CONVERSATION, RowWriter
from tutelage.dataset.written import written_reasoning
from tutelage.project import Project
from tutelage.render.recut import Recutter
from tutelage.render.serving import SERVING_FILE
from tutelage.store import TraceStore
from tutelage.trace import Trace

COPIED = ("template.jinja", SERVING_FILE)


def write_conversations(
    project: Project, build: Path, store: TraceStore, unroll: Literal["none", "turns"], out: Path
) -> None:
    """Write the traces of `build` to the folder `out`, from the store, at the revisions that were built.

    Loss is on the messages that have a row in the build, and on no other; old tool results are not cut to make rows
    fit. Raises TutelageError where the store no longer holds a trace.
    """
    summary = read_summary(build).model_copy(update={"unroll": unroll})
    recut = Recutter(project, summary.serving.tool_results, store)
    rows: Counter[str] = Counter()
    for split in SPLITS:
        with RowWriter(out / f"{split}.parquet", CONVERSATION) as writer:
            for (trace_id, revision), steps in _built(build, split):
                trace = recut(store.load(trace_id, revision))
                written = written_reasoning(store, trace)
                for row, taught in _conversations(trace, steps, unroll):
                    writer.add_conversation(trace, row, taught, written)
                    rows[split] += 1
    for name in COPIED:
        (out / name).write_bytes((build / name).read_bytes())
    (out / "README.md").write_text(card(summary, {split: rows[split] for split in SPLITS}), encoding="utf-8")
    (out / BUILD_FILE).write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _built(build: Path, split: SplitName) -> Iterator[tuple[tuple[str, int], set[int]]]:
    """Each trace with its revision and the steps that have a row; a build keeps a trace's rows together."""
    rows = read_rows(build, split, ("trace_id", "revision", "step"))
    for key, group in groupby(rows, key=lambda row: (row["trace_id"], row["revision"])):
        yield key, {row["step"] for row in group}


def _conversations(
    trace: Trace, steps: set[int], unroll: Literal["none", "turns"]
) -> Iterator[tuple[Unrolled, set[int]]]:
    """Rows that end with a taught message, and the places of those that carry loss."""
    answers = [index for index, message in enumerate(trace.messages) if message.role == "assistant"]
    taught = {answers[step]: step for step in steps}
    turns = [index for index, message in enumerate(trace.messages) if message.role == "user"]
    starts = turns if unroll == "turns" else turns[:1]
    for start, end in zip(starts, [*starts[1:], len(trace.messages)], strict=True):
        places = {index for index in taught if (start if unroll == "turns" else 0) <= index < end}
        if places:
            last = max(places)
            yield Unrolled(taught[last], trace.messages[: last + 1], trace.timestamp), places
