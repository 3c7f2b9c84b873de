import json
from pathlib import Path

import pytest

from tutelage.errors import TutelageError
from tutelage.publish.merge import merge_adapter


def make_adapter(folder: Path) -> Path:
    """A tiny Llama and an adapter whose B is not zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    (folder / "base" / "tokenizer.json").write_text("{}")
    model = get_peft_model(
        LlamaForCausalLM.from_pretrained(folder / "base"), LoraConfig(r=4, target_modules=["q_proj", "down_proj"])
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder / "adapter")
    return folder / "adapter"


def test_the_merged_model_computes_what_base_and_adapter_do(tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = make_adapter(tmp_path)
    (adapter / "tokenizer.json").write_text('{"own": true}')
    out = merge_adapter(adapter, tmp_path / "merged")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    ids = torch.arange(20)[None]
    with torch.no_grad():
        untouched = base(ids).logits
        expected = PeftModel.from_pretrained(base, adapter)(ids).logits
        found = AutoModelForCausalLM.from_pretrained(out)(ids).logits
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, untouched, atol=1e-3)
    assert json.loads((out / "tokenizer.json").read_text()) == {"own": True}


def test_a_finished_merge_is_kept_until_the_adapter_changes(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path)
    out = merge_adapter(adapter, tmp_path / "merged")
    written = (out / "config.json").stat().st_mtime_ns
    assert merge_adapter(adapter, out) == out
    assert (out / "config.json").stat().st_mtime_ns == written


def test_a_folder_without_an_adapter_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match="Run `tutelage train` first"):
        merge_adapter(tmp_path, tmp_path / "merged")
