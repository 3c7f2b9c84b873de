"""serve and endpoint: the student behind an endpoint, and how to run a teacher."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.common import HERE, ProjectOption, embedded_student, open_project, trained
from tutelage.errors import TutelageError

if TYPE_CHECKING:
    from tutelage.endpoint.vllm import Command
    from tutelage.project import Project
    from tutelage.render.serving import Serving


def register(app: typer.Typer) -> None:
    app.command()(serve)
    app.command()(endpoint)


def serve(
    project: ProjectOption = HERE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8080,
    engine: Annotated[str, typer.Option(help='"embedded", or "vllm" with --print.')] = "embedded",
    upstream: Annotated[
        str | None, typer.Option(help="Serve before this endpoint of the student, up to and including /v1.")
    ] = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the engine's command instead.")] = False,
) -> None:
    """Serve the trained student behind an OpenAI-style endpoint until Ctrl-C.

    It sees each request as its dataset would have shown it: long and old tool results cut in the same way.
    """
    from tutelage.agent.student import StudentView

    opened = open_project(project)
    folder = trained(opened)
    view = StudentView.open(opened, folder)
    if upstream:
        from tutelage.agent.front import serve_front

        serve_front(upstream, view, host, port, _say_where)
        return
    if engine not in ("embedded", "vllm"):
        raise TutelageError(f'There is no engine "{engine}". Name embedded or vllm.')
    if (engine == "vllm") != print_:
        raise TutelageError(
            "vLLM runs in an environment of its own: add --print and run the command that it shows."
            if engine == "vllm"
            else "The embedded engine has no command of its own: leave --print out, or name --engine vllm."
        )
    if engine == "vllm":
        print(_explained(_vllm_command(opened, folder, view.serving)))
        print(
            f"#\n# Tutelage's agent shows the student conversations as in training: {'; '.join(_ways(view.serving))}.\n"
            "# For other agents put this before it: tutelage serve --upstream http://127.0.0.1:8000/v1"
        )
        return
    from tutelage.agent.front import serve_front

    with embedded_student(opened) as server:
        serve_front(server.url, view, host, port, _say_where)


def _ways(serving: "Serving") -> list[str]:
    """What is done to a conversation before the student sees it."""
    results = serving.tool_results
    ways = [f"tool results cut after {results.limit} {results.unit}"]
    if serving.over_length:
        ways.append(f"old ones left out of prompts with more than {serving.over_length.prompt_tokens} tokens")
    if not serving.send_reasoning:
        ways.append("no reasoning sent back")
    return ways


def _vllm_command(project: "Project", folder: Path, serving: "Serving") -> "Command":
    from tutelage.endpoint.vllm import model_command, student_command
    from tutelage.render.engine import Engine
    from tutelage.render.student import student_engine
    from tutelage.render.trained import is_whole

    student = project.settings.student
    chat_format = student.template if student_engine(student) is Engine.LLAMA_CPP else student.model
    template = str(folder / "chat_template.jinja")
    whole = folder if is_whole(folder) else merged_for_vllm(folder)
    if whole:
        return model_command(
            str(whole),
            chat_format=chat_format,
            chat_template=template,
            template_fields=serving.template_fields,
            context=student.context,
        )
    adapter = _adapter_settings(folder)
    return student_command(
        adapter["base_model_name_or_path"],
        str(folder),
        chat_format=chat_format,
        chat_template=template,
        template_fields=serving.template_fields,
        rank=adapter["r"],
        context=student.context,
    )


def merged_for_vllm(adapter: Path) -> Path | None:
    """The model with the adapter in its weights, where vLLM cannot apply it to requests: made once, beside it."""
    from tutelage.publish.merge import merge_adapter
    from tutelage.render.trained import MERGED
    from tutelage.train.adapter_gguf import not_plain

    return merge_adapter(adapter, adapter.parent / MERGED) if not_plain(_adapter_settings(adapter)) else None


def _adapter_settings(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TutelageError(f"{folder} holds no adapter. Run `tutelage train` first.") from None
    return found


def _say_where(url: str) -> None:
    print(f"The student answers at {url} (Ctrl-C stops it)", flush=True)


def endpoint(
    model: Annotated[str, typer.Option(help="The teacher to run.")] = "Qwen/Qwen3-30B-A3B",
    port: Annotated[int, typer.Option(help="Where it is to listen.", min=1, max=65535)] = 8000,
    context: Annotated[int, typer.Option(help="Tokens of prompt and completion together.", min=1)] = 32_000,
    print_: Annotated[bool, typer.Option("--print", help="Print the commands.")] = False,
) -> None:
    """Show how to run a teacher with vLLM: the Docker and the plain command, each flag explained."""
    from tutelage.endpoint.vllm import teacher_commands

    if not print_:
        raise TutelageError("Tutelage does not start a teacher itself: add --print and run one of the commands.")
    print("\n\n".join(_explained(command) for command in teacher_commands(model, context=context, port=port)))


def _explained(command: "Command") -> str:
    """The command to paste, then what each flag is for."""
    width = max(len(flag.text) for flag in command.flags)
    reasons = "\n".join(f"#   {flag.text:<{width}}  {flag.why}" for flag in command.flags)
    return f"# {command.title}\n{command.line()}\n\n{reasons}"
