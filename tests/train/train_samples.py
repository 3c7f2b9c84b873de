"""Tiny random models and rows of the shape that unrolled traces have."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from peft import PeftModel
from pydantic import JsonValue
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GptOssConfig,
    GraniteConfig,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

from tutelage.train import attention
from tutelage.train.config import TrainConfig
from tutelage.train.hybrid import follow_branches
from tutelage.train.lora import add_lora
from tutelage.train.loss import tree_logprobs
from tutelage.train.progress import Progress
from tutelage.train.tree import Row, Tree

VOCABULARY = 64
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


WINDOW = 9  # of the families that have one: shorter than most rows
FAMILIES: dict[str, tuple[type[PreTrainedConfig], dict[str, object]]] = {
    "llama": (LlamaConfig, {}),
    "qwen2": (Qwen2Config, {}),
    "qwen3": (Qwen3Config, {}),
    "qwen3_moe": (Qwen3MoeConfig, {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
    "gemma": (GemmaConfig, {}),
    "gemma3": (Gemma3TextConfig, {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}),
    "mistral": (MistralConfig, {"sliding_window": WINDOW}),
    "qwen3_5": (
        Qwen3_5TextConfig,
        {
            "num_hidden_layers": 4,
            "layer_types": ["linear_attention"] * 3 + ["full_attention"],
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
        },
    ),
    "granite": (GraniteConfig, {"logits_scaling": 4.0, "attention_multiplier": 0.2}),
    # Not made for trees: layers of another kind; sinks, and no SDPA; capped scores.
    "lfm2": (Lfm2Config, {"layer_types": ["conv", "full_attention"]}),
    "gpt_oss": (GptOssConfig, {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "gemma2": (Gemma2Config, {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 5.0, "sliding_window": WINDOW}),
}
SEPARATE = {"lfm2", "gpt_oss", "gemma2"}


def tiny(family: str, attn: str = attention.NAME, **other: object) -> PreTrainedModel:
    torch.manual_seed(0)
    config, peculiar = FAMILIES[family]
    model = AutoModelForCausalLM.from_config(config(**{**SHAPE, **peculiar, **other}), attn_implementation=attn)
    if attn == attention.NAME:
        follow_branches(model)
    return model.eval()


def with_random_lora(
    model: PreTrainedModel,
    rank: int = 4,
    first_layer: int = 0,
    options: dict[str, JsonValue] | None = None,
) -> PeftModel:
    """Adapters whose B is not zero: else A's gradients all are. `options` are PEFT's."""
    torch.manual_seed(1)
    options = options or {}
    config = TrainConfig(lora_rank=rank, lora_alpha=2 * rank, lora_first_layer=first_layer, lora_options=options)
    adapted = add_lora(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return adapted


def unrolled(
    traces: int, seed: int = 0, shared: int = 30, steps: int = 4, part: int = 6, vocabulary: int = VOCABULARY
) -> list[Row]:
    """Rows as of traces that share a system prompt; each row goes on from a history told a little differently."""
    draw = np.random.default_rng(seed)
    prompt = draw.integers(3, vocabulary, shared)
    rows = []
    for trace in range(traces):
        history = np.concatenate([prompt, draw.integers(3, vocabulary, part)])
        for step in range(steps):
            completion = draw.integers(3, vocabulary, part)
            ids = np.concatenate([history, completion])
            weights = np.zeros(len(ids), np.float32)
            weights[len(history) :] = draw.choice([0.5, 1.0])
            rows.append(Row(ids, weights, f"trace-{trace}", step))
            history = np.concatenate(
                [history, completion[: part // 2 + step % 2 * part], draw.integers(3, vocabulary, part)]
            )
    return rows


def write_rows(path: Path, rows: list[Row]) -> None:
    columns = {
        "input_ids": pa.array([row.input_ids for row in rows], pa.list_(pa.int32())),
        "weights": pa.array([row.weights for row in rows], pa.list_(pa.float32())),
        "trace_id": [row.trace_id for row in rows],
        "step": pa.array([row.step for row in rows], pa.int32()),
    }
    pq.write_table(pa.table(columns), path)


def write_pairs(path: Path, rows: list[Row]) -> None:
    """Rows of pairs, chosen and rejected in turn."""
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    columns = {
        "id": pa.array([chosen.trace_id for chosen, _ in pairs], pa.string()),
        "step": pa.array([chosen.step for chosen, _ in pairs], pa.int32()),
    }
    for i, side in enumerate(("chosen", "rejected")):
        columns[f"{side}_input_ids"] = pa.array([pair[i].input_ids for pair in pairs], pa.list_(pa.int32()))
        columns[f"{side}_weights"] = pa.array([pair[i].weights for pair in pairs], pa.list_(pa.float32()))
    pq.write_table(pa.table(columns), path)


def operations(model: PreTrainedModel, tree: Tree) -> int:
    """How many floating-point operations the log-probabilities of a tree take."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tree_logprobs(model, tree)
    count: int = counter.get_total_flops()
    return count


def build_of(folder: Path, rows: list[Row], validation: int = 2) -> Path:
    """A folder as `dataset build` leaves it, with so many traces to validate by."""
    folder.mkdir()
    write_rows(folder / "train.parquet", rows)
    write_rows(folder / "validation.parquet", unrolled(traces=validation, seed=7) if validation else [])
    return folder


def interrupt_at(step: int) -> Callable[[Progress], None]:
    """An `on_progress` that presses Ctrl-C after so many steps."""
    pressed: list[int] = []

    def report(progress: Progress) -> None:
        if progress.step == step and not pressed:  # once: an evaluation reports the same step again
            pressed.append(step)
            os.kill(os.getpid(), signal.SIGINT)

    return report
