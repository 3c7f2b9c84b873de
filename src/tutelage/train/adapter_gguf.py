"""A PEFT adapter as the GGUF file that llama.cpp loads at run time."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file
from transformers import AutoConfig

from tutelage.errors import TutelageError
from tutelage.train.weights import FAMILIES, LAYER, permute

NAMES = {module: name for name, module in LAYER.items()}
NOT_PLAIN = ("use_dora", "rank_pattern", "alpha_pattern", "lora_bias", "modules_to_save", "trainable_token_indices")
KEY = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(.+)\.lora_(A|B)\.weight")


def not_plain(settings: Mapping[str, Any]) -> list[str]:
    """Those of PEFT's settings that neither llama.cpp's format nor vLLM can say."""
    biased = ["bias"] if settings.get("bias", "none") != "none" else []
    return [name for name in NOT_PLAIN if settings.get(name)] + biased


def convert_adapter(adapter: Path, weights: Path, out: Path) -> Path:
    """Write the PEFT adapter in the folder `adapter`, trained on the model in the folder `weights`, to the file `out`.

    Raises TutelageError for what llama.cpp's format cannot say or a family that we have not checked.
    """
    settings = json.loads((adapter / "adapter_config.json").read_text())
    config = AutoConfig.from_pretrained(weights)
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise TutelageError(f"{adapter}: adapters for {config.model_type} cannot be converted to GGUF yet.")
    more = not_plain(settings)
    if more:
        raise TutelageError(f"{adapter}: only plain LoRA can be converted to GGUF, without {' and '.join(more)}.")
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    unfinished = out.with_name(out.name + ".part")
    writer = gguf.GGUFWriter(unfinished, config.model_type)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    stretch = settings["r"] ** 0.5 if settings.get("use_rslora") else 1.0  # scaled by alpha / sqrt(r), not alpha / r
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, settings["lora_alpha"] * stretch)
    for key, tensor in sorted(load_file(adapter / "adapter_model.safetensors").items()):
        match = KEY.fullmatch(key)
        if match is None or match[2] not in NAMES:
            raise TutelageError(f"{adapter}: {key} has no place in a GGUF adapter.")
        name, side = NAMES[match[2]], match[3].lower()
        tensor = tensor.astype(np.float32)
        if side == "b" and family.permuted and name in heads:
            tensor = permute(tensor, heads[name])
        writer.add_tensor(f"blk.{match[1]}.{name}.weight.lora_{side}", np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return unfinished.replace(out)
