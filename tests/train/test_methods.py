"""Full fine-tuning, QLoRA and checkpointing against the plain way."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from test_tree_equality import TOLERANCE, assert_equal, by_tree, gradients, row_by_row
from train_samples import SHAPE, build_of, interrupt_at, tiny, unrolled, with_random_lora
from train_settings import CONFIG
from transformers import AutoModelForCausalLM, Phi3Config

from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.train import planner
from tutelage.train.compute import Compute
from tutelage.train.config import TrainConfig
from tutelage.train.fast import speed_up
from tutelage.train.lora import add_lora
from tutelage.train.planner import plan_needs
from tutelage.train.run import train
from tutelage.train.stage import train_config, with_train
from tutelage.train.student import load_student, prepare, require_possible
from tutelage.train.tree import build_tree

COMPUTE = Compute(torch.device("cpu"), torch.float32, 100.0, 1)
needs_4_bits = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is missing")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build_of(tmp_path / "build", unrolled(traces=8))
    tiny("llama", "sdpa").save_pretrained(tmp_path / "weights")
    return tmp_path


@pytest.mark.parametrize("tied", [True, False])
def test_all_weights_gradients_are_those_of_the_rows(family: str, tied: bool) -> None:
    rows = unrolled(traces=3)
    models = []
    for attention in ("sdpa", "tutelage_tree"):
        model = tiny(family, attention)
        model.config.tie_word_embeddings = tied
        if not tied:
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        models.append(model)
    theirs = row_by_row(models[0], rows)
    loss, found = by_tree(models[1], [build_tree(rows)])
    assert loss == pytest.approx(theirs[0], rel=TOLERANCE)
    assert found.keys() == theirs[1].keys()
    assert any("embed_tokens" in name for name in found)
    for name, grad in theirs[1].items():
        assert (found[name] - grad).norm() <= TOLERANCE * grad.norm(), name


def test_adapters_go_on_matrices_that_are_fused() -> None:
    config = Phi3Config(**SHAPE)
    adapted = add_lora(AutoModelForCausalLM.from_config(config), TrainConfig())
    on = {name.split(".")[-4] for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert on == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}
    assert adapted.peft_config["default"].target_modules == on


@pytest.mark.parametrize(
    "name, left",
    [
        ("llama", set()),
        ("qwen3_5", {"in_proj_a", "in_proj_b", "in_proj_qkv", "in_proj_z", "out_proj"}),
        ("qwen3_moe", {"experts.down_proj", "experts.gate_up_proj"}),
    ],
)
def test_what_of_a_family_gets_no_adapters_is_named(
    name: str, left: set[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny(name, "sdpa").save_pretrained(tmp_path)
    prepare(tmp_path, CONFIG, COMPUTE)
    found = re.findall(r"Nothing is learnt in the layers' (.*): name them", caplog.text)
    assert found == ([", ".join(sorted(left))] if left else [])
    chosen = CONFIG.model_copy(update={"lora_options": {"target_modules": ["q_proj"]}})
    prepare(tmp_path, chosen, COMPUTE)
    assert caplog.text.count("Nothing is learnt") == len(found)


def test_full_fine_tuning_of_a_mixture_goes_on_with_its_experts(folder: Path) -> None:
    tiny("qwen3_moe", "sdpa").save_pretrained(folder / "mixture")
    config = CONFIG.model_copy(update={"method": "full", "learning_rate": 0.02})
    whole = train(folder / "build", folder / "mixture", folder / "whole", config)

    with pytest.raises(KeyboardInterrupt):
        train(folder / "build", folder / "mixture", folder / "out", config, interrupt_at(4))
    result = train(folder / "build", folder / "mixture", folder / "out", config)
    assert result.losses == pytest.approx(whole.losses, rel=1e-5)


def test_full_fine_tuning_leaves_a_whole_model(folder: Path) -> None:
    config = TrainConfig.model_validate({**CONFIG.model_dump(exclude={"learning_rate"}), "method": "full"})
    assert config.learning_rate == pytest.approx(1.5e-4)
    result = train(folder / "build", folder / "weights", folder / "out", config)
    assert result.losses[-1] < result.losses[0]
    assert not (folder / "out" / "adapter").exists()
    before, after = (AutoModelForCausalLM.from_pretrained(folder / name) for name in ("weights", "out/model"))
    changed = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert all(changed)


def test_another_method_takes_its_share_of_the_rate_that_the_project_names(tmp_path: Path) -> None:
    (tmp_path / "tutelage.toml").write_text('name = "rates"\n[train]\nlearning_rate = 0.002\n')
    project = Project.open(tmp_path)
    for given, rate in (({}, 2e-3), ({"method": "full"}, 2e-4), ({"method": "lora", "objective": "dpo"}, 2e-3 / 30)):
        assert train_config(with_train(project, **given)).learning_rate == pytest.approx(rate)


@needs_4_bits
def test_qlora_trains_adapters_on_weights_of_4_bits(folder: Path) -> None:
    rows = unrolled(traces=3)
    student = load_student(folder / "weights", COMPUTE, "qlora")
    assert type(student.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
    plain = load_student(folder / "weights", COMPUTE, "qlora")
    plain.set_attn_implementation("sdpa")
    ours, theirs = (with_random_lora(model) for model in (student, plain))
    speed_up(ours)
    assert_equal(by_tree(ours, [build_tree(rows)]), row_by_row(theirs, rows))
    result = train(folder / "build", folder / "weights", folder / "out", CONFIG.model_copy(update={"method": "qlora"}))
    assert result.losses[-1] < result.losses[0]
    assert (folder / "out/adapter/adapter.gguf").is_file()


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "gemma3", "qwen3_5"])
def test_checkpointing_changes_no_gradient(name: str) -> None:
    rows = unrolled(traces=3)
    kept, again = (with_random_lora(tiny(name)) for _ in range(2))
    again.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
    for model in (kept, again):
        speed_up(model)
        model.train()
    calls: list[int] = []
    layer = again.get_base_model().model.layers[0]
    layer.mlp.register_forward_pre_hook(lambda *given: calls.append(1))
    assert_equal(by_tree(again, [build_tree(rows)]), by_tree(kept, [build_tree(rows)]))
    assert len(calls) == 2  # computed, and computed again
    assert gradients(again).keys() == gradients(kept).keys()


def test_a_plan_knows_what_each_method_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full fine-tuning holds 16 bytes a parameter, 4 bits less than 32, and checkpointing a layer at a time.

    The checkpointing runs the layers' forward passes twice; adapters make the backward pass about as long.
    """
    monkeypatch.setattr(planner, "_held_already", lambda compute: 0)
    rows = unrolled(traces=2)
    config = tiny("llama", "sdpa").config
    config.num_hidden_layers = 12
    needs = {
        key: plan_needs(config, CONFIG.model_copy(update=change), COMPUTE, [rows])
        for key, change in {
            "lora": {},
            "full": {"method": "full"},
            "qlora": {"method": "qlora"},
            "layers": {"checkpointing": "layers"},
        }.items()
    }
    held = needs["full"].parameters
    assert needs["full"].trained == held
    assert needs["qlora"].peak_bytes < needs["lora"].peak_bytes
    assert needs["layers"].peak_bytes < needs["lora"].peak_bytes
    assert 1.2 < needs["layers"].seconds / needs["lora"].seconds < 1.6


def test_unsloth_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("tutelage.train.unsloth.installed", lambda module: False)
    with pytest.raises(TutelageError, match="pip install unsloth"):
        require_possible(CONFIG.model_copy(update={"backend": "unsloth"}))


@pytest.mark.gpu
def test_unsloth_trains_the_student_row_by_row(folder: Path) -> None:
    pytest.importorskip("unsloth")
    result = train(
        folder / "build", folder / "weights", folder / "out", CONFIG.model_copy(update={"backend": "unsloth"})
    )
    assert result.losses[-1] < result.losses[0]


def test_settings_that_exclude_each_other_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for change, sentence in (
        ({"method": "full", "adapter": "somewhere"}, 'method "full" trains no adapter'),
        ({"checkpointing": "offload"}, "no GPU is here"),
        ({"backend": "unsloth"}, "needs a CUDA GPU"),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(TutelageError, match=sentence):
            require_possible(CONFIG.model_copy(update=change))
