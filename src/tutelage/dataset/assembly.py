"""Traces into a build's files, one after the other; keeps counts and digests, never a trace."""

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from pathlib import Path

from tutelage.dataset.prefixes import PrefixCounter
from tutelage.dataset.rows import Row, RowMaker
from tutelage.dataset.select import DUPLICATE, LEAKED, ROWLESS, EvaluationTasks, trace_content
from tutelage.dataset.summary import REASONING_KINDS, SPLITS, BuildSummary, Kind, Split, SplitName
from tutelage.dataset.write import RowWriter
from tutelage.trace import Trace, has_reasoning, task_content


class Assembly:
    """Writes the rows of each trace that it takes and counts them into the summary once it is closed."""

    def __init__(
        self,
        maker: RowMaker,
        summary: BuildSummary,
        evaluation: EvaluationTasks,
        writers: Mapping[SplitName, RowWriter],
        prefixes: PrefixCounter,
        folder: Path,
    ) -> None:
        self.folder = folder  # that the build is written to, before it takes its place
        self._maker, self._summary, self._evaluation = maker, summary, evaluation
        self._writers, self._prefixes = writers, prefixes
        self._contents: set[bytes] = set()
        self._traces: dict[SplitName, set[str]] = {name: set() for name in SPLITS}
        self._tasks: dict[SplitName, set[str]] = {name: set() for name in SPLITS}
        self._task_contents: set[str] = set()
        self._left_out: dict[str, dict[str, int]] = {}  # reason -> traces of which a part was left out, and revision
        self._tools, self._lengths, self._reasoning = Counter[str](), Counter[int](), Counter[str]()

    def take(self, trace: Trace, split: SplitName, written: Set[str | None] = frozenset()) -> bool:
        """The rows of `trace`, unless it is an evaluation task or there before; whether there are any.

        `written` is what of its reasoning was not recorded, but written afterwards.
        """
        content = trace_content(trace)
        if content in self._contents and not self._evaluation.hold(trace):
            self._leave_out(trace, DUPLICATE)
            return False
        self._contents.add(content)
        return self.take_part(trace, split, written=written)

    def take_part(
        self, trace: Trace, split: SplitName, rows: Iterable[Row] | None = None, written: Set[str | None] = frozenset()
    ) -> bool:
        """As `take`, for a trace that comes in parts, some of which look like another's; `rows` are known already."""
        if self._evaluation.hold(trace):
            self._leave_out(trace, LEAKED)
            return False
        made = list(self._maker.rows(trace) if rows is None else rows)
        if not made:
            self._leave_out(trace, ROWLESS)
            return False
        for row in made:
            self._writers[split].add(trace, row.unrolled, row.tokens, written)
            self._count(row, split, written)
        self._tasks[split].add(trace.task.id)
        self._task_contents.add(task_content(trace.task))
        kind = self._summary.kinds.setdefault(trace.task.kind, Kind()) if split == "train" else Kind()
        kind.rows += len(made)
        kind.traces += trace.id not in self._traces[split]
        self._traces[split].add(trace.id)
        return True

    def close(self) -> None:
        """Put the counts into the summary."""
        summary = self._summary
        kept = set[str]().union(*self._traces.values())
        left_out = Counter(summary.traces_left_out)
        for reason, traces in self._left_out.items():
            for id in sorted(traces.keys() - kept):
                left_out[reason] += 1
                self._maker.left_out.trace(id, traces[id], reason)
        summary.traces_left_out = dict(sorted(left_out.items()))
        summary.duplicates_removed, summary.evaluation_refused = left_out[DUPLICATE], left_out[LEAKED]
        summary.evaluation_tasks = self._evaluation.count
        summary.rows_left_out = dict(sorted(self._maker.left_out.rows.items()))
        summary.left_out_first = dict(sorted(self._maker.left_out.first.items()))
        for name in SPLITS:
            split: Split = getattr(summary, name)
            split.tasks, split.traces = len(self._tasks[name]), len(self._traces[name])
        summary.traces_kept = summary.train.traces + summary.validation.traces
        summary.task_ids = sorted(set().union(*self._tasks.values()))
        summary.task_contents = sorted(self._task_contents)
        summary.trace_ids = sorted(kept)
        summary.tokens_unrolled, summary.tokens_tree = summary.train.tokens_unrolled, self._prefixes.count
        summary.tools = dict(sorted(self._tools.items()))
        summary.kinds = dict(sorted(summary.kinds.items()))
        summary.reasoning_rows = {kind: count for kind in REASONING_KINDS if (count := self._reasoning[kind])}
        summary.lengths = {f"<= {length}": count for length, count in sorted(self._lengths.items())}

    def _leave_out(self, trace: Trace, reason: str) -> None:
        self._left_out.setdefault(reason, {})[trace.id] = trace.revision

    def _count(self, row: Row, name: SplitName, written: Set[str | None]) -> None:
        summary, length, answer = self._summary, len(row.tokens.input_ids), row.unrolled.messages[-1]
        split: Split = getattr(summary, name)
        split.rows += 1
        split.tokens_unrolled += length
        split.tokens_trained += sum(weight > 0 for weight in row.tokens.weights)
        self._lengths[_bucket(length)] += 1
        summary.longest = max(summary.longest, length)
        summary.rows_cut += row.results_cut > 0
        summary.results_cut += row.results_cut
        kind = "none" if not has_reasoning(answer) else "written" if answer.reasoning_content in written else "recorded"
        self._reasoning[kind] += 1
        if name == "train":
            self._prefixes.add(row.tokens.input_ids)
            self._tools.update(call.name for call in answer.tool_calls)


def _bucket(length: int) -> int:
    """The power of two that a row's length fits in."""
    return max(64, 1 << (length - 1).bit_length())
