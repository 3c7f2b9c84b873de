"""Errors that a user can mend: one clear sentence, exit code 2."""


class TutelageError(Exception):
    """What is wrong, where, and what to do: shown as it stands, without a traceback."""


class MissingExtra(TutelageError):
    """A stage was asked for whose libraries are not installed."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f'"{module}" is not installed. Install it with: pip install "tutelage[{extra}]"')
