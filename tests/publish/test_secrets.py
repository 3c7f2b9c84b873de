"""What is never published."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import Hub

from tutelage.errors import TutelageError
from tutelage.project import Project, Settings, Teacher
from tutelage.publish import push_dataset
from tutelage.publish.secrets import FORMS, find_secrets, known_secrets

# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "private key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "AWS access key": "AKIA" + "IOSFODNN7QUJKWTL",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitLab token": "glpat-" + "a1B2" * 5,
    "Slack token": "xoxb-" + "123456789012-abcdef",
    "Hugging Face token": "hf_" + "aBcD" * 9,
    "OpenAI or Anthropic key": "sk-ant-" + "api03-a1B2c3D4e5F6g7H8",
    "Google API key": "AIza" + "a1B2_" * 7,
    "Stripe key": "sk_live_" + "a1B2" * 6,
    "npm token": "npm_" + "a1B2" * 9,
    "PyPI token": "pypi-" + "AgEI" + "a1B2" * 15,
    "JSON web token": "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0" + ".c2lnbmF0dXJl",
    "bearer token": "Authorization: Bearer " + "a1b2c3d4e5f6a7b8c9d0e1f2",
    "password in a URL": "postgresql://me:" + "hunter2" + "@db.internal/traces",
}
ORDINARY = (
    '{"password": {"type": "string", "description": "at least 12 characters"}}',
    "see https://example.com:8080/a@b and git@github.com:me/x.git",
    "mongodb://user:password@localhost",
    "AKIAIOSFODNN7EXAMPLE is what AWS's manual shows",
    "sk-learn-is-no-key-and-neither-is-this",
    "the bearer of this letter",
    "postgresql://me:${DB_PASSWORD}@db",
)


def row(text: str, **message: Any) -> dict[str, Any]:
    return {
        "trace_id": "t1",
        "messages": [{"role": "user", "content": "hi"}, {"role": "tool", "content": text, **message}],
    }


@pytest.mark.parametrize("kind", FORMS)
def test_a_secret_is_found_and_not_repeated(kind: str) -> None:
    (found,) = find_secrets([row(f"here: {SECRETS[kind]} it is")], {})
    assert found.what.startswith(kind) and found.where == "message 1 (tool), content"
    assert SECRETS[kind][8:] not in found.what


@pytest.mark.parametrize("text", ORDINARY)
def test_what_only_looks_like_one_is_let_through(text: str) -> None:
    assert find_secrets([row(text)], {}) == []


def test_secrets_are_found_wherever_a_row_holds_text_and_each_once() -> None:
    key = SECRETS["GitHub token"]
    call = {"function": {"name": "login", "arguments": json.dumps({"token": key})}}
    rows = [
        row("x", reasoning_content=key),
        row("x", reasoning_content=key),
        row("x", tool_calls=[call]),
        {"id": "r", "messages": [], "tools": json.dumps([{"default": key}])},
    ]
    assert [(found.trace, found.where) for found in find_secrets(rows, {})] == [
        ("t1", "message 1 (tool), reasoning_content"),
        ("t1", "message 1 (tool), call of login"),
        ("r", "the tools"),
    ]


def test_what_the_project_takes_from_the_environment_is_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mcp.json").write_text('{"mcpServers": {"a": {"url": "x", "headers": {"k": "${SHOP_KEY}"}}}}')
    monkeypatch.setenv("SHOP_KEY", "open-sesame-1")
    monkeypatch.setenv("TEACHER_KEY", "my teacher's")
    teacher = Teacher(url="http://a/v1", model="m", api_key_env="TEACHER_KEY")
    known = known_secrets(Project(tmp_path, Settings(teacher=teacher)), "hf_short")
    assert known == {
        "the value of SHOP_KEY": "open-sesame-1",
        "the value of TEACHER_KEY": "my teacher's",
        "the Hub's token": "hf_short",
    }
    assert [found.what for found in find_secrets([row("say open-sesame-1!")], known)] == ["the value of SHOP_KEY"]


def test_a_dataset_with_a_secret_is_not_pushed(hub: Hub, tmp_path: Path) -> None:
    for name in ("train", "validation"):
        pq.write_table(pa.Table.from_pylist([row(SECRETS["GitHub token"])]), tmp_path / f"{name}.parquet")
    for name in ("README.md", "template.jinja", "serving.json", "build.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(TutelageError, match=r"not pushed: 1 secret found\.\n  GitHub token .* in trace t1, message 1"):
        push_dataset(tmp_path, "me/x")
    assert hub.requests == []
