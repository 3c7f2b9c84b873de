"""LoRA on the student's attention and MLP modules."""

import warnings

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from tutelage.errors import TutelageError
from tutelage.train.config import TrainConfig

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def add_lora(model: PreTrainedModel, config: TrainConfig) -> PeftModel:
    """Freeze `model` and put fresh adapters on it; B is zero, so that it answers as before. Raises TutelageError."""
    layers, first = model.config.num_hidden_layers, config.lora_first_layer
    if first >= layers:
        raise TutelageError(f'tutelage.toml: [train] "lora_first_layer": the student has the layers 0 to {layers - 1}.')
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,  # with dropout, tokens shared by rows could not be computed once
        target_modules=list(MODULES),
        layers_to_transform=list(range(first, layers)) if first else None,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks Transformers by an attribute's old name
        return get_peft_model(model, lora)
