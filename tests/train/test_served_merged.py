"""What an engine cannot switch is served merged."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from test_adapter_gguf import PROMPTS, first_logprobs, server_logprobs
from train_samples import tiny, unrolled, with_random_lora
from transformers import AutoModelForCausalLM, AutoTokenizer

from tutelage.cli.serve import merged_for_vllm
from tutelage.endpoint.student import student_endpoint
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.render.trained import is_served_whole, served_file
from tutelage.train.stage import run_training, with_train

TIED = {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}


@pytest.mark.slow
def test_weights_taken_apart_are_trained_and_served(shop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(shop, folder)
    options = {"use_dora": True, "target_modules": ["q_proj", "down_proj"]}
    one_step = {"rows_per_step": 100, "eval_rows": 0, "warmup": 0, "learning_rate": 0.05, "lora_first_layer": 20}
    project = with_train(Project.open(folder), lora_options=options, **one_step)
    run_training(project, folder / "dataset", folder / "training")
    adapter = folder / "training" / "adapter"
    assert is_served_whole(adapter)
    assert not (adapter / "adapter.gguf").exists()
    weights = folder / "weights"
    base = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert Path(base).is_relative_to(weights)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompts = [tokenizer.encode(prompt, add_special_tokens=False) for prompt in PROMPTS]
    before = [first_logprobs(plain, ids) for ids in prompts]
    adapted = PeftModel.from_pretrained(plain, adapter)
    off: list[list[float]] = []  # by prompt: of the trained student, and of the one before
    with student_endpoint(project, served_file(adapter)) as endpoint:
        for ids, untouched in zip(prompts, before, strict=True):
            ours, theirs = first_logprobs(adapted, ids), server_logprobs(endpoint.url, ids, 1.0)
            off.append(
                [
                    max(abs(logprobs[token].item() - logprob) for token, logprob in theirs.items())
                    for logprobs in (ours, untouched)
                ]
            )
    trained, untrained = np.sum(off, 0)
    assert trained < untrained / 2, off
    assert np.max(off, 0)[0] < 0.5, off


def test_vllm_is_given_the_merged_model_where_it_cannot_apply_the_adapter(tmp_path: Path) -> None:
    for kind, options in (
        ("plain", {}),
        ("scaled", {"use_rslora": True}),
        ("apart", {"use_dora": True}),
        ("tied", TIED),
    ):
        base = tmp_path / kind / "weights"
        tiny("llama", "sdpa").save_pretrained(base)
        (base / "tokenizer.json").write_text("{}")
        model = with_random_lora(AutoModelForCausalLM.from_pretrained(base), options=dict(options))
        adapter = tmp_path / kind / "training" / "adapter"
        model.save_pretrained(adapter)
        merged = merged_for_vllm(adapter)
        assert merged == (tmp_path / kind / "training" / "merged" if kind in ("apart", "tied") else None)
        if merged:
            ids = torch.from_numpy(unrolled(traces=1)[0].input_ids)[None]
            with torch.no_grad():
                found = AutoModelForCausalLM.from_pretrained(merged)(ids).logits
                torch.testing.assert_close(found, model(input_ids=ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["lm_head"], "ensure_weight_tying": True},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": "lm_head"},
    ],
)
def test_a_head_that_is_the_embeddings_too_learns_only_together_with_them(options: dict[str, object]) -> None:
    with pytest.raises(
        TutelageError, match=r"are one matrix, which lm_head would part\. Name it in modules_to_save, with ensure"
    ):
        with_random_lora(tiny("llama"), options=dict(options))
