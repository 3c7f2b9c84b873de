"""chat: a person in the place of the task."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutelage.cli.common import HERE, ProjectOption, console, embedded_student, open_project, open_store, trained
from tutelage.errors import TutelageError

if TYPE_CHECKING:
    from tutelage.endpoint.client import ChatEndpoint
    from tutelage.project import Project
    from tutelage.settings import Teacher
    from tutelage.trace import Message, ToolCall

Connect = Callable[[dict[str, str]], "ChatEndpoint"]


def register(app: typer.Typer) -> None:
    app.command()(chat)


def chat(
    project: ProjectOption = HERE,
    base_url: Annotated[str | None, typer.Option(help="Another endpoint to talk to, with --model.")] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="The environment variable with its key. [default: none but the teacher's, there]")
    ] = None,
    model: Annotated[str | None, typer.Option(help='"student", "base", "teacher", or a name at --base-url.')] = None,
    task: Annotated[str | None, typer.Option(help="Whose world to use. [default: the first held-out task's]")] = None,
    system_prompt_file: Annotated[Path | None, typer.Option(help="A system prompt, not the project's.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Run tool calls without asking.")] = False,
    hide_reasoning: Annotated[bool, typer.Option("--hide-reasoning", help="Do not show the reasoning.")] = False,
) -> None:
    """Talk to the trained student (before training: the teacher) with the project's tools.

    Asks before each tool call, hands you what an MCP server asks its user, and logs the trace in the store. Ctrl-D
    ends it.
    """
    from tutelage.agent.chat import run_chat
    from tutelage.agent.student import StudentView
    from tutelage.cli.questions import answer

    opened = open_project(project)
    terminal = console()
    if model is None and not base_url:
        model = "student" if opened.settings.student.url or _adapter(opened).is_file() else "teacher"
    view = StudentView.open(opened, _adapter(opened).parent) if model in ("student", "base") and not base_url else None
    with open_store(opened) as store, ExitStack() as stack:
        connect, skip = _model(opened, base_url, api_key_env, model, stack)
        end = run_chat(
            opened,
            store,
            endpoint=connect,
            read=_read,
            on_message=lambda message: show_message(message, reasoning=not hide_reasoning),
            confirm=None if yes else _confirm,
            question=answer,
            system_prompt_file=system_prompt_file,
            task_id=task,
            skip_services=skip,
            view=view,
        )
    if end is None:
        return
    if end.detail or end.stop_reason != "answer":
        terminal.print(f"The chat ended: {end.stop_reason}. {end.detail}", markup=False, highlight=False)
    terminal.print(f"Logged: tutelage traces list -p {project} --run chat", highlight=False)


def _model(
    project: "Project", base_url: str | None, api_key_env: str | None, model: str | None, stack: ExitStack
) -> tuple[Connect, set[str]]:
    """How to reach the wanted model, and the services that it does not need."""
    from tutelage.endpoint.client import ChatEndpoint
    from tutelage.endpoint.services import services_named_in
    from tutelage.endpoint.teacher import connect_teacher
    from tutelage.project import expand

    settings = project.settings
    teacher, seconds = settings.teacher, settings.rollout.request_seconds
    teachers = services_named_in(teacher.url, project) if teacher else set()
    if base_url:
        if not model:
            raise TutelageError("--base-url needs the model's name there: add --model.")
        key = _key(base_url, api_key_env, teacher)
        return lambda _: ChatEndpoint(base_url, model, key, settings.student.sampling, seconds), teachers
    if model == "teacher":
        if teacher is None:
            raise TutelageError("tutelage.toml names no [teacher]. Add it, or give --base-url and --model.")
        return connect_teacher(project, teacher), set()
    if model not in ("student", "base"):
        raise TutelageError(f'"{model}" is none of student, base and teacher. For another model give --base-url too.')
    if settings.student.url:
        url, name = settings.student.url, "student" if model == "student" else settings.student.model
        here = "tutelage.toml: student: url"
        return (
            lambda values: ChatEndpoint(expand(url, values, here), name, None, settings.student.sampling, seconds)
        ), teachers - services_named_in(url, project)
    server = stack.enter_context(embedded_student(project, with_adapter=model == "student"))  # it applies by itself
    return lambda _: ChatEndpoint(server.url, model, None, settings.student.sampling, seconds), teachers


def _key(base_url: str, named: str | None, teacher: "Teacher | None") -> str | None:
    """The key for `base_url`: from the variable that is named, or the teacher's where that is the teacher's server.

    Raises TutelageError where the variable is not set.
    """
    if named is not None:
        if named not in os.environ:
            raise TutelageError(f"--api-key-env: the environment variable {named} is not set.")
        return os.environ[named]
    if teacher and base_url.split("/")[:3] == teacher.url.split("/")[:3]:
        return os.environ.get(teacher.api_key_env)
    return None


def _adapter(project: "Project") -> Path:
    from tutelage.render.trained import served_file

    return served_file(trained(project))


def _read() -> str | None:
    return input("\n> ")


def _confirm(call: "ToolCall") -> bool:
    return input(f"  Run {call.name} {call.arguments} ? [y/N] ").strip().lower() in ("y", "yes")


def show_message(message: "Message", *, reasoning: bool) -> None:
    from rich.console import Console

    terminal = Console()

    def line(text: str, style: str) -> None:
        terminal.print(text, style=style, markup=False, highlight=False)

    if message.role == "assistant":
        if reasoning and message.reasoning_content and message.reasoning_content.strip():
            line(message.reasoning_content.strip(), "dim italic")
        if message.content and message.content.strip():
            line(message.content.strip(), "bold")
        for call in message.tool_calls:
            line(f"  -> {call.name} {call.arguments}", "cyan")
    elif message.role == "tool":
        line(f"  <- {message.content}", "red" if message.is_error else "green")
