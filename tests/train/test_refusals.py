"""What a training refuses, or falls back from, before it would come out wrong."""

from pathlib import Path

import numpy as np
import pytest
from train_samples import SHAPE, build_of, tiny, unrolled
from train_settings import CONFIG
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, LlamaConfig

from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.train import attention, compute, processes
from tutelage.train.compute import Compute
from tutelage.train.run import load_result, train
from tutelage.train.sharing import why_not_shared
from tutelage.train.stage import plan_training, run_training
from tutelage.train.tree import Row


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    tiny("llama", "sdpa").save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def test_a_build_for_a_student_with_more_words_is_refused(weights: Path, tmp_path: Path) -> None:
    build = build_of(tmp_path / "build", unrolled(traces=2, vocabulary=200))
    with pytest.raises(TutelageError, match=r"has the token \d+, and the student knows 64: .* for another one"):
        train(build, weights, tmp_path / "out", CONFIG)


def test_a_build_with_another_students_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tutelage.toml").write_text('name = "changed"\n')
    build = build_of(tmp_path / "build", unrolled(traces=2))
    (build / "build.json").write_text('{"tokenizer_sha256": "0", "student": "other.gguf"}')
    project = Project.open(tmp_path)
    for stage in (plan_training, lambda project, build: run_training(project, build, tmp_path / "out")):
        with pytest.raises(TutelageError, match=r'was built for the student "other\.gguf", whose tokens are not those'):
            stage(project, build)
    assert not (tmp_path / "out").exists()


def test_a_row_that_teaches_nothing_is_refused(weights: Path, tmp_path: Path) -> None:
    nothing = Row(np.arange(3, 9), np.zeros(6, np.float32), "empty", 4)
    build = build_of(tmp_path / "build", [*unrolled(traces=2), nothing])
    with pytest.raises(TutelageError, match='Step 4 of trace "empty" teaches nothing'):
        train(build, weights, tmp_path / "out", CONFIG)


def test_a_loss_that_is_no_number_ends_the_training(weights: Path, tmp_path: Path) -> None:
    build = build_of(tmp_path / "build", unrolled(traces=8))
    with pytest.raises(TutelageError, match=r"The loss of step \d is no number \(nan\)"):
        train(build, weights, tmp_path / "out", CONFIG.model_copy(update={"learning_rate": 1e30}))
    assert not (tmp_path / "out" / "train.json").exists()


def test_patience_without_an_evaluation_loss_is_refused(weights: Path, tmp_path: Path) -> None:
    build = build_of(tmp_path / "build", unrolled(traces=2), validation=0)
    with pytest.raises(TutelageError, match='"patience" stops by the evaluation loss'):
        train(build, weights, tmp_path / "out", CONFIG.model_copy(update={"patience": 2}))


def test_a_training_goes_on_in_the_type_that_it_began_with(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = build_of(tmp_path / "build", unrolled(traces=8))
    asked: list[str] = []
    real = processes.measured

    def measured(dtype: compute.Dtype) -> Compute:
        asked.append(dtype)
        return real("bf16" if dtype == "auto" else dtype)

    monkeypatch.setattr(processes, "measured", measured)
    with pytest.raises(ZeroDivisionError):
        train(build, weights, tmp_path / "out", CONFIG, lambda progress: 1 / max(0, 3 - progress.step))  # type: ignore[arg-type, return-value]
    train(build, weights, tmp_path / "out", CONFIG)
    assert asked == ["auto", "bf16"]
    assert load_result(tmp_path / "out").dtype == "bfloat16"


def test_other_settings_are_named(weights: Path, tmp_path: Path) -> None:
    build = build_of(tmp_path / "build", unrolled(traces=2))
    train(build, weights, tmp_path / "out", CONFIG)
    with pytest.raises(TutelageError, match=r"a training with other \[train\] lora_rank\. Remove"):
        train(build, weights, tmp_path / "out", CONFIG.model_copy(update={"lora_rank": 2}))


def test_logits_that_are_capped_or_scaled_are_found_out_by_trying() -> None:
    model = AutoModelForCausalLM.from_config(Gemma2Config(**SHAPE), attn_implementation="eager").requires_grad_(False)
    model.config.get_text_config().final_logit_softcapping = None  # what the model was made with, it does all the same
    for name, module in model.named_modules():
        if name == "lm_head":
            module.register_forward_hook(lambda module, args, out: 2 * out)  # a scale of another name
    with pytest.raises(TutelageError, match="more than its head makes"):
        why_not_shared(model)


def test_positions_that_depend_on_the_longest_row_are_not_shared() -> None:
    half = [1.0] * 4
    rope = {"rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": half, "long_factor": [9.0] * 4}
    config = LlamaConfig(**SHAPE, rope_parameters={**rope, "original_max_position_embeddings": 64})
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention.NAME).requires_grad_(False)
    assert why_not_shared(model) == "its positions are rotated by the length of what is computed together"


def test_a_student_whose_layers_go_by_another_name_is_trained(tmp_path: Path) -> None:
    shape = {"vocab_size": 64, "n_embd": 24, "n_layer": 2, "n_head": 2, "bos_token_id": 1, "eos_token_id": 2}
    config = GPT2Config(**shape, n_positions=512, attn_pdrop=0, resid_pdrop=0, embd_pdrop=0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "weights")
    build = build_of(tmp_path / "build", unrolled(traces=2))
    modules = CONFIG.model_copy(update={"lora_options": {"target_modules": ["c_attn", "c_fc"]}})
    result = train(build, tmp_path / "weights", tmp_path / "out", modules)
    assert np.isfinite(result.losses).all()
