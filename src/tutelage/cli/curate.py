"""`tutelage curate`: declared steps over the store."""

from typing import Annotated

import typer

from tutelage.cli.common import HERE, RUNS_HELP, JsonOption, ProjectOption, open_project, open_store, output, progress


def register(app: typer.Typer) -> None:
    app.command()(curate)


def curate(
    project: ProjectOption = HERE,
    run: Annotated[list[str] | None, typer.Option(help=RUNS_HELP)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; store nothing, ask no judge.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the steps of [[curate]] over the traces: what is taken out is rejected, secrets are masked in a new revision.

    A person's verdict stands above it. Run it again after a change of the steps, or with more traces: nothing is done
    twice. docs/curate.md shows the steps.
    """
    from rich.console import Console

    from tutelage.curate import curate as run_curate
    from tutelage.curate.terminal import CurationTables
    from tutelage.trace import RUNS_TO_LEARN

    opened = open_project(project)
    with open_store(opened) as store, progress() as bar:
        shown = bar.add_task("curate", total=None, note="")
        report = run_curate(
            opened,
            store,
            runs=run or RUNS_TO_LEARN,
            dry_run=dry_run,
            on_progress=lambda steps, done, total: bar.update(shown, description=steps, completed=done, total=total),
        )
    if as_json:
        output(report.model_dump(mode="json"), "", as_json=True)
    else:
        Console().print(CurationTables(report))
