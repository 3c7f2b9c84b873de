"""`tutelage traces`: list, show, approve, reject, edit, export."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from tutelage.cli.common import HERE, JsonOption, ProjectOption, console, open_project, open_store, output, reviewer
from tutelage.errors import TutelageError

if TYPE_CHECKING:
    from tutelage.store import TraceStore
    from tutelage.trace import Trace, Verdict

traces_app = typer.Typer(help="Read, judge and edit recorded traces.", no_args_is_help=True)
TraceArgument = Annotated[str, typer.Argument(help="A trace's id or its beginning.")]
CommentOption = Annotated[str, typer.Option("--comment", help="Why.")]


def register(app: typer.Typer) -> None:
    app.add_typer(traces_app, name="traces")


@traces_app.command("list")
def list_traces(
    project: ProjectOption = HERE,
    run: Annotated[str | None, typer.Option(help="Only this run.")] = None,
    verdict: Annotated[str | None, typer.Option(help="undecided, approved or rejected.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List traces at their latest revision, unfinished ones too."""
    wanted = _verdict(verdict) if verdict else None
    with open_store(open_project(project)) as store:
        found = store.summaries(run=run, verdict=wanted, task_id=task, limit=limit)
    if as_json:
        print(json.dumps([summary._asdict() for summary in found], default=str))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    table = Table(
        Column("id", no_wrap=True), "run", "task", "kind", "model", "steps", "stop reason", "reward", "verdict", "rev"
    )
    for summary in found:
        reward = "" if summary.reward is None else f"{summary.reward:g}"
        cells = (
            *(summary.id[:10], summary.run, summary.task_id, summary.kind, summary.model, str(summary.steps)),
            *(summary.stop_reason or "unfinished", reward, summary.verdict, str(summary.revision)),
        )
        table.add_row(*map(escape, cells))
    Console().print(table)
    console().print(f"{len(found)} traces")


