"""What doctor finds in the example project, and in projects with a mistake in them."""

from pathlib import Path

import pytest
from endpoint_double import endpoint_double, says

from tutelage.endpoint.doctor import Finding, check_project, family_name
from tutelage.project import Project
from tutelage.scaffold import make_project


def findings(folder: Path, *changes: tuple[str, str], **teacher: str) -> list[Finding]:
    """Of the shop, with `changes` made in its settings."""
    make_project(folder, "shop", train_tasks=2, evaluate_tasks=2)
    settings = folder / "tutelage.toml"
    text = settings.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    settings.write_text(text)
    return check_project(Project.open(folder), **teacher)


def errors(found: list[Finding]) -> str:
    return "\n".join(f"{finding.what} {finding.fix}" for finding in found if finding.level == "error")


def test_nothing_is_wrong_with_the_example(tmp_path: Path) -> None:
    found = findings(tmp_path / "p")
    assert errors(found) == ""
    said = "\n".join(finding.what for finding in found if finding.level == "ok")
    for part in ("2 tasks to train", 'Service "teacher" is ready', 'MCP server "shop"', "Tool calls come back as JSON"):
        assert part in said


def test_every_mistake_is_found_at_once(tmp_path: Path) -> None:
    found = findings(
        tmp_path / "p",
        ("tutelage.quickstart.shop.verify:verify", "verify.py:verify"),
        ("[student]\n", '[student]\nurl = "http://127.0.0.1:9/v1"\nmodel = "a/b"\n'),
        ("[train]\n", "[train]\nlerning_rate = 1\n"),
    )
    said = errors(found)
    for part in ("verify.py", "lerning_rate", "hf download a/b", "correct [student] url"):
        assert part in said
    assert len(found) == len(set(found))


def test_a_teacher_whose_calls_come_back_as_text_is_told_apart(tmp_path: Path) -> None:
    with endpoint_double(says('<tool_call>{"name": "find", "arguments": {}}</tool_call>')) as double:
        said = errors(findings(tmp_path / "p", teacher_url=double.url, teacher_model="qwen3-4b"))
    assert "Tool calls come back as text" in said
    assert "--tool-call-parser hermes" in said


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("Qwen/Qwen3-30B-A3B", "qwen"),
        ("qwq-32b", "qwen"),
        ("smollm2-135m-instruct", "smollm"),
        ("meta-llama/Llama-3.1-8B", "llama"),
        ("dolphin-3", None),
        ("scripted-shop-expert", None),
    ],
)
def test_a_models_name_tells_its_family(model: str, family: str | None) -> None:
    assert family_name(model) == family
