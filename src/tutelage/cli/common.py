"""What the commands share."""

import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from tutelage.endpoint.embedded import EmbeddedEndpoint
    from tutelage.project import Project
    from tutelage.sign_in.provider import OpenPage
    from tutelage.store import TraceStore

ProjectOption = Annotated[Path, typer.Option("--project", "-p", help="The project folder (holds tutelage.toml).")]
TeacherUrl = Annotated[str | None, typer.Option(help="The teacher's endpoint, instead of the project's.")]
TeacherModel = Annotated[str | None, typer.Option(help="The teacher's model name, instead of the project's.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
RUNS_HELP = "Only these runs' traces. [default: collect, import, record]"  # trace.RUNS_TO_LEARN
HERE = Path()

# Where a project keeps what its stages make.
DATASET = "dataset"
TRAINING = "training"
EVALUATION = "evaluation"
REPORT = "report.html"


def open_project(folder: Path) -> "Project":
    from tutelage.project import Project

    return Project.open(folder)


@contextmanager
def open_store(project: "Project") -> Iterator["TraceStore"]:
    from sqlalchemy import make_url
    from sqlalchemy.exc import OperationalError

    from tutelage.errors import TutelageError
    from tutelage.store import TraceStore

    try:
        with TraceStore(project.store_url) as store:
            yield store
    except OperationalError as error:
        if "disk is full" in str(error.orig):
            raise  # said as for any other file
        shown = make_url(project.store_url).render_as_string(hide_password=True)
        raise TutelageError(f"The store {shown} failed: {error.orig}. Mend it and run again.") from error


def output(result: Any, text: str, *, as_json: bool) -> None:
    """The command's result on standard output."""
    print(json.dumps(result, ensure_ascii=False, default=str) if as_json else text)


def console() -> "Console":
    """Standard error, for people."""
    from rich.console import Console

    return Console(stderr=True)


def page_opener() -> "OpenPage | None":
    """What brings a person to a page, in their browser if they have one here; None where no person is there."""
    if not sys.stderr.isatty():
        return None

    async def open_page(url: str) -> None:
        import webbrowser

        print(f"A server wants you to sign in. Open this page on this machine:\n{url}", file=sys.stderr, flush=True)
        if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            webbrowser.open(url)

    return open_page


def reviewer() -> str:
    """Whose name verdicts and edits carry."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"uid {os.getuid()}"


@contextmanager
def progress() -> Iterator["Progress"]:
    """A progress bar on standard error; plain lines are left out where it is no terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console(),
    ) as bar:
        yield bar


def confirm(question: str, *, yes: bool) -> None:
    """Ask; end the command with exit code 2 where the answer is no or nobody is there to ask."""
    from tutelage.errors import TutelageError

    if yes:
        return
    if not sys.stdin.isatty():
        raise TutelageError(f"{question} Say so with --yes.")
    if not typer.confirm(question, err=True):
        raise TutelageError("Nothing was done.")


def trained(project: "Project") -> Path:
    """The folder of what was trained, or will be."""
    from tutelage.render.trained import trained_folder

    return trained_folder(project.path(TRAINING))


def embedded_student(
    project: "Project", *, host: str = "127.0.0.1", port: int = 0, with_adapter: bool = True
) -> "EmbeddedEndpoint":
    """The embedded endpoint with the project's adapter, which applies unless a request says otherwise.

    After full fine-tuning with the trained model in the student's place.
    """
    from tutelage.endpoint.student import student_endpoint
    from tutelage.errors import TutelageError
    from tutelage.render.trained import served_file

    served = served_file(trained(project))
    if with_adapter and not served.is_file():
        raise TutelageError(f"{served} was not found. Run `tutelage train` first.")
    return student_endpoint(project, served if with_adapter else None, host=host, port=port)
