import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from train_samples import FAMILIES, tiny, unrolled, write_rows
from transformers import AutoModelForCausalLM, LlamaConfig

from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.train import planner
from tutelage.train.compute import Compute
from tutelage.train.config import TrainConfig
from tutelage.train.planner import plan_needs
from tutelage.train.stage import plan_training, with_train
from tutelage.train.tree import tree_size

UNCOUNTED = {"gpt_oss", "gemma2", "lfm2", "qwen3_moe"}  # whose layers, or what makes their masks, look at values
CONFIG = TrainConfig(lora_rank=4, lora_options={"target_modules": ["q_proj", "v_proj"]})
COMPUTE = Compute(torch.device("cpu"), torch.float32, 100.0, 1)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A student of 10 million parameters and one step of 3,000 tokens: 600 MB beyond what Python holds by itself."""
    return planned(tmp_path, layers=8)


@pytest.fixture
def small(tmp_path: Path) -> Project:
    """The same with two layers: plans are made in no time."""
    return planned(tmp_path, layers=2)


def planned(tmp_path: Path, layers: int) -> Project:
    config = LlamaConfig(
        vocab_size=4_000,
        hidden_size=256,
        intermediate_size=1_024,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "weights")
    (tmp_path / "build").mkdir()
    write_rows(tmp_path / "build" / "train.parquet", unrolled(1, shared=2_000, steps=4, part=150, vocabulary=4_000))
    write_rows(tmp_path / "build" / "validation.parquet", [])
    (tmp_path / "tutelage.toml").write_text(
        'name = "planned"\n[student]\nmodel = "weights"\nurl = "http://127.0.0.1:1/v1"\n[train]\ntree_tokens = 4000\n'
    )
    return Project.open(tmp_path)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_planned_peak_is_the_measured_one_within_a_fifth(method: str, project: Project) -> None:
    """Of what it takes beyond Python and its libraries."""
    program = [sys.executable, str(Path(__file__).with_name("measure_peak.py")), str(project.folder), method]
    ended = subprocess.run(program, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["measured"] > 200
    assert found["planned"] == pytest.approx(found["measured"], rel=0.2)


def test_a_plan_counts_parameters_and_takes_a_bigger_tree_for_more(project: Project) -> None:
    plan = plan_training(project, project.folder / "build")
    layer = 16 * (2 * (256 + 256) + 2 * (256 + 128) + 3 * (256 + 1_024))  # rank 16 on q, o; k, v; gate, up, down
    assert plan.trained == 8 * layer
    assert plan.parameters > 9_000_000
    assert plan.seconds >= 0 and plan.peak_mb > 300
    assert f"{plan.trained:,} of them trained" in plan.sentence()


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - UNCOUNTED))
def test_other_families_are_planned_too(family: str) -> None:
    rows = unrolled(traces=2)
    needs = plan_needs(tiny(family, "sdpa").config, CONFIG, COMPUTE, [rows])
    assert (needs.separate, needs.tokens_tree) == (None, tree_size(rows))
    assert needs.seconds > 0


@pytest.mark.parametrize("family", sorted(UNCOUNTED))
def test_a_family_whose_needs_cannot_be_counted_is_named(family: str) -> None:
    with pytest.raises(TutelageError, match=f"training of {family} takes cannot be counted"):
        plan_needs(tiny(family, "eager").config, CONFIG, COMPUTE, [unrolled(traces=2)])


def free(monkeypatch: pytest.MonkeyPatch, megabytes: float) -> None:
    monkeypatch.setattr(planner, "_held_already", lambda compute: 0)
    monkeypatch.setattr(planner, "_free", lambda compute: megabytes * 2**20)


def test_layers_are_checkpointed_where_a_training_does_not_fit_otherwise(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = project.folder / "build"
    free(monkeypatch, 1e6)
    whole = plan_training(project, build)
    assert whole.checkpointing == "none"
    free(monkeypatch, 0.95 * whole.peak_mb)
    less = plan_training(project, build)
    assert less.checkpointing == "layers" and less.peak_mb <= 0.95 * whole.peak_mb
    assert 'checkpointing = "layers"' in less.sentence()
    with pytest.raises(
        TutelageError, match=r'To make it fit, set in tutelage.toml .*\[train\] checkpointing = "layers" '
    ):
        plan_training(with_train(project, checkpointing="none"), build)


@pytest.mark.parametrize(
    ("share", "change", "named"),
    [
        (0.25, {}, "[dataset] max_length = "),
        (0.01, {}, "name a smaller student"),
    ],
)
def test_what_time_alone_does_not_make_fit_costs_more(
    share: float, change: dict[str, str], named: str, small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = with_train(small, **change)
    free(monkeypatch, 1e6)
    whole = plan_training(changed, small.folder / "build").peak_mb
    free(monkeypatch, share * whole)
    with pytest.raises(TutelageError, match=re.escape(named)):
        plan_training(changed, small.folder / "build")