@traces_app.command()
def show(
    trace: TraceArgument,
    project: ProjectOption = HERE,
    revision: Annotated[int | None, typer.Option(help="Default: the latest.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a whole trace: messages, reasoning, tool calls, results, reward."""
    with open_store(open_project(project)) as store:
        found = store.load(store.find(trace), revision)
    output(found.model_dump(mode="json"), _readable(found), as_json=as_json)


@traces_app.command()
def approve(trace: TraceArgument, project: ProjectOption = HERE, comment: CommentOption = "") -> None:
    """Approve a trace's latest revision: it is kept for training whatever its reward."""
    _judge(trace, project, "approved", comment)


@traces_app.command()
def reject(trace: TraceArgument, project: ProjectOption = HERE, comment: CommentOption = "") -> None:
    """Reject a trace's latest revision: it is never trained on."""
    _judge(trace, project, "rejected", comment)


@traces_app.command()
def edit(
    trace: TraceArgument,
    project: ProjectOption = HERE,
    note: Annotated[str, typer.Option(help="What was changed and why.")] = "edited by hand",
) -> None:
    """Open a trace's messages in $EDITOR; the result is checked and stored as a new revision."""
    from tutelage.review import read_edited, to_editable

    with open_store(open_project(project)) as store:
        found = _finished(store, trace)
        edited, fault = _edit(to_editable(found.messages))
        if edited is None:
            if fault:
                raise TutelageError(f"{fault} Nothing was stored.")
            print("Nothing was changed; no revision was made.")
            return
        try:
            if fault:
                raise TutelageError(fault)
            messages = read_edited(edited)
            number = store.revise(found.id, messages, base=found.revision, author=reviewer(), note=note)
        except TutelageError as error:
            kept = _keep(edited, found)
            raise TutelageError(f"{error} Nothing was stored; your text is kept in {kept}.") from None
        except Exception as error:  # the store's own: a lock, a full disk
            print(f"tutelage: nothing was stored; your text is kept in {_keep(edited, found)}.", file=sys.stderr)
            raise error
    print(f"Stored as revision {number} of {found.id}; it is undecided until approved.")


@traces_app.command()
def export(
    format: Annotated[str, typer.Option(help="openai (fine-tuning JSONL) or otel (GenAI spans as OTLP JSON).")],
    project: ProjectOption = HERE,
    run: Annotated[str | None, typer.Option(help="Only this run.")] = None,
    verdict: Annotated[str | None, typer.Option(help="undecided, approved or rejected.")] = None,
    out: Annotated[Path | None, typer.Option(help="A file; default: standard output.")] = None,
) -> None:
    """Write finished traces at their latest revision for other programs, one a line."""
    from tutelage.collect.export import FORMATS

    if format not in FORMATS:
        raise TutelageError(f'There is no format "{format}". Name {" or ".join(FORMATS)}.')
    wanted = _verdict(verdict) if verdict else None
    count = 0
    with open_store(open_project(project)) as store, _open_out(out) as file:
        for found in store.summaries(run=run, verdict=wanted):
            if found.finished:
                print(FORMATS[format](store.load(found.id)), file=file)
                count += 1
    console().print(f"{count} traces")


@contextmanager
def _open_out(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that is there whole or not at all."""
    if path is None:
        yield sys.stdout
        return
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _judge(trace: str, project: Path, verdict: str, comment: str) -> None:
    with open_store(open_project(project)) as store:
        found = _finished(store, trace)
        store.judge(found.id, found.revision, _verdict(verdict), reviewer=reviewer(), comment=comment)
    print(f"{found.id} revision {found.revision}: {verdict}")


def _finished(store: "TraceStore", trace: str) -> "Trace":
    """The trace whose id begins so. Raises TutelageError where it is unfinished: it is never trained on."""
    found = store.load(store.find(trace))
    if found.stop_reason is None:
        raise TutelageError(
            f'Trace "{found.id}" is unfinished: its rollout was broken off or still runs. '
            "Only finished traces are judged and edited."
        )
    return found


def _verdict(name: str) -> "Verdict":
    from tutelage.trace import Verdict

    try:
        return Verdict(name)
    except ValueError:
        raise TutelageError(f'"{name}" is no verdict. Write undecided, approved or rejected.') from None


def _edit(text: str) -> tuple[str | None, str]:
    """`text` as changed in the user's editor, None where it was left as it is; and what went wrong with the editor."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise TutelageError("No editor is set. Set EDITOR, for example: EDITOR=nano.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        path.write_text(text, encoding="utf-8")
        try:
            ended = subprocess.run([*shlex.split(editor), str(path)], check=False)
        except OSError as error:
            raise TutelageError(f'The editor "{editor}" could not be started: {error.strerror}.') from None
        edited = path.read_bytes().decode(errors="replace")
    fault = f'The editor "{editor}" ended with {ended.returncode}.' if ended.returncode else ""
    return None if edited == text else edited, fault


def _keep(text: str, trace: "Trace") -> Path:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix=f"{trace.id[:10]}-", suffix=".json", delete=False
    ) as file:
        file.write(text)
    return Path(file.name)


def _readable(trace: "Trace") -> str:
    lines = [
        f"trace {trace.id} revision {trace.revision} ({trace.verdict})",
        f"task {trace.task.id} ({trace.task.kind}), run {trace.run}, attempt {trace.attempt}, model {trace.model}",
        f"{trace.timestamp.isoformat()}, {len(trace.steps)} steps, stop reason {trace.stop_reason or 'unfinished'}",
        f"tools: {', '.join(tool.name for tool in trace.tools)}",
    ]
    if trace.reward is not None:
        lines.append(f"reward {trace.reward:g}: {trace.reward_reason}")
    for message in trace.messages:
        lines.append(f"\n[{message.role}]" + (" (error)" if message.is_error else ""))
        if message.reasoning_content:
            lines.append(f"  (reasoning) {message.reasoning_content.strip()}")
        if message.content:
            lines.append("  " + message.content.strip().replace("\n", "\n  "))
        lines += [f"  -> {call.name} {call.arguments}" for call in message.tool_calls]
    return "\n".join(lines)
