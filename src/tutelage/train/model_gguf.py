"""A whole model, as full fine-tuning leaves it, as the GGUF file that llama.cpp serves."""

from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoConfig

from tutelage.render.gguf_tensors import GgufTensors, copy_keys
from tutelage.train.weights import FAMILIES, permute, target_name

BLOCK = 32  # numbers that share a scale in Q8_0


def convert_model(model: Path, origin: Path, out: Path) -> Path:
    """Write the weights in the folder `model` to the file `out`; all else is as in `origin`, the file they began as.

    Matrices are rounded to 8 bits (Q8_0), a 256th of each 32 numbers' largest, so that serving keeps what was learnt.
    """
    config = AutoConfig.from_pretrained(model)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    permuted = FAMILIES[config.model_type].permuted
    reader = GgufTensors(origin)
    unfinished = out.with_name(out.name + ".part")
    writer = gguf.GGUFWriter(unfinished, config.model_type)
    copy_keys(origin, reader, writer, gguf.LlamaFileType.MOSTLY_Q8_0)
    with safe_open(model / "model.safetensors", framework="pt") as weights:
        for tensor in reader.tensors:
            weight = weights.get_tensor(target_name(tensor.name)).float().numpy()
            name = tensor.name.split(".")[-2]
            if permuted and name in heads:
                weight = permute(weight, heads[name])
            _add(writer, tensor.name, np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return unfinished.replace(out)


def _add(writer: gguf.GGUFWriter, name: str, weight: NDArray[np.float32]) -> None:
    if weight.ndim < 2 or weight.shape[-1] % BLOCK:
        writer.add_tensor(name, weight)
        return
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf.quantize(weight, kind), raw_dtype=kind)
