"""Build a dataset: from the traces of a store to rows of tokens in Parquet."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import make_url

import tutelage
from tutelage.dataset.assembly import Assembly
from tutelage.dataset.backfill import backfill
from tutelage.dataset.card import card
from tutelage.dataset.left_out import LEFT_OUT_FILE
from tutelage.dataset.pairs import PAIRS, PairMaker, pairs_file
from tutelage.dataset.prefixes import PrefixCounter
from tutelage.dataset.rows import REASONING, RowMaker
from tutelage.dataset.select import (
    LEAKED,
    Asked,
    EvaluationTasks,
    is_worse,
    reason_to_leave_out,
    validation_traces,
)
from tutelage.dataset.summary import SPLITS, BuildSummary, SplitName, reasons
from tutelage.dataset.write import BUILD_FILE, RowWriter, replacing
from tutelage.dataset.written import written_reasoning
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.render.recut import Recutter
from tutelage.render.serving import planned_serving
from tutelage.store import TraceStore, TraceSummary
from tutelage.trace import prompt_content, setup_is_known, task_content

Progress = Callable[[int, int], None]  # traces done, traces in all


def build(
    project: Project,
    store: TraceStore,
    out: Path | None,
    *,
    runs: Sequence[str] | None = None,
    reasoning: str | None = None,
    teacher_url: str | None = None,
    teacher_model: str | None = None,
    on_progress: Progress | None = None,
) -> BuildSummary:
    """Write the rows of the traces worth learning from to the folder `out`, and say what became of each.

    `runs` None takes every run; `reasoning` and the teacher, who is asked for missing reasoning with "backfill", stand
    in for the settings'; without `out` nothing is kept but the summary, and nobody is asked. The same store and
    settings give the same bytes. Holds one trace at a time. Raises TutelageError where no trace is left (with the
    reasons), the student cannot be rendered for, a row is too long and the settings refuse that, or the disk is full;
    an older build in `out` then stays as it was.
    """
    project = with_reasoning(project, reasoning)
    day = max((item.timestamp.date() for item in _looked_at(store, runs)), default=None)
    maker = RowMaker.of(project, planned_serving(project.settings), project.settings.dataset.reasoning, day)
    summary = new_summary(project, maker, runs, day)
    evaluation = EvaluationTasks.of(project)
    if project.settings.dataset.reasoning == "backfill" and out:
        candidates, _ = _candidates(store, runs, summary.min_reward, evaluation, summary)
        summary.reasoning_written = backfill(
            project,
            store,
            [item.id for item in candidates],
            teacher_url=teacher_url,
            teacher_model=teacher_model,
            on_progress=on_progress,
        )
        summary.traces = 0  # counted again: a trace with a new revision is undecided
    candidates, others = _candidates(store, runs, summary.min_reward, evaluation, summary)
    held_back = _held_back(store, project, candidates)
    recut = Recutter(project, maker.serving.tool_results, store)
    with assembling(out, maker, summary, evaluation) as assembly:
        for item, reason in others:
            maker.left_out.trace(item.id, item.revision, reason)
        for done, item in enumerate(candidates, 1):
            before = recut.results
            trace = recut(store.load(item.id))
            split: SplitName = "validation" if item.id in held_back else "train"
            if assembly.take(trace, split, written=written_reasoning(store, trace)):
                summary.results_recut += recut.results - before
            if on_progress:
                on_progress(done, len(candidates))
        worse = [item for item in _looked_at(store, runs) if is_worse(item, summary.min_reward)]
        held_back_tasks = {item.task_id for item in candidates if item.id in held_back}
        pairs = PairMaker(store, maker, recut, evaluation)
        _write_pairs(pairs.pairs(candidates, worse, runs), held_back_tasks, assembly.folder, summary)
        summary.pairs_left_out = dict(sorted(pairs.left_out.items()))
    return summary


def _write_pairs(
    pairs: Iterable[dict[str, Any]], held_back_tasks: Set[str], folder: Path, summary: BuildSummary
) -> None:
    """Both files, empty ones too: a build says so where it has no pairs."""
    counts, traces = Counter[SplitName](), set[str]()
    with ExitStack() as writing:
        writers = {name: writing.enter_context(RowWriter(pairs_file(folder, name), PAIRS)) for name in SPLITS}
        for pair in pairs:
            split: SplitName = "validation" if pair["task_id"] in held_back_tasks else "train"
            writers[split].add_record(pair)
            counts[split] += 1
            traces |= {pair["chosen_id"], pair["rejected_id"]}
    summary.pairs, summary.pair_trace_ids = dict(counts), sorted(traces)


@contextmanager
def assembling(
    out: Path | None, maker: RowMaker, summary: BuildSummary, evaluation: EvaluationTasks
) -> Iterator[Assembly]:
    """An assembly whose files take the place of the build in `out` at the end, if there is anything to train on."""
    with ExitStack() as stack:
        kept = out or Path(stack.enter_context(TemporaryDirectory(prefix="tutelage-"))) / "dataset"
        folder = stack.enter_context(replacing(kept))
        with PrefixCounter(folder) as prefixes, maker.left_out.written_to(folder / LEFT_OUT_FILE):
            with ExitStack() as writing:
                writers = {name: writing.enter_context(RowWriter(folder / f"{name}.parquet")) for name in SPLITS}
                assembly = Assembly(maker, summary, evaluation, writers, prefixes, folder)
                yield assembly
            assembly.close()
        if summary.over_length == "refuse":
            maker.require_none_too_long()
        if not summary.train.rows:
            raise TutelageError(_nothing_left(summary))
        (folder / "template.jinja").write_text(maker.renderer.template.source, encoding="utf-8")
        (folder / "README.md").write_text(card(summary), encoding="utf-8")
        (folder / BUILD_FILE).write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")
        maker.serving.write(folder)


def with_reasoning(project: Project, reasoning: str | None) -> Project:
    """The project with another [dataset] reasoning. Raises TutelageError for one that there is not."""
    if reasoning is None:
        return project
    if reasoning not in REASONING:
        raise TutelageError(f'There is no way "{reasoning}" with reasoning. Name one of {", ".join(REASONING)}.')
    dataset = project.settings.dataset.model_copy(update={"reasoning": reasoning})
    return Project(project.folder, project.settings.model_copy(update={"dataset": dataset}))


def new_summary(project: Project, maker: RowMaker, runs: Sequence[str] | None, day: date | None) -> BuildSummary:
    settings = project.settings
    store, renderer = settings.store, maker.renderer
    return BuildSummary(
        project=settings.name,
        version=tutelage.__version__,
        store=make_url(store).render_as_string(hide_password=True) if "://" in store else store,
        runs=sorted(set(runs or ())),
        seed=settings.seed,
        licence=settings.dataset.licence,
        student=settings.student.model,
        engine=renderer.engine.value,
        template=settings.student.template,
        template_sha256=hashlib.sha256(renderer.template.source.encode()).hexdigest(),
        tokenizer_sha256=renderer.tokenizer.sha256,
        serving=maker.serving,
        day=day,
        max_length=settings.dataset.max_length,
        over_length=settings.dataset.over_length,
        reasoning=settings.dataset.reasoning,
        min_reward=settings.dataset.min_reward,
    )


def _candidates(
    store: TraceStore,
    runs: Sequence[str] | None,
    min_reward: float,
    evaluation: EvaluationTasks,
    summary: BuildSummary,
) -> tuple[list[TraceSummary], list[tuple[TraceSummary, str]]]:
    """The traces worth loading, and the others with the reason, which are counted in `summary`."""
    candidates: list[TraceSummary] = []
    others: list[tuple[TraceSummary, str]] = []
    for item in _looked_at(store, runs):
        summary.traces += 1
        reason = reason_to_leave_out(item, min_reward) or (LEAKED if evaluation.has_id(item.task_id) else None)
        if reason:
            others.append((item, reason))
        else:
            candidates.append(item)
    summary.traces_left_out = dict(Counter(reason for _, reason in others))
    return candidates, others


def _looked_at(store: TraceStore, runs: Sequence[str] | None) -> Iterator[TraceSummary]:
    for run in [None] if runs is None else sorted(set(runs)):
        yield from store.summaries(run=run)


def _held_back(store: TraceStore, project: Project, candidates: Sequence[TraceSummary]) -> set[str]:
    """The ids of the traces for validation."""
    wanted = {item.id: item.task_id for item in candidates}
    asked = {
        id: Asked(wanted[id], task_content(task), prompt_content(task), setup_is_known(metadata))
        for id, task, metadata in store.tasks()
        if id in wanted
    }
    return validation_traces(asked, project.settings.dataset.validation, project.settings.seed)


def _nothing_left(summary: BuildSummary) -> str:
    where = f" of {' or '.join(summary.runs)}" if summary.runs else ""
    if not summary.traces:
        return f"The store {summary.store} holds no trace{where}. Run `tutelage collect` first."
    why = reasons(summary.traces_left_out)
    written = f" {summary.about_written()}" if summary.reasoning_written else ""
    rows = f" Rows left out: {reasons(summary.rows_left_out)}." if summary.rows_left_out else ""
    return (
        f"None of the {summary.traces} traces{where} can be trained on: {why or 'all are held back for validation'}."
        f"{rows}{written} Approve some with `tutelage traces approve`, or lower [dataset] min_reward in tutelage.toml."
    )
