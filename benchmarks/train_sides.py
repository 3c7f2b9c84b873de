"""The two sides of benchmarks/train.py: TRL's SFTTrainer on rows, and Tutelage's TreeTrainer on trees of them.

Both get the same model in the same type, the same fresh adapters, optimizer and schedule.
"""

import logging
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.utils.logging import disable_progress_bar

from tutelage.train.compute import Compute
from tutelage.train.config import TrainConfig
from tutelage.train.fast import speed_up
from tutelage.train.lora import add_lora
from tutelage.train.sft import Sft
from tutelage.train.student import load_student
from tutelage.train.trainer import StepPieces, TreeTrainer
from tutelage.train.tree import Row, Tree

CACHE = Path.home() / ".cache" / "tutelage" / "benchmark"
CONFIG = TrainConfig()
clock = time.perf_counter  # in seconds


@dataclass(frozen=True)
class Course:
    """One side's optimizer steps."""

    seconds: list[float]  # of each step
    losses: list[float]  # of each step
    pieces: list[float]  # of each row, where the side runs rows one by one


class _Stopwatch(TrainerCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.pieces: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.started = self.last = clock()

    def on_substep_end(self, *args: Any, **kwargs: Any) -> None:
        now = clock()
        self.pieces.append(now - self.last)
        self.last = now

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self.on_substep_end()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds.append(clock() - self.started)


def ours(
    weights: Path,
    compute: Compute,
    steps: Sequence[Sequence[Row]],
    tree_tokens: int | None = None,
    checkpointing: bool = False,
) -> Course:
    disable_progress_bar()
    model = _adapted(load_student(weights, compute))
    speed_up(model)
    if checkpointing:
        model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
    return _run_ours(model, compute, StepPieces(steps, Sft(tree_tokens)))


def plain(weights: Path, compute: Compute, steps: Sequence[Sequence[Row]]) -> Course:
    """Ours without a tree: PyTorch's causal attention, each row by itself; what the tree itself costs is beside it."""
    model = _adapted(_load(weights, compute))
    speed_up(model)
    return _run_ours(model, compute, StepPieces(steps, Sft(share=False)))


def trl(weights: Path, compute: Compute, steps: Sequence[Sequence[Row]], checkpointing: bool = False) -> Course:
    """TRL on the same rows: one at a time with accumulation, which was its fastest way on a CPU.

    Its default checkpoints the layers, which is slower: taken only where the rows do not fit otherwise.
    """
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer

    logging.getLogger("trl").setLevel(logging.ERROR)
    disable_progress_bars()
    model = _adapted(_load(weights, compute))
    rows = [
        {"input_ids": row.input_ids.tolist(), "completion_mask": (row.weights > 0).astype(int).tolist()}
        for step in steps
        for row in step
    ]
    (size,) = {len(step) for step in steps}
    watch = _Stopwatch()
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = SFTConfig(
            **_arguments(scratch, compute, len(steps)),
            gradient_accumulation_steps=size,
            gradient_checkpointing=checkpointing,
            max_length=None,
            completion_only_loss=True,
            train_sampling_strategy="sequential",
            shuffle_dataset=False,
        )
        trainer = SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(weights),
            callbacks=[watch],
        )
        _run(trainer)
    return Course(watch.seconds, _losses(trainer), watch.pieces)


def unsloth(weights: Path, compute: Compute, steps: Sequence[Sequence[Row]], checkpointing: bool = False) -> Course:
    """Unsloth's layers, each row by itself."""
    from tutelage.train.unsloth import load_with_unsloth

    config = CONFIG.model_copy(update={"backend": "unsloth", "checkpointing": "layers" if checkpointing else "none"})
    model = load_with_unsloth(weights, config, compute)
    course = _run_ours(model, compute, StepPieces([[row] for step in steps for row in step], Sft(share=False)))
    return Course(course.seconds, course.losses, course.seconds)


def in_own_process(program: str, *arguments: object) -> list[float]:
    """The numbers in the last line that the program prints, run apart so that its peak memory is its own."""
    command = [sys.executable, program, *map(str, arguments)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [float(number) for number in printed.strip().splitlines()[-1].split()]


def sampled(rows: Sequence[Row], count: int) -> list[Row]:
    """So many of the rows, shortest to longest; all where there are fewer."""
    in_order = sorted(rows, key=len)
    at = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [in_order[i] for i in at]


def interpolated(some: Sequence[Row], seconds: Sequence[float], rows: Sequence[Row]) -> float:
    """Seconds for all rows, from those of some: a row's time is a parabola in its length."""
    curve = np.polynomial.Polynomial.fit([len(row) for row in some], seconds, min(2, len(some) - 1))
    return float(sum(curve(len(row)) for row in rows))


def _run_ours(model: PeftModel, compute: Compute, steps: StepPieces[Tree]) -> Course:
    watch = _Stopwatch()
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            **_arguments(scratch, compute, len(steps)), remove_unused_columns=False, dataloader_pin_memory=False
        )
        trainer = TreeTrainer(model=model, args=arguments, steps=steps, validation=[], callbacks=[watch])
        _run(trainer)
    return Course(watch.seconds, _losses(trainer), [])


def _arguments(folder: str, compute: Compute, steps: int) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "max_steps": steps,
        "per_device_train_batch_size": 1,
        "learning_rate": CONFIG.learning_rate,
        "lr_scheduler_type": "constant",
        "adam_beta2": CONFIG.adam_beta2,
        "max_grad_norm": CONFIG.max_grad_norm,
        "optim": "adamw_torch",
        "use_cpu": compute.device.type == "cpu",
        "bf16": compute.dtype == torch.bfloat16,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def _run(trainer: Any) -> None:
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def _losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _load(weights: Path, compute: Compute) -> Any:
    disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=compute.dtype, attn_implementation="sdpa")
    model.config.use_cache = False
    return model.to(compute.device)


def _adapted(model: Any) -> PeftModel:
    set_seed(0)
    return add_lora(model, CONFIG)
