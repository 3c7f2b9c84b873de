"""Traces into training rows: keep the good ones, unroll them, render the rows with the student's template, split.

`build` writes the folder, `read_summary` and `read_rows` read it; `unroll` makes a trace into its rows.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tutelage.dataset.builder import build
    from tutelage.dataset.read import read_rows, read_summary
    from tutelage.dataset.summary import BuildSummary

__all__ = ["BuildSummary", "build", "read_rows", "read_summary"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    modules = {"build": "builder", "read_rows": "read", "read_summary": "read", "BuildSummary": "summary"}
    if name not in modules:
        raise AttributeError(name)
    return getattr(import_module(f"tutelage.dataset.{modules[name]}"), name)
