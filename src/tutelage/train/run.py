"""Train the student on a built dataset: the stage's entry point."""

import hashlib
import importlib.util
import json
import logging
import os
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import EarlyStoppingCallback, PrinterCallback, ProgressCallback
from transformers.utils.logging import disable_progress_bar

from tutelage.errors import TutelageError
from tutelage.render.serving import SERVING_FILE
from tutelage.train import attention, processes
from tutelage.train.adapter_gguf import convert_adapter
from tutelage.train.compute import Compute, keep_freed_memory, peak_rss
from tutelage.train.config import TrainConfig
from tutelage.train.fast import speed_up
from tutelage.train.hybrid import follow_branches
from tutelage.train.lora import add_lora
from tutelage.train.rows import data_hash, load_rows
from tutelage.train.sft import Progress, Reporter, StepTrees, TreeTrainer
from tutelage.train.sharing import why_not_shared
from tutelage.train.tree import Row, Tree, plan_steps
from tutelage.train.weights import FAMILIES, folder_config

logger = logging.getLogger(__name__)
RESULT = "train.json"
CLOCK = "seconds.json"
STARTED = "started.json"  # which data and settings the checkpoints beside it belong to
NO_NUMERICS = {"log_to", "save_steps"}  # settings that a training may go on with when they have changed
SAMPLES, SAMPLE_BYTES = 16, 1 << 16  # of each weights file, to know a model by


@dataclass(frozen=True)
class TrainResult:
    """What train.json holds."""

    losses: list[float]  # by optimizer step
    eval_losses: dict[int, float]  # by the step after which they were taken
    rows: int
    tokens_unrolled: int  # of the rows of all steps that were run
    tokens_tree: int  # of the trees that were computed for them
    gflops: float
    dtype: str
    seconds: float  # in all runs that it took
    peak_rss_mb: int
    seed: int
    config: dict[str, Any]
    weights: str  # the student's folder, by name
    data_hash: str  # SHA-256 of train.parquet and validation.parquet

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        return (
            f"{len(self.losses)} steps in {self.seconds:.0f} s, loss {self.losses[0]:.3f} to {self.losses[-1]:.4f}; "
            f"{self.tokens_tree:,} tokens computed for {self.tokens_unrolled:,} unrolled."
        )


def train(
    build: Path,
    weights: Path,
    out: Path,
    config: TrainConfig,
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainResult:
    """Train adapters for the model in `weights` on `build`/train.parquet; everything is written under `out`.

    `out`/adapter holds the PEFT adapter (and adapter.gguf, where llama.cpp takes it), `out`/train.json the result. A
    finished training returns at once; an interrupted one resumes from its last checkpoint, with the losses that it
    would have had. Raises TutelageError where `out` holds a training on other data or with other settings.
    """
    started = time.monotonic()
    processes.join()
    identity = _identity(build, weights, config)
    if processes.leads():
        _claim(out, identity)
    processes.wait()
    if (out / RESULT).is_file():
        return load_result(out)
    rows, validation = load_rows(build / "train.parquet"), load_rows(build / "validation.parquet")
    if not rows:
        raise TutelageError(f"{build / 'train.parquet'} holds no rows. Collect or approve more traces, then rebuild.")
    compute = processes.measured()
    keep_freed_memory()
    disable_progress_bar()  # of loading weights; `on_progress` tells how far the training is
    model, share = _prepared(weights, config, compute)
    plan = plan_steps(rows, config.rows_per_step, config.epochs, config.seed)
    steps = StepTrees(plan, config.tree_tokens, share)
    reporter = Reporter(on_progress if processes.leads() else None)
    trainer = _trainer(model, steps, steps.trees(_some(validation, config)), out, config, compute, reporter)
    checkpoint = _last_checkpoint(out / "checkpoints")
    before = json.loads((checkpoint / CLOCK).read_text())["seconds"] if checkpoint else 0.0
    trainer.add_callback(_Clock(started - before))
    with reporter.catching_interrupts():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    done = trainer.state.global_step
    trees = [tree for i in range(done) for tree in steps[i]]
    history = trainer.state.log_history
    result = TrainResult(
        losses=[entry["loss"] for entry in history if "loss" in entry],
        eval_losses={entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry},
        rows=len(rows),
        tokens_unrolled=sum(tree.tokens_unrolled for tree in trees),
        tokens_tree=sum(len(tree) for tree in trees),
        gflops=compute.gflops,
        dtype=str(compute.dtype).removeprefix("torch."),
        seconds=round(time.monotonic() - started + before, 1),
        peak_rss_mb=round(peak_rss() / 2**20),
        seed=config.seed,
        config=config.model_dump(mode="json"),
        weights=weights.name,
        data_hash=identity["data"],
    )
    if processes.leads():
        _write_adapter(model, weights, build, out / "adapter")
        _write_json(out / RESULT, result.as_dict())
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    processes.wait()
    return result


def load_result(out: Path) -> TrainResult:
    """The result of a finished training."""
    fields = json.loads((out / RESULT).read_text())
    return TrainResult(**{**fields, "eval_losses": {int(step): x for step, x in fields["eval_losses"].items()}})


def load_student(weights: Path, compute: Compute) -> PreTrainedModel:
    """The model in the folder, frozen weights in the compute type, attending over trees."""
    config = folder_config(weights)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            weights, config=config, dtype=compute.dtype, attn_implementation=attention.NAME
        )
    except (OSError, ValueError) as error:  # of missing weights, and of what is no language model
        raise TutelageError(f"{weights}: the model cannot be loaded: {str(error).splitlines()[0]}") from error
    model.config.use_cache = False
    follow_branches(model)
    return model.to(compute.device)


