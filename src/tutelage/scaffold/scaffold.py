"""Write a project folder."""

import shutil
import tempfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

from tutelage.errors import TutelageError
from tutelage.project import SETTINGS_FILE
from tutelage.trace import Task

Example = Literal["blank", "shop"]


def make_project(
    folder: Path, example: Example = "blank", *, seed: int = 0, train_tasks: int = 192, evaluate_tasks: int = 60
) -> bool:
    """Write a new project to `folder`; False where it already holds one, which is left as it is.

    Raises TutelageError where the folder holds something else.
    """
    if (folder / SETTINGS_FILE).exists():
        return False
    if folder.exists() and not folder.is_dir():
        raise TutelageError(f"{folder} is a file. Name a new folder for the project.")
    if folder.exists() and any(path.name != "README.md" and path.name[0] != "." for path in folder.iterdir()):
        raise TutelageError(f"{folder} is not empty. Name a new folder for the project.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tutelage-") as temporary:
        new = Path(temporary) / "project"
        source = files("tutelage") / ("quickstart/project" if example == "shop" else "scaffold/blank")
        with as_file(source) as path:
            shutil.copytree(path, new, ignore=shutil.ignore_patterns("__pycache__"))
        if example == "shop":
            _add_shop_tasks(new, seed, train_tasks, evaluate_tasks)
        if not folder.exists():
            new.rename(folder)
            return True
        # The settings go last: their presence says that the project is whole.
        for path in sorted(new.iterdir(), key=lambda path: path.name == SETTINGS_FILE):
            target = folder / path.name
            if target.is_dir():
                shutil.rmtree(target)
            path.rename(target)
    return True


def _add_shop_tasks(folder: Path, seed: int, train: int, evaluate: int) -> None:
    from tutelage.quickstart.shop.tasks import make_tasks

    (folder / "tasks").mkdir(exist_ok=True)
    write_tasks(folder / "tasks" / "train.jsonl", make_tasks("train", train, seed))
    write_tasks(folder / "tasks" / "evaluate.jsonl", make_tasks("evaluate", evaluate, seed))
    settings = folder / SETTINGS_FILE
    text = settings.read_text(encoding="utf-8")
    assert "\nseed = 0\n" in text
    settings.write_text(text.replace("\nseed = 0\n", f"\nseed = {seed}\n"), encoding="utf-8")


def write_tasks(path: Path, tasks: list[Task]) -> None:
    """One JSON object a line."""
    path.write_text("".join(task.model_dump_json(exclude_defaults=True) + "\n" for task in tasks), encoding="utf-8")
