"""Build a dataset: from the traces of a store to rows of tokens in Parquet."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import make_url

import tutelage
from tutelage.dataset.card import card
from tutelage.dataset.prefixes import PrefixCounter
from tutelage.dataset.select import (
    DUPLICATE,
    LEAKED,
    ROWLESS,
    EvaluationTasks,
    reason_to_leave_out,
    trace_content,
    validation_tasks,
)
from tutelage.dataset.summary import BuildSummary, Kind, Split, reasons
from tutelage.dataset.unroll import Unrolled, unroll
from tutelage.dataset.write import BUILD_FILE, RowWriter, replacing
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.render.engine import CannotExpress
from tutelage.render.renderer import Renderer, TokenRow
from tutelage.render.student import student_engine, student_template, student_tokenizer
from tutelage.store import TraceStore, TraceSummary
from tutelage.trace import Trace, task_content

Progress = Callable[[int, int], None]  # traces done, traces in all


def build(
    project: Project,
    store: TraceStore,
    out: Path,
    *,
    runs: Sequence[str] | None = None,
    on_progress: Progress | None = None,
) -> BuildSummary:
    """Write the rows of the traces worth learning from to the folder `out`, and say what became of each.

    `runs` None takes every run. The same store and settings give the same bytes. Holds one trace at a time. Raises
    TutelageError where no trace is left (with the reasons), the student cannot be rendered for, or the disk is full;
    an older build in `out` then stays as it was.
    """
    settings = project.settings
    template = student_template(settings.student, project.folder)
    renderer = Renderer(
        student_tokenizer(settings.student, project.folder),
        template,
        settings.student.thinking,
        send_reasoning=settings.rollout.send_reasoning,
        engine=student_engine(settings.student),
    )
    summary = _new_summary(project, template, renderer, runs)
    evaluation = EvaluationTasks(project.tasks("evaluate") if _has_evaluation_tasks(project) else ())
    candidates = _candidates(store, runs, settings.dataset.min_reward, evaluation, summary)
    held_back = validation_tasks((item.task_id for item in candidates), settings.dataset.validation, settings.seed)
    with replacing(out) as folder:
        with ExitStack() as stack:
            writers = {name: stack.enter_context(RowWriter(folder / f"{name}.parquet")) for name in _SPLITS}
            work = _Work(renderer, summary, evaluation, held_back, writers)
            for done, item in enumerate(candidates, 1):
                work.take(store.load(item.id))
                if on_progress:
                    on_progress(done, len(candidates))
        work.close()
        if not summary.train.rows:
            raise TutelageError(_nothing_left(summary))
        (folder / "template.jinja").write_text(template, encoding="utf-8")
        (folder / "README.md").write_text(card(summary), encoding="utf-8")
        (folder / BUILD_FILE).write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return summary


_SPLITS = ("train", "validation")


class _Work:
    """Takes one trace after the other; keeps counts and digests, never a trace."""

    def __init__(
        self,
        renderer: Renderer,
        summary: BuildSummary,
        evaluation: EvaluationTasks,
        held_back: set[str],
        writers: dict[str, RowWriter],
    ) -> None:
        self._renderer = renderer
        self._summary = summary
        self._evaluation = evaluation
        self._held_back = held_back
        self._writers = writers
        self._contents: set[str] = set()
        self._tasks: dict[str, set[str]] = {name: set() for name in _SPLITS}
        self._task_contents: set[str] = set()
        self._left_out, self._rows_left_out = Counter(summary.traces_left_out), Counter[str]()
        self._tools, self._lengths = Counter[str](), Counter[int]()
        self._prefixes = PrefixCounter()

    def take(self, trace: Trace) -> None:
        if self._evaluation.hold(trace.task):
            self._left_out[LEAKED] += 1
            return
        content = trace_content(trace)
        if content in self._contents:
            self._left_out[DUPLICATE] += 1
            return
        self._contents.add(content)
        name = "validation" if trace.task.id in self._held_back else "train"
        split: Split = getattr(self._summary, name)
        rows = list(self._rows(trace))
        if not rows:
            self._left_out[ROWLESS] += 1
            return
        for row, tokens in rows:
            self._writers[name].add(trace, row, tokens)
            split.rows += 1
            split.tokens_unrolled += len(tokens.input_ids)
            split.tokens_trained += len(tokens.input_ids) - tokens.prompt_length
            self._lengths[_bucket(len(tokens.input_ids))] += 1
            self._summary.longest = max(self._summary.longest, len(tokens.input_ids))
            if name == "train":
                self._prefixes.add(tokens.input_ids)
                self._tools.update(call.name for call in row.messages[-1].tool_calls)
        split.traces += 1
        self._tasks[name].add(trace.task.id)
        self._task_contents.add(task_content(trace.task))
        if name == "train":
            kind = self._summary.kinds.setdefault(trace.task.kind, Kind())
            kind.traces += 1
            kind.rows += len(rows)

    def close(self) -> None:
        """Put the counts into the summary."""
        summary = self._summary
        summary.traces_left_out = dict(sorted(self._left_out.items()))
        summary.rows_left_out = dict(sorted(self._rows_left_out.items()))
        summary.traces_kept = summary.train.traces + summary.validation.traces
        summary.train.tasks, summary.validation.tasks = (len(self._tasks[name]) for name in _SPLITS)
        summary.task_ids = sorted(set().union(*self._tasks.values()))
        summary.task_contents = sorted(self._task_contents)
        summary.tokens_unrolled, summary.tokens_tree = summary.train.tokens_unrolled, self._prefixes.count
        summary.tools = dict(sorted(self._tools.items()))
        summary.kinds = dict(sorted(summary.kinds.items()))
        summary.lengths = {f"<= {length}": count for length, count in sorted(self._lengths.items())}

    def _rows(self, trace: Trace) -> Iterator[tuple[Unrolled, TokenRow]]:
        for row in unroll(trace):
            try:
                tokens = self._renderer.row(row.messages, trace.tools)
            except CannotExpress as error:
                self._rows_left_out[error.reason] += 1
                continue
            if len(tokens.input_ids) > self._summary.max_length:
                self._rows_left_out[f"longer than {self._summary.max_length} tokens"] += 1
                continue
            yield row, tokens


def _candidates(
    store: TraceStore,
    runs: Sequence[str] | None,
    min_reward: float,
    evaluation: EvaluationTasks,
    summary: BuildSummary,
) -> list[TraceSummary]:
    """The traces worth loading; the others are counted in `summary`."""
    left_out: Counter[str] = Counter()
    candidates = []
    for run in [None] if runs is None else sorted(set(runs)):
        for item in store.summaries(run=run):
            summary.traces += 1
            reason = reason_to_leave_out(item, min_reward) or (LEAKED if evaluation.has_id(item.task_id) else None)
            if reason:
                left_out[reason] += 1
            else:
                candidates.append(item)
    summary.traces_left_out = dict(left_out)
    return candidates


def _new_summary(project: Project, template: str, renderer: Renderer, runs: Sequence[str] | None) -> BuildSummary:
    settings = project.settings
    store = settings.store
    return BuildSummary(
        project=settings.name,
        version=tutelage.__version__,
        store=make_url(store).render_as_string(hide_password=True) if "://" in store else store,
        runs=sorted(set(runs or ())),
        seed=settings.seed,
        student=settings.student.model,
        engine=renderer.engine.value,
        template=settings.student.template,
        template_sha256=hashlib.sha256(template.encode()).hexdigest(),
        thinking=settings.student.thinking,
        send_reasoning=settings.rollout.send_reasoning,
        tool_result_characters=settings.rollout.tool_result_characters,
        max_length=settings.dataset.max_length,
        min_reward=settings.dataset.min_reward,
    )


def _has_evaluation_tasks(project: Project) -> bool:
    return project.path(project.settings.tasks.evaluate).exists()


def _nothing_left(summary: BuildSummary) -> str:
    where = f" of {', '.join(summary.runs)}" if summary.runs else ""
    if not summary.traces:
        return f"The store {summary.store} holds no trace{where}. Run `tutelage collect` first."
    why = reasons(summary.traces_left_out)
    rows = f" Rows left out: {reasons(summary.rows_left_out)}." if summary.rows_left_out else ""
    return (
        f"None of the {summary.traces} traces{where} can be trained on: {why or 'all are held back for validation'}."
        f"{rows} Approve some with `tutelage traces approve`, or lower [dataset] min_reward in tutelage.toml."
    )


def _bucket(length: int) -> int:
    """The power of two that a row's length fits in."""
    return max(64, 1 << (length - 1).bit_length())
