"""A set of names in one text column, so that LIKE finds one of them: each between two line ends."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, or_
from sqlalchemy.sql.elements import KeyedColumnElement

SEPARATOR = "\n"


def join_names(names: Iterable[str]) -> str:
    """ "" for none. A line end inside a name becomes a space."""
    unique = sorted({name.replace(SEPARATOR, " ") for name in names})
    return SEPARATOR + SEPARATOR.join(unique) + SEPARATOR if unique else ""


def split_names(text: str) -> list[str]:
    return [name for name in text.split(SEPARATOR) if name]


def holds_any(column: KeyedColumnElement[str], names: Iterable[str]) -> ColumnElement[bool]:
    return or_(*(column.contains(f"{SEPARATOR}{name}{SEPARATOR}", autoescape=True) for name in names))
