"""LoRA on the student's attention and MLP modules."""

import warnings

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from tutelage.errors import TutelageError
from tutelage.train.config import TrainConfig

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
STARTS = (True, "gaussian")  # of adapters that leave the student as it is


def add_lora(model: PreTrainedModel, config: TrainConfig) -> PeftModel:
    """Freeze `model` and put fresh adapters on it; B is zero, so that it answers as before. Raises TutelageError."""
    layers, first = model.config.get_text_config().num_hidden_layers, config.lora_first_layer
    if first >= layers:
        raise TutelageError(f'tutelage.toml: [train] "lora_first_layer": the student has the layers 0 to {layers - 1}.')
    given = {"target_modules": list(MODULES), **config.lora_options}
    if given.get("lora_dropout"):
        raise TutelageError(
            'tutelage.toml: [train] lora_options "lora_dropout": leave it out. Dropout would change what rows share.'
        )
    if given.get("init_lora_weights", True) not in STARTS:
        raise TutelageError(
            'tutelage.toml: [train] lora_options "init_lora_weights": take true or "gaussian". Others change the '
            "student's own weights, to which the adapter would not fit afterwards."
        )
    try:
        lora = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            layers_to_transform=list(range(first, layers)) if first else None,
            task_type="CAUSAL_LM",
            **given,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT asks Transformers by an attribute's old name
            return get_peft_model(model, lora)
    except (TypeError, ValueError) as error:  # of unknown options, and of modules that the student does not have
        reason = str(error).removeprefix("LoraConfig.__init__() ").splitlines()[0].rstrip(".")
        names = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        raise TutelageError(
            f"tutelage.toml: [train] lora_options: PEFT says: {reason}. "
            f"The student's modules: {', '.join(sorted(names))}."
        ) from error
