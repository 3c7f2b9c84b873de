"""The student's weights for training: a GGUF file dequantised once into a Hugging Face folder.

Transformers can do it too (`from_pretrained(gguf_file=...)`), in about half a minute each time and with a config that
no other program loads; the tests hold the two equal.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from transformers import AutoConfig, GenerationConfig, PreTrainedConfig

from tutelage.errors import TutelageError
from tutelage.render.gguf_header import read_header
from tutelage.render.gguf_tensors import GgufTensors
from tutelage.render.student import save_tokenizer

LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


@dataclass(frozen=True)
class Family:
    """How an architecture's GGUF differs from its Hugging Face form."""

    architecture: str
    permuted: bool  # llama.cpp stores q and k with the two halves of each head interleaved


FAMILIES = {
    "llama": Family("LlamaForCausalLM", permuted=True),
    "qwen2": Family("Qwen2ForCausalLM", permuted=False),
    "qwen3": Family("Qwen3ForCausalLM", permuted=False),
}


def student_weights(gguf_file: Path, cache: Path, on_progress: Callable[[float], None] | None = None) -> Path:
    """The folder under `cache` with the weights in float32, the config and the tokenizer of `gguf_file`.

    Made on the first call, and complete or not there at all. `on_progress` is told the share that is done. Raises
    TutelageError where the file is missing, no GGUF, or of a family other than FAMILIES.
    """
    if not gguf_file.is_file():
        raise TutelageError(f"{gguf_file}: no such file. Name the student's GGUF file.")
    with gguf_file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    folder = cache / f"{gguf_file.stem}-{digest}"
    if folder.is_dir():
        return folder
    header = read_header(gguf_file)
    tensors = GgufTensors(gguf_file).tensors
    config = _config(header, tensors, gguf_file)
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{gguf_file.stem}-", dir=cache))
    try:
        save_file(
            _dequantised(tensors, config, on_progress), unfinished / "model.safetensors", metadata={"format": "pt"}
        )
        config.save_pretrained(unfinished)
        GenerationConfig.from_model_config(config).save_pretrained(unfinished)
        save_tokenizer(gguf_file, unfinished, str(header.get("tokenizer.chat_template", "")))
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # else another process was first
            raise TutelageError(f"{cache}: the student's weights could not be written ({error}).") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def gguf_config(gguf_file: Path) -> PreTrainedConfig:
    """The Hugging Face config of a GGUF file. Raises TutelageError for a family other than FAMILIES."""
    return _config(read_header(gguf_file), GgufTensors(gguf_file).tensors, gguf_file)


def folder_config(folder: Path) -> PreTrainedConfig:
    """The config of a Hugging Face folder. Raises TutelageError where there is none that Transformers knows."""
    if not (folder / "config.json").is_file():
        raise TutelageError(f"{folder}: no model there. Name a Hugging Face folder with config.json.")
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise TutelageError(f"{folder / 'config.json'} cannot be read: {str(error).splitlines()[0]}") from error


def _config(header: Mapping[str, Any], tensors: Sequence[gguf.ReaderTensor], path: Path) -> PreTrainedConfig:
    family = header["general.architecture"]
    if family not in FAMILIES:
        raise TutelageError(f"{path}: family {family} is not one that can be dequantised ({', '.join(FAMILIES)}).")
    scaling = header.get(f"{family}.rope.scaling.type", "none")
    if scaling != "none" or any(tensor.name.startswith("rope_") for tensor in tensors):
        raise TutelageError(
            f"{path} scales its positions, which is not supported yet. Name the model's folder instead."
        )
    heads, hidden = header[f"{family}.attention.head_count"], header[f"{family}.embedding_length"]
    return AutoConfig.for_model(
        family,
        architectures=[FAMILIES[family].architecture],
        vocab_size=len(header["tokenizer.ggml.tokens"]),
        hidden_size=hidden,
        intermediate_size=header[f"{family}.feed_forward_length"],
        num_hidden_layers=header[f"{family}.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=header.get(f"{family}.attention.head_count_kv", heads),
        head_dim=header.get(f"{family}.attention.key_length", hidden // heads),
        max_position_embeddings=header[f"{family}.context_length"],
        rms_norm_eps=header[f"{family}.attention.layer_norm_rms_epsilon"],
        rope_theta=header.get(f"{family}.rope.freq_base", 10000.0),
        bos_token_id=header.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=header.get("tokenizer.ggml.eos_token_id"),
        pad_token_id=header.get("tokenizer.ggml.padding_token_id"),
        tie_word_embeddings=all(tensor.name != "output.weight" for tensor in tensors),
        dtype="float32",
    )


def _dequantised(
    stored: Sequence[gguf.ReaderTensor], config: PreTrainedConfig, on_progress: Callable[[float], None] | None
) -> dict[str, torch.Tensor]:
    permuted = FAMILIES[config.model_type].permuted
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    tensors = {}
    for i, tensor in enumerate(stored):
        name = tensor.name.split(".")[-2]
        weight = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        if permuted and name in heads:
            weight = unpermute(weight, heads[name])
        tensors[target_name(tensor.name)] = torch.from_numpy(np.array(weight, order="C"))
        if on_progress:
            on_progress((i + 1) / len(stored))
    return tensors


def target_name(stored: str) -> str:
    """Hugging Face's name of a tensor that llama.cpp calls `stored`: blk.3.attn_q.weight or token_embd.weight."""
    *block, name, kind = stored.split(".")
    return f"model.layers.{block[1]}.{LAYER[name]}.{kind}" if block else f"{TOP[name]}.{kind}"


def permute(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of a llama q or k matrix (out, in), from Hugging Face's order to llama.cpp's."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def unpermute(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """The inverse of `permute`."""
    return weight.reshape(heads, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
