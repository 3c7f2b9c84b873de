"""The Trainer with its arguments, from the settings."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import EarlyStoppingCallback, PrinterCallback, ProgressCallback

from tutelage.errors import TutelageError
from tutelage.train import processes
from tutelage.train.compute import Compute, installed
from tutelage.train.config import TrainConfig
from tutelage.train.trainer import P, StepPieces, TreeTrainer


def make_trainer(
    model: torch.nn.Module,
    steps: StepPieces[P],
    validation: list[P],
    out: Path,
    config: TrainConfig,
    compute: Compute,
    callbacks: Sequence[TrainerCallback],
) -> TreeTrainer[P]:
    cuda, patient = compute.device.type == "cuda", bool(validation and config.patience)
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
        optim="adamw_bnb_8bit" if cuda and installed("bitsandbytes") and not config.shard else "adamw_torch",
        use_cpu=not cuda,
        ddp_backend=processes.backend(),
        bf16=compute.dtype == torch.bfloat16,
        seed=config.seed,
        data_seed=config.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.eval_steps if patient else config.save_steps,  # what is evaluated may be the best
        save_total_limit=2,
        eval_strategy="steps" if validation else "no",
        eval_steps=config.eval_steps if validation else None,
        load_best_model_at_end=patient,
        metric_for_best_model="eval_loss" if patient else None,
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,  # how long the evaluation loss has not fallen
        report_to=list(config.log_to),
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    stopping = [EarlyStoppingCallback(config.patience)] if patient else []
    try:
        trainer = TreeTrainer(
            model=model, args=args, steps=steps, validation=validation, callbacks=[*callbacks, *stopping]
        )
    except (RuntimeError, ValueError, ImportError) as error:  # of a tracker that is not installed or not known
        raise TutelageError(
            f"The training could not be set up: {str(error).strip().rstrip('.')}. Mend [train] in tutelage.toml "
            f"(log_to = {json.dumps(config.log_to)}) or install what is missing."
        ) from error
    for printer in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printer)
    return trainer
