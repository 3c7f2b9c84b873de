"""LoRA on the student's attention and MLP modules."""

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from tutelage.errors import TutelageError
from tutelage.train.config import TrainConfig

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
FUSED = ("qkv_proj", "gate_up_proj")  # the same as one matrix each, in Phi-3
ENDS = {"lm_head", "embed_tokens"}  # one matrix in many students
STARTS = (True, "gaussian")  # of adapters that leave the student as it is


def add_lora(model: PreTrainedModel, config: TrainConfig) -> PeftModel:
    """Freeze `model` and put fresh adapters on it; B is zero, so that it answers as before. Raises TutelageError."""
    layers, first = model.config.get_text_config().num_hidden_layers, config.lora_first_layer
    if first >= layers:
        raise TutelageError(f'tutelage.toml: [train] "lora_first_layer": the student has the layers 0 to {layers - 1}.')
    names = {_last_name(name) for name, _ in _linear(model)}
    targets = [name for name in (*MODULES, *FUSED) if name in names] or list(MODULES)
    given = {"target_modules": targets, **config.lora_options}
    _require_possible(given, model)
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
        raise TutelageError(
            f"tutelage.toml: [train] lora_options: PEFT says: {reason}. "
            f"The student's modules: {', '.join(sorted(names))}."
        ) from error


def _require_possible(given: Mapping[str, Any], model: PreTrainedModel) -> None:
    """Raises TutelageError for options with which rows could not share, or that the student would not fit later."""
    where = "tutelage.toml: [train] lora_options"
    if given.get("lora_dropout"):
        raise TutelageError(f'{where} "lora_dropout": leave it out. Dropout would change what rows share.')
    if given.get("alora_invocation_tokens"):
        raise TutelageError(
            f'{where} "alora_invocation_tokens": leave it out. What comes later in a row would change what rows share.'
        )
    if given.get("init_lora_weights", True) not in STARTS:
        raise TutelageError(
            f'{where} "init_lora_weights": take true or "gaussian". Others change the student\'s own weights, to which '
            "the adapter would not fit afterwards."
        )
    targets = given["target_modules"]
    on = {targets} if isinstance(targets, str) else set(targets)
    bare = on & {_last_name(name) for name, module in _linear(model) if module.bias is None}
    if given.get("lora_bias") and bare:
        raise TutelageError(
            f'{where} "lora_bias": leave it out. The student has no bias at {", ".join(sorted(bare))} to merge one '
            "into, and no engine applies it to requests."
        )
    saved = set() if given.get("ensure_weight_tying") else set(given.get("modules_to_save") or ())
    parted = (on | saved) & ENDS
    if parted and model.config.get_text_config().tie_word_embeddings:
        raise TutelageError(
            f"{where}: the student's head and embeddings are one matrix, which {' and '.join(sorted(parted))} would "
            "part. Name it in modules_to_save, with ensure_weight_tying = true, or leave it out."
        )


def left_without(model: PreTrainedModel, config: TrainConfig) -> set[str]:
    """The matrices of the student's layers that got no adapters, where nobody has chosen which get some.

    Those of experts are named as PEFT takes them, as parameters.
    """
    left: set[str] = set()
    if {"target_modules", "target_parameters"} & config.lora_options.keys():
        return left
    for layer in getattr(model.get_decoder(), "layers", ()):
        left |= {_last_name(name) for name, _ in _linear(layer) if "lora_" not in name and "base_layer" not in name}
        stacked = [name for name, parameter in layer.named_parameters() if parameter.ndim == 3]  # an expert each
        left |= {".".join(name.split(".")[-2:]) for name in stacked if _last_name(name) != "weight"}
    return left


def _linear(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear))


def _last_name(name: str) -> str:
    return name.rpartition(".")[2]


def go_on_from(model: PeftModel, adapter: Path) -> None:
    """Give the model's fresh adapters the weights in the folder `adapter`. Raises TutelageError if they do not fit."""
    try:
        settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        weights = load_file(adapter / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise TutelageError(
            f"{adapter} is no adapter to go on from: {reason}. Name a folder that PEFT saved."
        ) from None
    other = _differences(model, settings, weights)
    if other:
        raise TutelageError(
            f"The adapter {adapter} has another shape than [train] says: {', '.join(other)}. Go on with its own."
        )
    set_peft_model_state_dict(model, weights)


def _differences(model: PeftModel, settings: Mapping[str, object], weights: Mapping[str, Tensor]) -> list[str]:
    """What of the adapter is not as the model's: "lora_rank 8 instead of 16"."""
    ours = model.peft_config["default"]
    scales = {"r": "lora_rank", "lora_alpha": "lora_alpha", "use_rslora": "use_rslora", "use_dora": "use_dora"}
    other = [
        f"{ours_name} {settings.get(name, False)} instead of {getattr(ours, name)}"
        for name, ours_name in scales.items()
        if settings.get(name, False) != getattr(ours, name)  # older files of PEFT's do not name what is off
    ]
    shapes = {name: tensor.shape for name, tensor in get_peft_model_state_dict(model).items()}
    if not other and shapes != {name: tensor.shape for name, tensor in weights.items()}:
        there, here = ({name.split(".lora_")[0] for name in names} for names in (weights, shapes))
        examples = sorted(there ^ here) or sorted(shapes)
        other.append(f"its modules are not the same ({len(there)} instead of {len(here)}; {examples[0]} differs)")
    return other
