"""The stage as a command runs it: a project's student, dataset and settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tutelage.errors import MissingExtra, TutelageError
from tutelage.project import Project
from tutelage.train.config import TrainConfig

if TYPE_CHECKING:
    from tutelage.train.run import TrainResult

WEIGHTS = "weights"  # beside the training's folder: the student, dequantised


@dataclass(frozen=True)
class TrainingPlan:
    """What a training would do."""

    rows: int
    steps: int
    tokens_unrolled: int
    tokens_tree: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        return (
            f"{self.rows} rows in {self.steps} steps: {self.tokens_unrolled:,} tokens unrolled, "
            f"{self.tokens_tree:,} in trees ({self.tokens_unrolled / max(self.tokens_tree, 1):.1f} times fewer)."
        )


def plan_training(project: Project, build: Path) -> TrainingPlan:
    """Count the rows, steps and tokens of a training without running it."""
    try:
        from tutelage.train.rows import load_rows
        from tutelage.train.tree import plan_step, plan_steps
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "numpy", "train") from error
    config = train_config(project)
    rows = load_rows(build / "train.parquet")
    steps = plan_steps(rows, config.rows_per_step, config.epochs, config.seed)
    trees = [tree for step in steps for tree in plan_step(step, config.tree_tokens)]
    return TrainingPlan(
        len(rows), len(steps), sum(tree.tokens_unrolled for tree in trees), sum(len(tree) for tree in trees)
    )


def run_training(
    project: Project,
    build: Path,
    out: Path,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> TrainResult:
    """Train the project's student on `build` into `out`; goes on where an earlier run stopped.

    `on_progress` gets steps done, steps in all, and the losses as text.
    """
    config = train_config(project)
    try:
        from tutelage.train.run import train
        from tutelage.train.sft import Progress
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "train") from error

    def report(progress: Progress) -> None:
        if on_progress:
            on_progress(progress.step, progress.steps, progress.text())

    return train(build, student_folder(project, out.parent / WEIGHTS), out, config, report)


def train_config(project: Project) -> TrainConfig:
    """The table [train]; the seed is the project's unless the table names its own. Raises TutelageError."""
    try:
        return TrainConfig.model_validate({"seed": project.settings.seed, **project.settings.train})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise TutelageError(
            f'tutelage.toml: [train] "{key}": {first["msg"]}. Known keys: {", ".join(TrainConfig.model_fields)}.'
        ) from None


def student_folder(project: Project, cache: Path) -> Path:
    """The folder to load the student from; a GGUF file is dequantised into `cache` first."""
    from tutelage.render.engine import Engine
    from tutelage.render.student import student_engine, student_gguf
    from tutelage.train.weights import student_weights

    student = project.settings.student
    if student_engine(student) is Engine.LLAMA_CPP:
        return student_weights(student_gguf(student, project.folder), cache)
    model = student.model
    if project.path(model).is_dir():
        return project.path(model)
    raise TutelageError(
        f'tutelage.toml: [student] model "{model}" is no folder and no GGUF file. Download it first: '
        f"hf download {model} --local-dir FOLDER, and name that folder."
    )
