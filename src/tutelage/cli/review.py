"""`tutelage review`: the web application for reading, fixing and judging traces."""

import importlib.util
from typing import Annotated

import typer

from tutelage.cli.common import HERE, ProjectOption, open_project, open_store, reviewer
from tutelage.errors import MissingExtra


def register(app: typer.Typer) -> None:
    app.command()(review)


def review(
    project: ProjectOption = HERE,
    host: Annotated[
        str, typer.Option(help="Address to listen on; on another than this machine's own, the link holds a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port on this machine; 0 takes a free one.", min=0, max=65535)] = 8090,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
) -> None:
    """Read, fix and judge traces in the browser, until Ctrl-C. Only this machine can reach it, unless --host says more.

    Others need the link that is printed. It is not encrypted: beyond a network that you trust, put it behind TLS.
    """
    opened = open_project(project)
    for module in ("starlette", "uvicorn", "python_multipart", "jsonschema"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(module, "review")
    from tutelage.review.server import run_review

    with open_store(opened) as store:
        run_review(
            opened,
            store,
            reviewer=reviewer(),
            host=host,
            port=port,
            browser=not no_browser,
            on_ready=lambda url: print(f"Review at {url} (Ctrl-C stops it)", flush=True),
        )
