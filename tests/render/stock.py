"""The stock templates that rendering is exact for, or refuses: their texts, and TRL's with generation marks.

Those that Tutelage may ship stand in its folder; the others are read from the package trl.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import tokenizers

from tutelage.render.student import TEMPLATES, Tokenizer, embedded_gguf, load_tokenizer

CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
LLAMA = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>")
GEMMA_4 = (
    *("<bos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>"),
    *("<|tool_response>", "<tool_response|>", '<|"|>', "<|think|>"),
)
GLM = ("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>", "<|endoftext|>")
HARMONY = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|call|>", "<|return|>", "<|constrain|>")
LFM = (
    *("<|startoftext|>", "<|tool_call_start|>", "<|tool_call_end|>", "<|tool_list_start|>", "<|tool_list_end|>"),
    *("<|tool_response_start|>", "<|tool_response_end|>", *CHATML),
)


@dataclass(frozen=True)
class Stock:
    """One stock template; `special` are the special tokens of the family's tokenizer that it writes."""

    name: str
    special: tuple[str, ...]
    like: str = ""  # the template with the same answers, where TRL knows only that one

    @property
    def text(self) -> str:
        shipped = TEMPLATES / f"{self.name}.jinja"
        return (shipped if shipped.is_file() else trl_templates() / shipped.name).read_text(encoding="utf-8")

    @property
    def training(self) -> str | None:
        """TRL's template with generation marks, its own text but for the marks; None where it has none."""
        path = trl_templates() / f"{self.name}_training.jinja"
        if path.is_file():
            return path.read_text(encoding="utf-8")
        return self.text if "endgeneration" in self.text else None

    def tokenizer(self) -> Tokenizer:
        """The embedded model's tokenizer, with this family's special tokens."""
        return _tokenizer(self.special)


@lru_cache
def _tokenizer(special: tuple[str, ...]) -> Tokenizer:
    base = load_tokenizer(embedded_gguf())
    inner = tokenizers.Tokenizer.from_str(base.inner.to_str())
    inner.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in special])
    return Tokenizer(inner, base.bos, base.eos)


STOCK = (
    *(Stock(name, CHATML) for name in ("qwen2_5", "qwen3", "qwen3_instruct_2507")),
    Stock("qwen3_thinking_2507", CHATML, like="qwen3"),
    *(Stock(name, CHATML) for name in ("qwen3_5_think", "qwen3_5_nothink", "qwen3_6", "qwen3_8", "smollm2")),
    *(Stock(name, LLAMA) for name in ("llama3", "llama3_1", "llama3_2")),
    Stock("gemma3", ("<bos>", "<start_of_turn>", "<end_of_turn>")),
    *(Stock(name, GEMMA_4) for name in ("gemma4", "gemma4_v4", "gemma4_v5")),
    Stock("glm4moe", GLM),
    Stock("gptoss", HARMONY),
    *(Stock(name, LFM) for name in ("lfm2", "lfm2_v2", "lfm2_2_5", "lfm2_2_5_v2")),
)


def trl_templates() -> Path:
    spec = importlib.util.find_spec("trl")
    assert spec and spec.origin, "trl is not installed"
    return Path(spec.origin).parent / "chat_templates"
