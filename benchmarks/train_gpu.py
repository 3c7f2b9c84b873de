"""The part of benchmarks/train.py for GPUs (`--gpu`): a student of 4 billion parameters on rows of up to 32,000 tokens.

Weights are random, since speed does not depend on them: Qwen3-4B's shape in bf16, LoRA on all its matrices, layers
checkpointed on every side. Each side (ours, TRL's SFTTrainer, Unsloth where it is installed) runs in a process of its
own, so that its peak is its own. TRL and Unsloth run rows one by one: five of them, shortest to longest, are timed and
the others read off a parabola through them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Qwen3Config

from train_shapes import real_rows
from train_sides import CACHE, in_own_process, interpolated, ours, sampled, trl, unsloth
from tutelage.render.student import embedded_gguf, save_tokenizer
from tutelage.train.compute import installed, measure

STEPS = 40  # of the trace: its longest row has some 32,000 tokens
QWEN3_4B = Qwen3Config(
    vocab_size=151_936,
    hidden_size=2_560,
    intermediate_size=9_728,
    num_hidden_layers=36,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    max_position_embeddings=262_144,
    tie_word_embeddings=True,
)


def figures(config: Qwen3Config = QWEN3_4B, steps: int = STEPS) -> Iterator[tuple[str, float]]:
    """tokens_per_second_ours, peak_gib_ours, and the same of trl and unsloth: a step's unrolled tokens over its time"""
    weights = random_weights(config, CACHE / f"random-{config.num_hidden_layers}x{config.hidden_size}")
    for side in ("ours", "trl", *(["unsloth"] if installed("unsloth") else [])):
        speed, peak = in_own_process(__file__, side, weights, steps)
        yield f"tokens_per_second_{side}", speed
        yield f"peak_gib_{side}", peak


def random_weights(config: Qwen3Config, folder: Path) -> Path:
    """The folder of a model of that shape, with a tokenizer beside it (TRL wants one); made once."""
    if not (folder / "tokenizer.json").is_file():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
        save_tokenizer(embedded_gguf(), folder, "{{ messages }}")
    return folder


def measured(side: str, weights: Path, steps: int) -> tuple[float, float]:
    """Tokens a second and GiB at the peak, in this process."""
    compute = measure()
    rows = real_rows(1, steps, 1, 1.0)
    if side == "ours":
        seconds = min(ours(weights, compute, [rows] * 2, checkpointing=True).seconds)
    else:
        some = sampled(rows, 5)
        others = {"trl": trl, "unsloth": unsloth}[side](weights, compute, [some] * 2, checkpointing=True)
        seconds = interpolated(some, others.pieces[len(some) :], rows)  # of the second step: the first warms up
    peak = torch.cuda.max_memory_allocated() / 2**30 if compute.device.type == "cuda" else 0.0
    return sum(map(len, rows)) / seconds, peak


if __name__ == "__main__":
    print(*measured(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
