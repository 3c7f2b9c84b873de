"""Qwen's own vocabulary, read from the package dashscope, and a Qwen3 of toy size that llama.cpp serves with it."""

import base64
import importlib.util
import json
from pathlib import Path

import gguf
import numpy as np
from transformers.convert_slow_tokenizer import TikTokenConverter

from tutelage.render.student import CONTROL, QWEN_PIECES, USER_DEFINED

# Qwen3's added tokens in their order, from 151643; those of the first row are special.
SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
OTHERS = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
)
WIDTH = 32  # of everything in the toy


def write_toy_qwen3(path: Path) -> None:
    """A random Qwen3 of one block, with the whole vocabulary, as a GGUF file of 10 MB."""
    model = _byte_pairs()
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    assert len(tokens) == 151_643
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_block_count(1)
    writer.add_context_length(4096)
    for add in (writer.add_embedding_length, writer.add_feed_forward_length, writer.add_key_length):
        add(WIDTH)
    writer.add_value_length(WIDTH)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*tokens, *SPECIAL, *OTHERS])
    writer.add_token_types([1] * len(tokens) + [CONTROL] * len(SPECIAL) + [USER_DEFINED] * len(OTHERS))
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    writer.add_eos_token_id(len(tokens) + SPECIAL.index("<|im_end|>"))
    writer.add_bos_token_id(len(tokens))
    writer.add_add_bos_token(False)
    _add_tensors(writer, len(tokens) + len(SPECIAL) + len(OTHERS))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _byte_pairs() -> dict:
    """Vocabulary and merges of the ranks in qwen.tiktoken, as the model of a tokenizer.json."""
    spec = importlib.util.find_spec("dashscope")
    assert spec and spec.origin, "dashscope is not installed"
    ranks = Path(spec.origin).parent / "resources" / "qwen.tiktoken"
    return json.loads(_Ranks(str(ranks), QWEN_PIECES).converted().to_str())["model"]


class _Ranks(TikTokenConverter):
    """Reads the file without the package tiktoken."""

    @staticmethod
    def load_tiktoken_bpe(tiktoken_url: str) -> dict[bytes, int]:
        lines = (line.split() for line in Path(tiktoken_url).read_bytes().splitlines())
        return {base64.b64decode(token): int(rank) for token, rank in lines}


def _add_tensors(writer: gguf.GGUFWriter, vocabulary: int) -> None:
    random = np.random.default_rng(0)
    writer.add_tensor("token_embd.weight", random.standard_normal((vocabulary, WIDTH)).astype(np.float16))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", random.standard_normal((WIDTH, WIDTH)).astype(np.float16))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "blk.0.attn_q_norm", "blk.0.attn_k_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))
