"""The `tutelage` command and what it does with errors."""

import errno
import logging
import os
import sys
from typing import Any

import typer

import tutelage
from tutelage.cli import (
    chat,
    curate,
    forget,
    imports,
    inspect,
    publish,
    record,
    rerun,
    review,
    serve,
    stages,
    tools,
    traces,
)
from tutelage.errors import TutelageError

# Typer carries its own copy of click, and of its errors exports only some: the base of all that it can show itself.
USAGE_ERROR: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
INTERRUPTED = 130
STOPPED = "Stopped. What was finished is kept: run the same command again to go on."

app = typer.Typer(
    help="""Teach a small open model to use your tools.

    The stages, in order: init, collect, dataset build, train, evaluate, report; then serve or push.
    `tutelage quickstart` runs them all on a shipped example. Each works on a project folder (tutelage.toml) and
    can be stopped and run again: it goes on where it was.
    """,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"tutelage {tutelage.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    pass


for module in (stages, record, imports, curate, chat, inspect, tools, traces, rerun, review, forget, serve, publish):
    module.register(app)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 2 a mistake that the message says how to mend, 130 stopped."""
    logging.getLogger("mcp").setLevel(logging.CRITICAL)  # a traceback for each line of junk that a server prints
    if os.environ.pop("TUTELAGE_PARENT_HOLDS_STDIN", None):  # set by quickstart
        from tutelage.endpoint.processes import end_with_parent

        end_with_parent()
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that has gone is no error
        if code == INTERRUPTED:  # typer's own way with Ctrl-C
            code = _fail(STOPPED, INTERRUPTED)
    except (typer.Abort, KeyboardInterrupt):
        code = _fail(STOPPED, INTERRUPTED)
    except TutelageError as error:
        code = _fail(str(error), 2)
    except BrokenPipeError:  # the reader of our output has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except SystemExit:
        if type(sys.stdout).__name__ != "PacifyFlushWrapper":  # typer's own way with such a reader
            raise
        code = 141
    except ModuleNotFoundError as error:
        code = _fail(f'"{error.name}" is not installed. Install it with: pip install "tutelage[quickstart,hub]"', 2)
    except Exception as error:
        if isinstance(error, USAGE_ERROR):
            error.show()
            code = error.exit_code
        elif _disk_is_full(error):
            code = _fail("The disk is full. What was finished is kept: make room and run the same command again.", 2)
        elif isinstance(error, OSError) and error.filename:
            code = _fail(f"{error.filename}: {error.strerror}.", 2)
        else:
            raise
    sys.exit(code if isinstance(code, int) else 0)


def _disk_is_full(error: BaseException) -> bool:
    """Whether that is the cause; SQLite, safetensors and torch say it in words of their own."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if any(words in str(error) for words in ("No space left", "StorageFull", "disk is full", "PytorchStreamWriter")):
        return True
    inner = error.__cause__ or error.__context__
    return inner is not None and _disk_is_full(inner)


def _fail(message: str, code: int) -> int:
    print(f"tutelage: {message}", file=sys.stderr)
    return code
