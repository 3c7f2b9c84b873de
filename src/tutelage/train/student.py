"""The student as it is trained: loaded, with what learns on it, and made fast."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel, set_seed

from tutelage.errors import MissingExtra, TutelageError
from tutelage.train import attention
from tutelage.train.compute import Compute, installed
from tutelage.train.config import TrainConfig
from tutelage.train.fast import speed_up
from tutelage.train.hybrid import follow_branches
from tutelage.train.last_layer import spare_last_mlp
from tutelage.train.lora import add_lora, go_on_from, left_without
from tutelage.train.shards import divide
from tutelage.train.sharing import why_not_shared
from tutelage.train.trunk import keep_trunks
from tutelage.train.unsloth import load_with_unsloth, require_unsloth
from tutelage.train.weights import folder_config

logger = logging.getLogger(__name__)
Trained: TypeAlias = "PeftModel | PreTrainedModel"  # with adapters that learn, or with weights that do


def prepare(weights: Path, config: TrainConfig, compute: Compute) -> tuple[Trained, bool]:
    """The student as `config.method` trains it, made fast, and whether it runs over trees."""
    set_seed(config.seed)
    if config.backend == "unsloth":
        return load_with_unsloth(weights, config, compute), False
    first = replace(compute, device=torch.device("cpu")) if config.shard else compute  # a GPU may not hold it whole
    student = load_student(weights, first, config.method)
    model, separate = equip(student, config)
    left = left_without(student, config) if isinstance(model, PeftModel) else set()
    if left:
        logger.warning(
            "Nothing is learnt in the layers' %s: name them in [train] lora_options (matrices as target_modules, "
            "experts as target_parameters) to put adapters on them too.",
            ", ".join(sorted(left)),
        )
    if config.adapter and isinstance(model, PeftModel):
        go_on_from(model, Path(config.adapter))
    if separate:
        logger.warning("This student cannot share what rows have in common (%s): each is computed alone.", separate)
    if config.computes_again:
        student.activation_checkpointing_enable({"use_reentrant": False}, offload=config.checkpointing == "offload")
    if config.shard:
        divide(student, compute.device)
    return model, separate is None


def equip(student: PreTrainedModel, config: TrainConfig) -> tuple[Trained, str | None]:
    """The student with what learns on it, made fast; and why its rows are computed one by one, if they are."""
    model: Trained = student if config.method == "full" else add_lora(student, config)
    separate = why_not_shared(student)
    if separate is None:
        spare_last_mlp(student)
        if isinstance(model, PeftModel):
            keep_trunks(student)
    if isinstance(model, PeftModel):
        speed_up(model)
    return model, separate


def load_student(weights: Path, compute: Compute, method: str = "lora") -> PreTrainedModel:
    """The model in the folder, attending over trees; in the compute type, or in float32 where its weights learn."""
    config = folder_config(weights)
    options: dict[str, Any] = {"dtype": torch.float32 if method == "full" else compute.dtype}
    if method == "qlora":
        options |= {"quantization_config": in_4_bits(compute.dtype), "device_map": {"": compute.device}}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            weights, config=config, attn_implementation=attention.NAME, **options
        )
    except (OSError, ValueError) as error:  # of missing weights, and of what is no language model
        raise TutelageError(f"{weights}: the model cannot be loaded: {str(error).splitlines()[0]}") from error
    model.config.use_cache = False
    follow_branches(model)
    return model if method == "qlora" else model.to(compute.device)


def in_4_bits(dtype: torch.dtype) -> BitsAndBytesConfig:
    """QLoRA's own choice (arXiv 2305.14314): normal floats, their scales quantised too, products in `dtype`."""
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def require_possible(config: TrainConfig) -> None:
    """Raises TutelageError for settings that exclude each other or lack a library."""
    if config.backend == "unsloth":
        require_unsloth(config)
    if config.method == "full" and config.adapter:
        raise TutelageError('[train] method "full" trains no adapter to go on from: leave "adapter" out, or merge it.')
    if config.objective == "dpo" and config.datasets:
        raise TutelageError('[[train.datasets]] hold rows and no pairs: leave them out of a training with "dpo".')
    if config.method == "qlora" and not installed("bitsandbytes"):
        raise MissingExtra("bitsandbytes", "qlora")
    if config.checkpointing == "offload" and not torch.cuda.is_available():
        raise TutelageError(
            '[train] checkpointing "offload" moves to main memory what a GPU cannot hold, and no GPU is here: '
            'choose "layers".'
        )
