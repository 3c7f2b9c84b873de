"""Where an evaluation's figures come from: hashes of all that they hang on."""

import hashlib
import inspect
import json
import subprocess
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import tutelage
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.trace import Task, task_content


def file_sha256(path: Path) -> str:
    """Of the file as it is now; not read again while its size and time stay. Raises TutelageError."""
    try:
        found = path.stat()
        return _file_sha256(path, found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise TutelageError(f"{path} could not be read: {error.strerror}.") from None


@lru_cache(maxsize=8)
def _file_sha256(path: Path, _mtime: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tasks_sha256(tasks: Sequence[Task]) -> str:
    """Of the tasks' content, in order; independent of how the file is laid out."""
    return hashlib.sha256("\n".join(task.model_dump_json() for task in tasks).encode()).hexdigest()


def fingerprint(project: Project, tasks: Sequence[Task], parts: Sequence[str | None]) -> str:
    """Names the runs: another task, prompt, verifier, server list, service, sampling or limit is another run.

    `parts` are whatever else the rollouts hang on: adapter, weights, template.
    """
    settings = project.settings
    text = [
        tasks_sha256(tasks),
        settings.student.model_dump_json(),
        settings.rollout.model_dump_json(),
        project.system_prompt(),
        json.dumps([settings.tasks.verifier, settings.tasks.prepare]),
        _source_sha256(project.verifier),
        _source_sha256(project.prepare),
        json.dumps({name: service.model_dump(mode="json") for name, service in settings.services.items()}),
        file_sha256(project.path(settings.mcp)) if project.path(settings.mcp).is_file() else None,
        *parts,
    ]
    return hashlib.sha256(json.dumps(text).encode()).hexdigest()[:12]


def shared_tasks(project: Project, tasks: Sequence[Task], dataset: Path) -> int:
    """How many of the held-out `tasks` the dataset was built from too, by id or by content.

    Without a build in the folder `dataset` today's training tasks stand for it.
    """
    ids, contents = _built_from(dataset / "build.json") or _training_tasks(project)
    return sum(task.id in ids or task_content(task) in contents for task in tasks)


def _built_from(record: Path) -> tuple[set[str], set[str]] | None:
    """Ids and contents of a build's tasks; None where none are recorded."""
    try:
        built = json.loads(record.read_text(encoding="utf-8"))
        return set(built["task_ids"]), set(built["task_contents"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _training_tasks(project: Project) -> tuple[set[str], set[str]]:
    if not project.path(project.settings.tasks.train).is_file():
        return set(), set()
    training = project.tasks("train")
    return {task.id for task in training}, {task_content(task) for task in training}


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


def _source_sha256(function: Callable[..., Any] | None) -> str | None:
    """Of the file that a verifier or a `prepare` stands in; what it imports does not count."""
    if function is None:
        return None
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # an object that can be called
        file = inspect.getsourcefile(type(function))
    return file_sha256(Path(file)) if file else None
