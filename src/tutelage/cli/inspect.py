"""doctor: what is wrong with a project, and what to do about it."""

import typer

from tutelage.cli.common import HERE, JsonOption, ProjectOption, TeacherModel, TeacherUrl, open_project

SIGNS = {"ok": "[green]ok     [/green]", "warning": "[yellow]warning[/yellow]", "error": "[red]error  [/red]"}


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    project: ProjectOption = HERE,
    teacher_url: TeacherUrl = None,
    teacher_model: TeacherModel = None,
    as_json: JsonOption = False,
) -> None:
    """Check the teacher's endpoint, the MCP servers and the student, and say what to mend. Exit code 2 on errors."""
    import json

    from rich.console import Console
    from rich.markup import escape

    from tutelage.endpoint.doctor import check_project

    findings = check_project(open_project(project), teacher_url=teacher_url, teacher_model=teacher_model)
    if as_json:
        print(json.dumps([finding._asdict() for finding in findings], ensure_ascii=False))
    else:
        terminal = Console()
        for finding in findings:
            terminal.print(f"{SIGNS[finding.level]} {escape(finding.what)}", highlight=False)
            if finding.fix:
                terminal.print(f"         {escape(finding.fix)}", highlight=False)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(2)
