import json
import os
from pathlib import Path

from tutelage.evaluate.provenance import checkout_commit, file_sha256, fingerprint, shared_tasks
from tutelage.project import Project
from tutelage.settings import Settings
from tutelage.trace import Task, task_content


def project(folder: Path, **settings: object) -> Project:
    return Project(folder, Settings.model_validate(settings))


def write(path: Path, tasks: list[Task]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(task.model_dump_json() + "\n" for task in tasks))


def test_shared_tasks_are_counted_by_name_and_by_content(tmp_path: Path) -> None:
    write(tmp_path / "tasks" / "train.jsonl", [Task(id="a", turns=("1?",)), Task(id="b", turns=("2?",))])
    held_out = [Task(id="x", turns=("2?",)), Task(id="a", turns=("3?",)), Task(id="y", turns=("4?",))]
    assert shared_tasks(project(tmp_path), held_out, tmp_path / "dataset") == 2
    assert shared_tasks(project(tmp_path), held_out[2:], tmp_path / "dataset") == 0


def test_shared_tasks_are_those_that_the_dataset_was_built_from(tmp_path: Path) -> None:
    """Not today's training tasks: those may have changed since."""
    write(tmp_path / "tasks" / "train.jsonl", [Task(id="b", turns=("2?",))])
    built = Task(id="a", turns=("What is  it?",))
    record = {"task_ids": [built.id], "task_contents": [task_content(built)]}
    (tmp_path / "build.json").write_text(json.dumps(record))
    held_out = [Task(id="x", turns=("what is it?",), kind="other"), Task(id="b", turns=("3?",))]
    assert shared_tasks(project(tmp_path), held_out, tmp_path) == 1


def test_an_edited_verifier_or_service_names_another_run(tmp_path: Path) -> None:
    tasks = [Task(id="a", turns=("1?",))]
    names = set()
    for text in ("def judge(trace, world): return 1", "def judge(trace, world): return 0.5"):
        (tmp_path / "judge.py").write_text(text)
        names.add(fingerprint(project(tmp_path, tasks={"verifier": "judge.py:judge"}), tasks, []))
    for command in (["shop"], ["shop", "--other"]):
        names.add(fingerprint(project(tmp_path, services={"shop": {"command": command}}), tasks, []))
    assert len(names) == 4


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "adapter.gguf"
    path.write_text("one")
    first = file_sha256(path)
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert file_sha256(path) != first


def test_whatever_the_figures_hang_on_names_another_run(tmp_path: Path) -> None:
    tasks = [Task(id="a", turns=("1?",))]
    first = fingerprint(project(tmp_path), tasks, ["adapter"])
    assert fingerprint(project(tmp_path), tasks, ["adapter"]) == first
    others = {
        fingerprint(project(tmp_path), tasks, ["other"]),
        fingerprint(project(tmp_path), [Task(id="a", turns=("2?",))], ["adapter"]),
        fingerprint(project(tmp_path, system_prompt="Be kind."), tasks, ["adapter"]),
        fingerprint(project(tmp_path, rollout={"max_steps": 3}), tasks, ["adapter"]),
        fingerprint(project(tmp_path, student={"sampling": {"temperature": 0.5}}), tasks, ["adapter"]),
    }
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {}}))
    others.add(fingerprint(project(tmp_path), tasks, ["adapter"]))
    assert len(others | {first}) == 7


def test_a_checkout_names_its_commit() -> None:
    commit = checkout_commit()
    assert commit is None or len(commit.rstrip("+")) == 40
