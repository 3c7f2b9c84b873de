"""Tiny random models and rows of the shape that unrolled traces have."""

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, Qwen3Config

from tutelage.train import attention
from tutelage.train.config import TrainConfig
from tutelage.train.lora import add_lora
from tutelage.train.tree import Row

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


def tiny(family: str, attn: str = attention.NAME) -> PreTrainedModel:
    torch.manual_seed(0)
    config = {"llama": LlamaConfig, "qwen3": Qwen3Config}[family](**SHAPE)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attn)
    return model.eval()


def with_random_lora(model: PreTrainedModel, rank: int = 4, first_layer: int = 0) -> PeftModel:
    """Adapters whose B is not zero: else A's gradients all are."""
    torch.manual_seed(1)
    adapted = add_lora(model, TrainConfig(lora_rank=rank, lora_alpha=2 * rank, lora_first_layer=first_layer))
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
