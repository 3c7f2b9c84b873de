"""`tutelage import`: traces that another program recorded."""

from typing import Annotated

import typer

from tutelage.cli.common import HERE, JsonOption, ProjectOption, open_project, open_store, output, progress, reviewer

NAMES = "trace, openai, huggingface, otel, langfuse, inspect, claude-code, codex"


def register(app: typer.Typer) -> None:
    app.command("import")(import_)


def import_(
    source: Annotated[
        str, typer.Argument(help="A file of traces, a folder of such files, or hf:OWNER/NAME on the Hub.")
    ],
    project: ProjectOption = HERE,
    format: Annotated[str | None, typer.Option(help=f"One of {NAMES}. Default: as each file's content tells.")] = None,
    run: Annotated[str, typer.Option(help="A name for these traces.")] = "import",
    approve: Annotated[bool, typer.Option("--approve", help="Approve them unread: all are trained on.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Import traces that another program recorded. What is there already is left as it is.

    They are kept for training once approved (`tutelage traces approve`), or with enough reward. A record with a fault
    is named and left out; the exit code is then 2.
    """
    from tutelage.collect import import_traces
    from tutelage.errors import TutelageError

    with open_store(open_project(project)) as store, progress() as bar:
        shown = bar.add_task("import", total=None, note="")
        summary = import_traces(
            store,
            source,
            run=run,
            format=format,
            approve_as=reviewer() if approve else None,
            on_progress=lambda done, total: bar.update(shown, completed=done, total=total),
        )
    output(summary.as_dict(), summary.sentence(), as_json=as_json)
    if summary.faults:
        raise TutelageError("\n".join(["Not imported:", *(fault.sentence() for fault in summary.faults)]))
