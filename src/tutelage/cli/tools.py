"""tools: what the MCP servers offer, what of it may be called, and what it costs in every prompt."""

from typing import Annotated

import typer

from tutelage.cli.common import HERE, JsonOption, ProjectOption, open_project, output, page_opener


def register(app: typer.Typer) -> None:
    app.command()(tools)


def tools(
    project: ProjectOption = HERE,
    audience: Annotated[str, typer.Option("--for", help="Who calls them: teacher, student or person.")] = "teacher",
    as_json: JsonOption = False,
) -> None:
    """List the servers' tools, what the project's rules say of them, and their tokens in the student's prompt.

    A server that wants you to sign in gets you to: this command opens its page, and all others use what it keeps.
    """
    from rich.console import Console

    from tutelage.agent.offer import Audience
    from tutelage.agent.overview import overview, overview_table
    from tutelage.errors import TutelageError

    if audience not in list(Audience):
        raise TutelageError(f'"{audience}" calls no tools. Name one of {", ".join(Audience)}.')
    found = overview(open_project(project), Audience(audience), page_opener())
    if as_json:
        output(found.as_dict(), "", as_json=True)
        return
    terminal = Console()
    terminal.print(overview_table(found))
    terminal.print(found.sentence(), markup=False, highlight=False)
