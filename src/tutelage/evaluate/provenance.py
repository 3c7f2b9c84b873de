"""Where an evaluation's figures come from: hashes of all that they hang on."""

import hashlib
import json
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import tutelage
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.trace import Task


@lru_cache(maxsize=8)
def file_sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TutelageError(f"{path} could not be read: {error.strerror}.") from None


def tasks_sha256(tasks: Sequence[Task]) -> str:
    """Of the tasks' content, in order; independent of how the file is laid out."""
    return hashlib.sha256("\n".join(task.model_dump_json() for task in tasks).encode()).hexdigest()


def fingerprint(project: Project, tasks: Sequence[Task], parts: Sequence[str | None]) -> str:
    """Names the runs: another adapter, task, template, prompt, server list, sampling or limit is another run."""
    settings = project.settings
    text = [
        tasks_sha256(tasks),
        settings.student.model_dump_json(),
        settings.rollout.model_dump_json(),
        project.system_prompt(),
        json.dumps([settings.tasks.verifier, settings.tasks.prepare]),
        file_sha256(project.path(settings.mcp)) if project.path(settings.mcp).is_file() else None,
        *parts,
    ]
    return hashlib.sha256(json.dumps(text).encode()).hexdigest()[:12]


def shared_tasks(project: Project, tasks: Sequence[Task]) -> int:
    """How many of the held-out `tasks` stand among the training tasks too, by id or by content."""
    if not project.path(project.settings.tasks.train).is_file():
        return 0
    training = project.tasks("train")
    ids, contents = {task.id for task in training}, {_content(task) for task in training}
    return sum(task.id in ids or _content(task) in contents for task in tasks)


def checkout_commit() -> str | None:
    """The commit of the tutelage checkout that runs, "+" behind it where files differ; None for an installed one."""
    folder = Path(tutelage.__file__).parents[2]
    if not (folder / ".git").exists():
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    return commit and commit + ("+" if _git(folder, "status", "--porcelain", "--", "src") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        found = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def _content(task: Task) -> str:
    return task.model_dump_json(exclude={"id"})
