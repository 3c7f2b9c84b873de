"""Pairs for preference training: at the step where two traces of a task part, what was better and what was worse.

A pair has one prompt, the better trace's history up to that step. The worse trace's may differ from it in reasoning
alone; where anything else differs, another tool result first of all, the two steps answer different questions.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from tutelage.dataset.left_out import LeftOut
from tutelage.dataset.rows import RowMaker
from tutelage.dataset.select import LEAKED, EvaluationTasks
from tutelage.dataset.summary import SplitName
from tutelage.dataset.unroll import Unrolled, unroll
from tutelage.dataset.write import MESSAGE, row_messages, tools_text
from tutelage.store import TraceStore, TraceSummary
from tutelage.trace import Message, Trace, Verdict, canonical, first_difference

Said = Literal["preference", "verdict", "reward"]  # what tells the better from the worse
SIDES = ("chosen", "rejected")
OF_A_SIDE = {
    "id": pa.string(),  # the trace's
    "revision": pa.int32(),
    "input_ids": pa.list_(pa.int32()),
    "weights": pa.list_(pa.float32()),
}
PAIRS = pa.schema(
    [
        ("id", pa.string()),
        ("task_id", pa.string()),
        ("said", pa.string()),
        ("step", pa.int32()),
        ("messages", pa.list_(MESSAGE)),  # the prompt
        ("tools", pa.string()),
        *((side, MESSAGE) for side in SIDES),
        *((f"{side}_{name}", kind) for side in SIDES for name, kind in OF_A_SIDE.items()),
    ]
)
ALIKE, APART, UNTAUGHT, REFUSED = (
    "the two do the same",
    "their histories differ in more than reasoning",
    "a message that is not taught",
    "a row that cannot be made",
)


def pairs_file(build: Path, split: SplitName) -> Path:
    return build / f"{split}-pairs.parquet"


@dataclass
class PairMaker:
    """Makes pairs and counts why some could not be made."""

    store: TraceStore
    maker: RowMaker
    recut: Callable[[Trace], Trace]  # tool results as the student sees them
    evaluation: EvaluationTasks
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> pairs

    def __post_init__(self) -> None:
        self.maker = replace(self.maker, left_out=LeftOut(), too_long=0, longest=(0, ""))  # its counts are the rows'

    def pairs(
        self, better: Sequence[TraceSummary], worse: Sequence[TraceSummary], runs: Collection[str] | None
    ) -> Iterator[dict[str, Any]]:
        """What reviewers preferred, then each worse trace with the better one of its task that it parts from last."""
        said = set()
        for preference in self.store.reviews.preferences():
            chosen = self._load(preference.chosen_id, preference.chosen_revision)
            rejected = self._load(preference.rejected_id, preference.rejected_revision)
            if runs is None or {chosen.run, rejected.run} <= set(runs):
                said.add(frozenset((chosen.id, rejected.id)))
                yield from self._pair(chosen, rejected, "preference")
        of_task: dict[str, list[TraceSummary]] = defaultdict(list)
        for item in better:
            of_task[item.task_id].append(item)
        for item in sorted(worse, key=lambda item: (item.task_id, item.id)):
            others = [other for other in of_task[item.task_id] if frozenset((item.id, other.id)) not in said]
            if others:
                rejected = self._load(item.id)
                chosen = max((self._load(other.id) for other in others), key=lambda one: _shared(one, rejected))
                yield from self._pair(chosen, rejected, "verdict" if item.verdict is Verdict.REJECTED else "reward")

    def _load(self, id: str, revision: int | None = None) -> Trace:
        return self.recut(self.store.load(id, revision))

    def _pair(self, chosen: Trace, rejected: Trace, said: Said) -> Iterator[dict[str, Any]]:
        if self.evaluation.hold(chosen) or self.evaluation.hold(rejected):
            self.left_out[LEAKED] += 1
            return
        step = first_difference(chosen, rejected)
        if step is None:
            self.left_out[ALIKE] += 1
            return
        better, worse = (next((row for row in unroll(one) if row.step == step), None) for one in (chosen, rejected))
        if better is None or worse is None:
            self.left_out[UNTAUGHT] += 1
            return
        history = better.messages[:-1]
        if _told(history) != _told(worse.messages[:-1]):
            self.left_out[APART] += 1
            return
        answers = (better.messages[-1], worse.messages[-1])
        rows = [self.maker.row(Unrolled(step, (*history, answer), better.timestamp), chosen) for answer in answers]
        if rows[0] is None or rows[1] is None or rows[0].tokens.input_ids == rows[1].tokens.input_ids:
            self.left_out[REFUSED] += 1
            return
        sides = {"chosen": (chosen, rows[0]), "rejected": (rejected, rows[1])}
        record: dict[str, Any] = {
            "id": f"{chosen.id}-{chosen.revision}-{rejected.id}-{rejected.revision}",
            "task_id": chosen.task.id,
            "said": said,
            "step": step,
            "messages": row_messages(rows[0].unrolled.messages[:-1], set()),
            "tools": tools_text(chosen),
        }
        for side, (trace, row) in sides.items():
            (record[side],) = row_messages(row.unrolled.messages[-1:], {0})
            record |= {f"{side}_id": trace.id, f"{side}_revision": trace.revision}
            record |= {f"{side}_input_ids": row.tokens.input_ids, f"{side}_weights": row.tokens.weights}
        yield record


def _shared(one: Trace, other: Trace) -> tuple[int, str]:
    """How many steps they have in common; of equals, one is always the same."""
    return first_difference(one, other) or 0, one.id


def _told(history: Sequence[Message]) -> list[object]:
    """What a history says, reasoning aside; rollouts give their calls ids of their own."""
    return [
        (message.role, message.content or "", [(call.name, canonical(call.arguments)) for call in message.tool_calls])
        for message in history
    ]