def _prepared(weights: Path, config: TrainConfig, compute: Compute) -> tuple[PeftModel, bool]:
    """The student with fresh adapters, made fast, and whether it runs over trees."""
    set_seed(config.seed)
    model = add_lora(load_student(weights, compute), config)
    separate = why_not_shared(model.get_base_model())
    if separate:
        logger.warning("This student cannot share what rows have in common (%s): each is computed alone.", separate)
    speed_up(model)
    return model, separate is None


def _identity(build: Path, weights: Path, config: TrainConfig) -> dict[str, Any]:
    """What a training is of: with another, it cannot go on."""
    return {
        "config": config.model_dump(mode="json", exclude=NO_NUMERICS),
        "data": data_hash(build),
        "weights": weights.name,
        "model": _weights_digest(weights),
    }


def _claim(out: Path, identity: dict[str, Any]) -> None:
    """Note what `out` is for; where it holds a result or a checkpoint, check that they are of the same."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / STARTED
    held = (out / RESULT).is_file() or _last_checkpoint(out / "checkpoints") is not None
    if not held or not path.is_file():
        _write_json(path, identity)
        return
    other = [key for key, value in json.loads(path.read_text()).items() if identity.get(key) != value]
    if other:
        raise TutelageError(
            f"{out} holds a training with other {' and '.join(other)}. "
            f"Remove the folder (`rm -r {shlex.quote(str(out))}`) to train anew."
        )


def _weights_digest(weights: Path) -> str:
    """Tells models apart whose folders have one name, by config.json and by parts all over the weights.

    Content alone counts: a copied project goes on with its training. Whole files would take a minute for large models.
    """
    digest = hashlib.sha256()
    for path in sorted([*weights.glob("config.json"), *weights.glob("*.safetensors")]):
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            for part in range(SAMPLES):
                file.seek(size * part // SAMPLES)
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _some(rows: list[Row], config: TrainConfig) -> list[Row]:
    """The first whole traces with at most `eval_rows` rows (but one trace at least)."""
    chosen: list[Row] = []
    for trace in dict.fromkeys(row.trace_id for row in rows if config.eval_rows):
        of_trace = [row for row in rows if row.trace_id == trace]
        if chosen and len(chosen) + len(of_trace) > config.eval_rows:
            break
        chosen += of_trace
    return chosen


def _trainer(
    model: torch.nn.Module,
    steps: StepTrees,
    validation: list[Tree],
    out: Path,
    config: TrainConfig,
    compute: Compute,
    reporter: Reporter,
) -> TreeTrainer:
    cuda = compute.device.type == "cuda"
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(out / "tensorboard")
    args = TrainingArguments(
        output_dir=str(out / "checkpoints"),
        max_steps=len(steps),
        per_device_train_batch_size=1,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=max(1, round(config.warmup * len(steps))) if config.warmup else 0,
        weight_decay=0.0,
        adam_beta2=config.adam_beta2,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_bnb_8bit" if cuda and _installed("bitsandbytes") else "adamw_torch",
        use_cpu=not cuda,
        ddp_backend=processes.backend(),
        bf16=compute.dtype == torch.bfloat16,
        seed=config.seed,
        data_seed=config.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.save_steps,
        save_total_limit=2,
        eval_strategy="steps" if validation else "no",
        eval_steps=config.eval_steps if validation else None,
        metric_for_best_model="eval_loss" if validation and config.patience else None,
        greater_is_better=False,
        report_to=list(config.log_to),
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    callbacks: list[Any] = [reporter]
    if validation and config.patience:
        callbacks.append(EarlyStoppingCallback(config.patience))
    try:
        trainer = TreeTrainer(model=model, args=args, steps=steps, validation=validation, callbacks=callbacks)
    except (RuntimeError, ValueError, ImportError) as error:  # of a tracker that is not installed or not known
        raise TutelageError(
            f"The training could not be set up: {str(error).strip().rstrip('.')}. Mend [train] in tutelage.toml "
            f"(log_to = {json.dumps(config.log_to)}) or install what is missing."
        ) from error
    for printer in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printer)
    return trainer


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Leaves the seconds so far beside each checkpoint: the last file written, so that it marks a whole one."""

    def __init__(self, started: float) -> None:
        self.started = started

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero:
            _write_json(folder / CLOCK, {"seconds": time.monotonic() - self.started})


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; unfinished ones are removed."""
    if not folder.is_dir():
        return None
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in found:
        if not (path / CLOCK).is_file() and processes.leads():
            shutil.rmtree(path)
    return next((path for path in reversed(found) if (path / CLOCK).is_file()), None)


def _write_adapter(model: PeftModel, weights: Path, build: Path, folder: Path) -> None:
    """The PEFT files, tokenizer, what the build was rendered with and, where the family has one, the GGUF adapter."""
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    if model.config.model_type in FAMILIES:
        try:
            convert_adapter(unfinished, weights, unfinished / "adapter.gguf")
        except TutelageError as error:  # of other kinds than plain LoRA: no reason to lose what was trained
            logger.warning("There is no adapter.gguf for llama.cpp. %s", error)
    if (weights / "tokenizer_config.json").is_file():
        AutoTokenizer.from_pretrained(weights).save_pretrained(unfinished)
    for name, saved in (
        ("template.jinja", "chat_template.jinja"),
        *((name, name) for name in (SERVING_FILE, "build.json")),
    ):
        if (build / name).is_file():
            shutil.copyfile(build / name, unfinished / saved)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=2))
    part.replace(path)


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
