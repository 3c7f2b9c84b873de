"""Train the student on a built dataset: the stage's entry point."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.utils.logging import disable_progress_bar

from tutelage.errors import TutelageError
from tutelage.train import processes
from tutelage.train.checkpoints import (
    CLOCK,
    RESULT,
    Clock,
    begun_type,
    claim,
    identity_of,
    last_checkpoint,
    note_type,
    write_json,
)
from tutelage.train.compute import keep_freed_memory, peak_rss
from tutelage.train.config import TrainConfig
from tutelage.train.objectives import objective_of
from tutelage.train.planner import settled
from tutelage.train.progress import Progress, Reporter
from tutelage.train.rows import files_of, load_pairs, load_rows, require_rows
from tutelage.train.setup import make_trainer
from tutelage.train.shards import require_shards
from tutelage.train.steps import Mixed, at_most, plan_steps
from tutelage.train.student import prepare, require_possible
from tutelage.train.trained import write_trained
from tutelage.train.trainer import StepPieces
from tutelage.train.tree import Row, traces_of
from tutelage.train.weights import folder_config


@dataclass(frozen=True)
class TrainResult:
    """What train.json holds."""

    losses: list[float]  # by optimizer step
    eval_losses: dict[int, float]  # by the step after which they were taken
    rows: int  # of an epoch
    tokens_unrolled: int  # of the rows of all steps that were run
    tokens_tree: int  # of the trees that were computed for them
    gflops: float
    dtype: str
    seconds: float  # in all runs that it took
    peak_rss_mb: int
    seed: int
    config: dict[str, Any]
    weights: str  # the student's folder, by name
    data_hash: str  # SHA-256 of train.parquet and validation.parquet, and of the mixed datasets' train.parquet
    kept_step: int | None = None  # whose weights were kept: with "patience", of the lowest evaluation loss

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        kept = f" The weights of step {self.kept_step} were kept." if self.kept_step else ""
        return (
            f"{len(self.losses)} steps in {self.seconds:.0f} s, loss {self.losses[0]:.3f} to {self.losses[-1]:.4f}; "
            f"{self.tokens_tree:,} tokens computed for {self.tokens_unrolled:,} unrolled.{kept}"
        )


def train(
    build: Path,
    weights: Path,
    out: Path,
    config: TrainConfig,
    on_progress: Callable[[Progress], None] | None = None,
    mixed: Sequence[Path] = (),
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainResult:
    """Train the model in `weights`, or adapters for it, on `build`; everything is written under `out`.

    `mixed` are the builds of `config.datasets`, in their order; `callbacks` the Trainer's own. `out`/adapter holds the
    PEFT adapter (and adapter.gguf, where llama.cpp takes it), after full fine-tuning `out`/model the model;
    `out`/train.json the result. A finished training returns at once; an interrupted one resumes from its last
    checkpoint, with the losses that it would have had. Raises TutelageError where `out` holds a training on other data
    or with other settings.
    """
    started = time.monotonic()
    require_possible(config)
    if config.shard:
        require_shards(config)
    processes.join()
    identity = identity_of(build, mixed, weights, config)
    if processes.leads():
        claim(out, identity, config.adapter)
    processes.wait()
    if (out / RESULT).is_file():
        return load_result(out)
    validation = _load(files_of(build, config.objective)[1])
    plan = planned_steps(build, mixed, config)
    if config.patience and not (validation and config.eval_rows):
        raise TutelageError(
            '[train] "patience" stops by the evaluation loss, and there are no validation rows (eval_rows).'
        )
    student = folder_config(weights)
    require_rows([*chain(*plan), *validation], student.get_text_config().vocab_size)
    compute = processes.measured(begun_type(out) or config.dtype)
    if processes.leads():
        note_type(out, compute.dtype)
    config, _ = settled(student, config, compute, plan)
    keep_freed_memory()
    disable_progress_bar()  # of loading weights; `on_progress` tells how far the training is
    model, share = prepare(weights, config, compute)
    steps: StepPieces[Any] = StepPieces(plan, objective_of(config, share))
    reporter = Reporter(on_progress if processes.leads() else None)
    some = _some(validation, config)
    trainer = make_trainer(model, steps, steps.objective.pieces(some), out, config, compute, [reporter, *callbacks])
    with trainer.compute_loss_context_manager():
        steps.objective.begin(trainer.bare, [*(row for step in plan for row in step), *some])
    checkpoint = last_checkpoint(out / "checkpoints")
    before = json.loads((checkpoint / CLOCK).read_text())["seconds"] if checkpoint else 0.0
    trainer.add_callback(Clock(started - before))
    with reporter.catching_interrupts():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    done = trainer.state.global_step
    sizes = [(piece.tokens_unrolled, len(piece)) for i in range(done) for piece in steps[i]]
    history = trainer.state.log_history
    result = TrainResult(
        losses=[entry["loss"] for entry in history if "loss" in entry],
        eval_losses={entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry},
        rows=sum(map(len, plan)) // config.epochs,
        tokens_unrolled=sum(unrolled for unrolled, _ in sizes),
        tokens_tree=sum(size for _, size in sizes),
        gflops=compute.gflops,
        dtype=str(compute.dtype).removeprefix("torch."),
        seconds=round(time.monotonic() - started + before, 1),
        peak_rss_mb=round(peak_rss() / 2**20),
        seed=config.seed,
        config=config.model_dump(mode="json"),
        weights=weights.name,
        data_hash=identity["data"],
        kept_step=trainer.state.best_global_step if config.patience else None,
    )
    write_trained(model, weights, build, mixed, out)
    if processes.leads():
        write_json(out / RESULT, result.as_dict())
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    processes.wait()
    return result


def planned_steps(build: Path, mixed: Sequence[Path], config: TrainConfig) -> list[list[Row]]:
    """The rows of every optimizer step. Raises TutelageError where a dataset cannot be read or holds none."""
    if len(mixed) != len(config.datasets):
        raise TutelageError(
            f"[[train.datasets]] names {len(config.datasets)} datasets, and {len(mixed)} builds of them were given."
        )
    rows, *others = (_rows(folder, config.objective) for folder in (build, *mixed))
    parts = [
        Mixed(at_most(found, dataset.max_rows, config.seed), dataset.weight)
        for found, dataset in zip(others, config.datasets, strict=True)
    ]
    return plan_steps(rows, config.rows_per_step, config.epochs, config.seed, parts)


def _rows(build: Path, objective: str) -> list[Row]:
    path, _ = files_of(build, objective)
    rows = _load(path)
    if not rows and objective == "dpo":
        raise TutelageError(
            f"{path} holds no pairs. Approve and reject traces of the same tasks, or say in `tutelage review` which of "
            "two is better, then rebuild."
        )
    if not rows:
        raise TutelageError(f"{path} holds no rows. Collect or approve more traces, then rebuild.")
    return rows


def _load(path: Path) -> list[Row]:
    return load_pairs(path) if path.stem.endswith("-pairs") else load_rows(path)


def load_result(out: Path) -> TrainResult:
    """The result of a finished training."""
    fields = json.loads((out / RESULT).read_text())
    return TrainResult(**{**fields, "eval_losses": {int(step): x for step, x in fields["eval_losses"].items()}})


def _some(rows: list[Row], config: TrainConfig) -> list[Row]:
    """The first whole traces with at most `eval_rows` rows (but one trace at least)."""
    chosen: list[Row] = []
    for trace in traces_of(rows) if config.eval_rows else ():
        if chosen and len(chosen) + len(trace) > config.eval_rows:
            break
        chosen += trace
    return chosen
