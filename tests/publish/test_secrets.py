"""What is never published."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import Hub

from tutelage.errors import TutelageError
from tutelage.publish import push_dataset
from tutelage.publish.secrets import find_secrets

GITHUB = "ghp_" + "a1B2" * 9  # put together here, so that no scanner takes this file for a leak


def row(text: str, **message: Any) -> dict[str, Any]:
    return {
        "trace_id": "t1",
        "messages": [{"role": "user", "content": "hi"}, {"role": "tool", "content": text, **message}],
    }


def test_a_secret_is_named_and_not_repeated() -> None:
    (found,) = find_secrets([row(f"here: {GITHUB} it is")], {})
    assert found.what == 'GitHub token "ghp_…"' and found.where == "message 1 (tool), content"


def test_secrets_are_found_wherever_a_row_holds_text_and_each_once() -> None:
    key = GITHUB
    call = {"function": {"name": "login", "arguments": json.dumps({"token": key})}}
    rows = [
        row("x", reasoning_content=key),
        row("x", reasoning_content=key),
        row("x", tool_calls=[call]),
        {"id": "r", "messages": [], "tools": json.dumps([{"default": key}])},
        {"id": "s", "model": key, "task_id": f"task-{key}", "kind": key},
        row("x", tool_calls=[{"function": {"name": key, "arguments": ""}}]),
    ]
    assert [(found.trace, found.where) for found in find_secrets(rows, {})] == [
        ("t1", "message 1 (tool), reasoning_content"),
        ("t1", "message 1 (tool), call of login"),
        ("r", "the tools"),
        ("s", "the model"),
        ("s", "the task_id"),
        ("s", "the kind"),
        ("t1", "message 1 (tool), the name of a call"),
    ]


def test_a_known_secret_is_called_by_its_name() -> None:
    known = {"the value of SHOP_KEY": "open-sesame-1"}
    assert [found.what for found in find_secrets([row("say open-sesame-1!")], known)] == ["the value of SHOP_KEY"]


def test_a_dataset_with_a_secret_is_not_pushed(hub: Hub, tmp_path: Path) -> None:
    for name in ("train", "validation"):
        pq.write_table(pa.Table.from_pylist([row(GITHUB)]), tmp_path / f"{name}.parquet")
    for name in ("README.md", "template.jinja", "serving.json", "build.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(TutelageError, match=r"not pushed: 1 secret found\.\n  GitHub token .* in trace t1, message 1"):
        push_dataset(tmp_path, "me/x")
    for name in ("train", "validation"):
        pq.write_table(pa.Table.from_pylist([row("nothing")]), tmp_path / f"{name}.parquet")
    (tmp_path / "README.md").write_text(f"# The project {GITHUB}")
    (tmp_path / "build.json").write_text(json.dumps({"tools": {GITHUB: 3}, "store": GITHUB}))
    with pytest.raises(TutelageError, match=r"2 secrets found\.\n  GitHub token .* in README.md\n.* in build.json\n"):
        push_dataset(tmp_path, "me/x")
    assert hub.requests == []
