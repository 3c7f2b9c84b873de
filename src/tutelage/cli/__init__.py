"""The command line: one command a stage, thin. Results go to standard output, progress to standard error."""

from tutelage.cli.main import main

__all__ = ["main"]
