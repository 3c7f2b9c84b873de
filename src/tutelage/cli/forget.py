"""`tutelage forget`: the only way that anything recorded is ever erased."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutelage.cli.common import (
    EVALUATION,
    HERE,
    REPORT,
    JsonOption,
    ProjectOption,
    confirm,
    open_project,
    open_store,
    output,
)
from tutelage.errors import TutelageError

RECORDINGS = "recordings"  # in a project's folder: of servers that are replayed, and of agents that are recorded

if TYPE_CHECKING:
    from tutelage.project import Project
    from tutelage.store import TraceStore


def register(app: typer.Typer) -> None:
    app.command()(forget)


def forget(
    traces: Annotated[list[str] | None, typer.Argument(help="Ids of traces, or their beginnings.")] = None,
    project: ProjectOption = HERE,
    run: Annotated[str | None, typer.Option(help="All traces of this run.")] = None,
    task: Annotated[str | None, typer.Option(help="All traces of this task.")] = None,
    before: Annotated[
        str | None,
        typer.Option(help="All traces that began before this date or moment (ISO 8601, UTC unless it says)."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="All traces whose metadata say so: KEY=VALUE, such as user=ada.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be erased, and erase nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase traces for good: revisions, verdicts, files, the words that search finds, and the rows of builds.

    Of --run, --task, --before and --where together, only traces for which all hold. Names the adapters that were
    trained on them, which stay. Stop what writes to the store first. `collect` runs the forgotten tasks anew.
    """
    from tutelage.dataset.erasing import adapters_with, builds_with, erase_rows

    opened = open_project(project)
    with open_store(opened) as store:
        ids = _selected(store, traces or [], run, task, before, where or [])
        builds, adapters = builds_with(opened.folder, ids), adapters_with(opened.folder, ids)
        counts = store.erasing.count(ids)
        shown = [str(path.relative_to(opened.folder)) for path in builds]
        what = f"{counts.traces} traces with {counts.revisions} revisions and {counts.blobs} files" + (
            f", and their rows in {', '.join(shown)}" if shown else ""
        )
        rows = 0
        if not dry_run:
            confirm(f"Erase {what}? This cannot be undone.", yes=yes)
            rows = sum(erase_rows(build, ids) for build in builds)
            store.erasing.erase(ids)
    trained = [str(path.relative_to(opened.folder)) for path in adapters]
    pages = _pages(opened, ids)
    text = f"{'Would erase' if dry_run else 'Erased'} {what}."
    if trained:
        text += f" These adapters were trained on them and know what they learnt: {', '.join(trained)}."
    if pages:
        text += f" These files show some of them: {', '.join(pages)}. Remove or make them anew."
    answers = [str(path.relative_to(opened.folder)) for path in sorted(opened.path(RECORDINGS).glob("*.jsonl"))]
    if answers:
        text += f" Recorded answers of servers belong to no trace, and stay: {', '.join(answers)}."
    exchanges = _exchanges(opened)
    if exchanges:
        places = ", ".join(f"{place} ({count})" for place, count in exchanges.items())
        text += f" Exchanges of recorded agents that are in no trace yet were not looked through, and stay: {places}."
    result = {
        **counts._asdict(),
        "rows": rows,
        "builds": shown,
        "adapters": trained,
        "pages": pages,
        "recordings": answers,
        "exchanges": exchanges,
        "dry_run": dry_run,
    }
    output(result, text, as_json=as_json)


def _selected(
    store: "TraceStore", traces: list[str], run: str | None, task: str | None, before: str | None, where: list[str]
) -> list[str]:
    """Ids. Raises TutelageError where nothing is named or found."""
    rules = dict(_rule(text) for text in where)
    if traces and (run or task or before or where):
        raise TutelageError("Name traces, or say which with --run, --task, --before and --where; not both.")
    if not (traces or run or task or before or where):
        raise TutelageError("Nothing is named. Name traces, or say which with --run, --task, --before or --where.")
    if traces:
        return sorted({store.find(trace) for trace in traces})
    found = store.erasing.select(run=run, task=task, before=_moment(before) if before else None, where=rules)
    if not found:
        raise TutelageError("No trace is like that. See `tutelage traces list`.")
    return found


def _rule(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise TutelageError(f'"{text}" is no rule. Write KEY=VALUE; a dot leads into an inner object.')
    return key, value


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TutelageError(f'"{text}" is no date. Write 2026-05-31, or 2026-05-31T14:00.') from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _exchanges(project: "Project") -> dict[str, int]:
    """What `tutelage record` has put into no trace: folder -> how many. In the second, what none can be made of."""
    folder = project.path(RECORDINGS)
    counts = {path: len(list(path.glob("*.json"))) for path in (folder, folder / "unreadable")}
    return {str(path.relative_to(project.folder)): count for path, count in counts.items() if count}


def _pages(project: "Project", ids: list[str]) -> list[str]:
    """What evaluations and reports the folder holds that speak of the traces."""
    evaluation = project.path(EVALUATION) / "evaluation.json"
    text = evaluation.read_text(encoding="utf-8") if evaluation.is_file() else ""
    if not any(id in text for id in ids):
        return []
    found: list[Path] = [evaluation, *[page for page in (project.path(REPORT),) if page.is_file()]]
    return [str(path.relative_to(project.folder)) for path in found]
