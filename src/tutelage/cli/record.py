"""`tutelage record`: a proxy that records the conversations of agents that are not ours."""

import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer

from tutelage.cli.common import HERE, ProjectOption, open_project
from tutelage.errors import TutelageError


def register(app: typer.Typer) -> None:
    app.command()(record)


def record(
    upstream: Annotated[str, typer.Option(help="The endpoint that answers, up to and including /v1.")],
    project: ProjectOption = HERE,
    run: Annotated[str, typer.Option(help="A name for these traces.")] = "record",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8100,
    idle: Annotated[float, typer.Option(help="Seconds of rest after which a trace is finished.", min=0.1)] = 1800,
) -> None:
    """Record any agent: a proxy before an endpoint, until Ctrl-C. Point the agent's base URL to it.

    It speaks chat completions, the Responses API and Anthropic's Messages API; all else goes through. Keys go to the
    endpoint and nowhere else. While the store fails, the traffic goes on and the traces wait in PROJECT/recordings.
    """
    from tutelage.record import run_record
    from tutelage.record.run import SPOOL

    if urlsplit(upstream).scheme not in ("http", "https") or not urlsplit(upstream).hostname:
        raise TutelageError(f'"{upstream}" is no URL of an endpoint. Write it as http://127.0.0.1:8000/v1.')
    opened = open_project(project)

    def ready(url: str) -> None:
        print(f"Recording into the run “{run}” (Ctrl-C finishes the traces and stops). Start your agent with")
        print(f"  OPENAI_BASE_URL={url}\n  ANTHROPIC_BASE_URL={url.removesuffix('/v1')}", flush=True)

    def note(text: str) -> None:
        print(f"tutelage: {text}", file=sys.stderr, flush=True)

    run_record(
        upstream,
        opened.store_url,
        opened.path(SPOOL),
        run=run,
        host=host,
        port=port,
        idle=idle,
        on_ready=ready,
        on_note=note,
    )
