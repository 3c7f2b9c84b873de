"""The stage as a command runs it: a project's student, dataset and settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tutelage.errors import MissingExtra, TutelageError
from tutelage.project import Project
from tutelage.train.config import TrainConfig, share_of_rate

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, TrainerCallback

    from tutelage.train.run import TrainResult

WEIGHTS = "weights"  # beside the training's folder: the student, dequantised


@dataclass(frozen=True)
class TrainingPlan:
    """What a training would do, and what it would take on this machine."""

    rows: int
    steps: int
    tokens_unrolled: int
    tokens_tree: int
    separate: str | None  # why rows are computed one by one, if they are
    parameters: int
    trained: int
    device: str
    dtype: str
    peak_mb: int
    free_mb: int
    seconds: int
    checkpointing: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        fewer = f"{self.tokens_tree:,} in trees ({self.tokens_unrolled / max(self.tokens_tree, 1):.1f} times fewer)"
        again = "" if self.checkpointing == "none" else f', checkpointing = "{self.checkpointing}"'
        trees = f"each row computed alone, since {self.separate}" if self.separate else fewer
        return (
            f"{self.rows} rows in {self.steps} steps: {self.tokens_unrolled:,} tokens unrolled, {trees}.\n"
            f"{self.parameters:,} parameters, {self.trained:,} of them trained "
            f"({self.trained / self.parameters:.1%}), in {self.dtype} on {self.device}{again}.\n"
            f"About {self.seconds / 60:.0f} min and {self.peak_mb:,} MB at most; {self.free_mb:,} MB are free."
        )


def plan_training(project: Project, build: Path, mixed: Sequence[Path] = ()) -> TrainingPlan:
    """Count a training's rows, steps, tokens, memory and time without running it.

    Raises TutelageError where it does not fit into this machine's memory, with what to change.
    """
    config = train_config(project)
    try:
        from tutelage.train.compute import measure
        from tutelage.train.fitting import Training, ways_to_fit
        from tutelage.train.planner import MIB, plan_needs, settled
        from tutelage.train.run import planned_steps
        from tutelage.train.student import require_possible
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "train") from error
    require_possible(config)
    _require_own_rows(project, build, *mixed)
    steps = planned_steps(build, mixed, config)
    compute = measure(dtype=config.dtype)
    student = student_config(project)
    config, counted = settled(student, config, compute, steps)
    needs = counted or plan_needs(student, config, compute, steps)
    if not needs.fits:
        ways = ways_to_fit(Training(student, config, compute, steps), needs.largest_tree)
        change = f"set in tutelage.toml {' or '.join(map(str, ways))}" if ways else "name a smaller student"
        raise TutelageError(
            f"This training needs about {needs.peak_bytes / MIB:,.0f} MB; {needs.free_bytes / MIB:,.0f} MB are free. "
            f"To make it fit, {change}."
        )
    return TrainingPlan(
        rows=sum(map(len, steps)) // config.epochs,
        steps=len(steps),
        tokens_unrolled=sum(len(row) for step in steps for row in step),
        tokens_tree=needs.tokens_tree,
        separate=needs.separate,
        parameters=needs.parameters,
        trained=needs.trained,
        device=compute.device.type,
        dtype=str(compute.dtype).removeprefix("torch."),
        peak_mb=round(needs.peak_bytes / MIB),
        free_mb=round(needs.free_bytes / MIB),
        seconds=round(needs.seconds),
        checkpointing=config.checkpointing,
    )


def run_training(
    project: Project,
    build: Path,
    out: Path,
    on_progress: Callable[[int, int, str], None] | None = None,
    mixed: Sequence[Path] = (),
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainResult:
    """Train the project's student on `build` into `out`; goes on where an earlier run stopped.

    `mixed` are the folders of builds of `[[train.datasets]]`, in their order. `on_progress` gets steps done, steps in
    all, and the losses as text. `callbacks` are called by the Hugging Face Trainer.
    """
    config = train_config(project)
    try:
        from tutelage.train.progress import Progress
        from tutelage.train.run import train
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "train") from error

    def report(progress: Progress) -> None:
        if on_progress:
            on_progress(progress.step, progress.steps, progress.text())

    _require_own_rows(project, build, *mixed)
    weights = student_folder(project, out.parent / WEIGHTS)
    result = train(build, weights, out, config, report, mixed, callbacks)
    _write_served(project, weights, out)
    return result


def _require_own_rows(project: Project, *builds: Path) -> None:
    """Raises TutelageError for a build whose rows hold another student's tokens."""
    from tutelage.render.student import student_tokenizer

    for build in builds:
        file = build / "build.json"
        made = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        student, of = project.settings.student, made.get("tokenizer_sha256")
        if of and of != student_tokenizer(student, project.folder).sha256:
            raise TutelageError(
                f'{build} was built for the student "{made.get("student")}", whose tokens are not those of '
                f'"{student.model}". Run `tutelage dataset build` again.'
            )


def _write_served(project: Project, weights: Path, out: Path) -> None:
    """Of a student that llama.cpp serves, the file that it loads, where the training itself left none.

    A whole model, after full fine-tuning and where the adapter is of a kind that llama.cpp cannot switch.
    """
    from tutelage.render.engine import Engine
    from tutelage.render.student import student_engine, student_gguf
    from tutelage.render.trained import GGUF, is_whole, merged_model, served_file, trained_folder
    from tutelage.train import processes
    from tutelage.train.model_gguf import convert_model

    folder, student = trained_folder(out), project.settings.student
    if served_file(folder).is_file() or not processes.leads() or student_engine(student) is not Engine.LLAMA_CPP:
        return
    origin = student_gguf(student, project.folder)
    if is_whole(folder):
        convert_model(folder, origin, folder / GGUF)
        return
    with TemporaryDirectory(dir=out) as scratch:
        merged_model(weights, folder).save_pretrained(scratch)
        convert_model(Path(scratch), origin, folder / GGUF)


def train_config(project: Project) -> TrainConfig:
    """The table [train]; the seed is the project's unless the table names its own. Raises TutelageError."""
    try:
        config = TrainConfig.model_validate({"seed": project.settings.seed, **project.settings.train})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise TutelageError(
            f'tutelage.toml: [train] "{key}": {first["msg"]}. Known keys: {", ".join(TrainConfig.model_fields)}.'
        ) from None
    return config.model_copy(update={"adapter": str(project.path(config.adapter))}) if config.adapter else config


def with_train(project: Project, **given: Any) -> Project:
    """The project with other values in [train], where some are given.

    A rate that the project names is meant for its own method and objective: another takes the usual share of it,
    unless a rate is among what is given.
    """
    own = project.settings.train
    changed = {**own, **{key: value for key, value in given.items() if value is not None}}
    rate = own.get("learning_rate")
    if isinstance(rate, int | float) and given.get("learning_rate") is None:
        changed["learning_rate"] = rate * share_of_rate(changed) / share_of_rate(own)
    return Project(project.folder, project.settings.model_copy(update={"train": changed}))


def student_config(project: Project) -> PreTrainedConfig:
    """The student's architecture, without its weights. Raises TutelageError where there is no student."""
    from tutelage.render.engine import Engine
    from tutelage.render.student import student_engine, student_gguf
    from tutelage.train.weights import folder_config, gguf_config

    if student_engine(project.settings.student) is Engine.LLAMA_CPP:
        return gguf_config(student_gguf(project.settings.student, project.folder))
    return folder_config(student_folder(project, project.folder))


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
