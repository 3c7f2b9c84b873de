"""The student with Unsloth's kernels, for one GPU: its layers are its own, so that rows are computed one by one."""

from pathlib import Path

import torch
from peft import PeftModel

from tutelage.errors import TutelageError
from tutelage.train.compute import Compute, installed
from tutelage.train.config import TrainConfig
from tutelage.train.lora import MODULES


def require_unsloth(config: TrainConfig) -> None:
    """Raises TutelageError with how to get it, or what it cannot do."""
    if not torch.cuda.is_available():
        raise TutelageError('[train] backend "unsloth" needs a CUDA GPU, and none is here: leave it out.')
    if not installed("unsloth"):
        raise TutelageError(
            'The backend "unsloth" is not installed. Install it beside your CUDA build of PyTorch: pip install unsloth'
        )
    if config.method == "full" or config.adapter or config.lora_options or config.lora_first_layer:
        raise TutelageError(
            '[train] backend "unsloth" makes fresh plain adapters on all layers: leave out adapter, lora_options, '
            'lora_first_layer and method "full".'
        )


def load_with_unsloth(weights: Path, config: TrainConfig, compute: Compute) -> PeftModel:
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(
        str(weights), dtype=compute.dtype, load_in_4bit=config.method == "qlora", max_seq_length=None
    )
    return FastLanguageModel.get_peft_model(
        model,
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules=list(MODULES),
        lora_dropout=0,
        bias="none",
        use_gradient_checkpointing="unsloth" if config.computes_again else False,
        random_state=config.seed,
    )
