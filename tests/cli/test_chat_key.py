"""Whose key `tutelage chat --base-url` shows to whom."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tutelage.cli.chat import _model
from tutelage.errors import TutelageError
from tutelage.project import Project

TOML = """
[teacher]
url = "http://127.0.0.1:8000/v1"
model = "t"
api_key_env = "TEACHERS_KEY"
"""


def key(folder: Path, url: str, named: str | None = None) -> str | None:
    (folder / "tutelage.toml").write_text(TOML)
    with ExitStack() as stack:
        connect, _ = _model(Project.open(folder), url, named, "m", stack)
        return connect({})._key


def test_the_teachers_key_goes_to_the_teachers_server_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHERS_KEY", "sk-teacher")
    monkeypatch.setenv("OTHERS_KEY", "sk-other")
    assert key(tmp_path, "http://127.0.0.1:8000/other/v1") == "sk-teacher"
    for url in ("http://127.0.0.1:8001/v1", "https://127.0.0.1:8000/v1", "http://127.0.0.1:8000@example.org/v1"):
        assert key(tmp_path, url) is None
    assert key(tmp_path, "http://127.0.0.1:8001/v1", "OTHERS_KEY") == "sk-other"
    with pytest.raises(TutelageError, match="variable NOBODYS_KEY is not set"):
        key(tmp_path, "http://127.0.0.1:8001/v1", "NOBODYS_KEY")
