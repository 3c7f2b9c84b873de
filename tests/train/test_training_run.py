import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from train_samples import build_of, interrupt_at, tiny, unrolled, write_rows
from train_settings import CONFIG

from tutelage.errors import TutelageError
from tutelage.train.config import MixedDataset, TrainConfig
from tutelage.train.progress import Progress
from tutelage.train.run import TrainResult, load_result, train


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return build_of(tmp_path / "build", unrolled(traces=8))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    tiny("llama", "sdpa").save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def adapters(out: Path) -> dict[str, list[float]]:
    tensors = load_file(out / "adapter" / "adapter_model.safetensors")
    return {name: tensor.ravel().tolist() for name, tensor in tensors.items()}


def test_a_training_leaves_its_adapter_its_losses_and_where_they_came_from(
    build: Path, weights: Path, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    result = train(
        build, weights, tmp_path / "out", CONFIG.model_copy(update={"log_to": ("tensorboard",)}), seen.append
    )
    assert len(result.losses) == 8
    assert result.losses[-1] < result.losses[0]
    assert sorted(result.eval_losses) == [3, 6, 8]
    assert result.rows == 32
    assert result.tokens_unrolled > result.tokens_tree > 0
    assert result.gflops > 0 and result.peak_rss_mb > 0
    assert (tmp_path / "out/adapter/adapter_config.json").is_file()
    assert (tmp_path / "out/adapter/adapter.gguf").is_file()
    assert list((tmp_path / "out/tensorboard").glob("events*"))
    assert not (tmp_path / "out/checkpoints").exists()
    assert json.loads((tmp_path / "out/train.json").read_text())["losses"] == result.losses
    assert (seen[-1].step, seen[-1].steps) == (8, 8)
    assert load_result(tmp_path / "out") == result


def test_a_finished_training_returns_at_once(build: Path, weights: Path, tmp_path: Path) -> None:
    first = train(build, weights, tmp_path / "out", CONFIG)

    def never(progress: Progress) -> None:
        raise AssertionError("trained again")

    assert train(build, weights, tmp_path / "out", CONFIG, never) == first


@pytest.mark.parametrize("step", [3, 4])
def test_a_resumed_training_has_the_losses_of_an_uninterrupted_one(
    build: Path, weights: Path, tmp_path: Path, step: int
) -> None:
    whole = train(build, weights, tmp_path / "whole", CONFIG)
    with pytest.raises(KeyboardInterrupt):
        train(build, weights, tmp_path / "out", CONFIG, interrupt_at(step))
    assert not (tmp_path / "out/train.json").exists()
    resumed_from: list[int] = []
    resumed = train(build, weights, tmp_path / "out", CONFIG, lambda progress: resumed_from.append(progress.step))
    assert resumed_from[0] == step + 1
    assert same_course(resumed, whole)
    assert adapters(tmp_path / "out") == adapters(tmp_path / "whole")


def test_a_torn_checkpoint_is_passed_over(build: Path, weights: Path, tmp_path: Path) -> None:
    whole = train(build, weights, tmp_path / "whole", CONFIG)
    with pytest.raises(KeyboardInterrupt):
        train(build, weights, tmp_path / "out", CONFIG, interrupt_at(5))
    (tmp_path / "out/checkpoints/checkpoint-5/seconds.json").unlink()
    (tmp_path / "out/checkpoints/checkpoint-5/optimizer.pt").write_bytes(b"torn")
    assert same_course(train(build, weights, tmp_path / "out", CONFIG), whole)


def test_the_seed_fixes_the_run(build: Path, weights: Path, tmp_path: Path) -> None:
    first = train(build, weights, tmp_path / "1", CONFIG)
    again = train(build, weights, tmp_path / "2", CONFIG)
    other = train(build, weights, tmp_path / "3", CONFIG.model_copy(update={"seed": 5}))
    assert same_course(first, again)
    assert other.losses != first.losses


def test_the_size_of_a_microbatch_changes_no_loss(build: Path, weights: Path, tmp_path: Path) -> None:
    small = train(build, weights, tmp_path / "1", CONFIG)
    large = train(build, weights, tmp_path / "2", CONFIG.model_copy(update={"tree_tokens": 2000}))
    assert large.tokens_tree < small.tokens_tree
    assert large.losses == pytest.approx(small.losses, rel=1e-4)


def test_two_processes_have_the_losses_of_one(build: Path, weights: Path, tmp_path: Path) -> None:
    """Started by torchrun, over gloo; some steps have one tree, so that a process has none."""
    alone = train(build, weights, tmp_path / "alone", CONFIG)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    program = Path(__file__).with_name("train_in_two.py")
    ended = subprocess.run([*launch, str(program), str(tmp_path)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    together = load_result(tmp_path / "together")
    assert together.losses == pytest.approx(alone.losses, rel=1e-4)
    assert list(together.eval_losses.values()) == pytest.approx(list(alone.eval_losses.values()), rel=1e-4)
    assert ended.stdout.count(json.dumps(together.losses)) == 2
    assert adapters(tmp_path / "together").keys() == adapters(tmp_path / "alone").keys()


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"lora_dropout": 0.1}, "lora_dropout.*leave it out"),
        ({"alora_invocation_tokens": [3]}, "alora_invocation_tokens.*leave it out"),
        ({"lora_bias": True}, "lora_bias.*no bias at down_proj"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights.*change the student's own weights"),
        ({"rank": 3}, "PEFT says: .*rank.*The student's modules: down_proj"),
        ({"target_modules": ["query"]}, "PEFT says: .*query.*The student's modules: down_proj"),
    ],
)
def test_options_that_peft_does_not_know_are_named(
    build: Path, weights: Path, tmp_path: Path, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(TutelageError, match=sentence):
        train(build, weights, tmp_path / "out", CONFIG.model_copy(update={"lora_options": options}))


def test_what_llama_cpp_cannot_take_is_trained_nonetheless(
    build: Path, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = CONFIG.model_copy(update={"lora_options": {"use_dora": True}, "epochs": 1})
    result = train(build, weights, tmp_path / "out", config)
    assert load_result(tmp_path / "out") == result
    assert (tmp_path / "out/adapter/adapter_model.safetensors").is_file()
    assert not (tmp_path / "out/adapter/adapter.gguf").exists()
    assert "only plain LoRA can be converted to GGUF, without use_dora" in caplog.text


def test_a_student_that_cannot_run_over_trees_is_trained_with_separate_rows(
    build: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny("lfm2", "sdpa").save_pretrained(tmp_path / "lfm2")
    options = {"target_modules": ["q_proj", "v_proj"]}
    result = train(build, tmp_path / "lfm2", tmp_path / "out", CONFIG.model_copy(update={"lora_options": options}))
    assert result.tokens_tree == result.tokens_unrolled
    assert result.losses[-1] < result.losses[0]
    assert "This student cannot share what rows have in common (it has layers of another kind (conv))" in caplog.text


def test_a_folder_with_another_training_is_left_alone(build: Path, weights: Path, tmp_path: Path) -> None:
    train(build, weights, tmp_path / "out", CONFIG)
    with pytest.raises(TutelageError, match=r"other \[train\] epochs\. Remove the folder"):
        train(build, weights, tmp_path / "out", CONFIG.model_copy(update={"epochs": 3}))
    train(build, weights, tmp_path / "out", CONFIG.model_copy(update={"log_to": ("tensorboard",), "save_steps": 3}))
    config = weights / "config.json"
    config.write_text(config.read_text().replace("{", '{"note": "another model of this name",', 1))
    with pytest.raises(TutelageError, match="other model"):
        train(build, weights, tmp_path / "out", CONFIG)


def test_a_training_that_never_began_claims_no_folder(build: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match=r"could not be set up: .*no_such_tracker.*Mend \[train\]"):
        train(build, weights, tmp_path / "out", CONFIG.model_copy(update={"log_to": ("no_such_tracker",), "epochs": 1}))
    assert len(train(build, weights, tmp_path / "out", CONFIG).losses) == 8


def test_a_folder_without_a_whole_model_is_named(build: Path, weights: Path, tmp_path: Path) -> None:
    (weights / "model.safetensors").unlink()
    with pytest.raises(TutelageError, match="weights: the model cannot be loaded"):
        train(build, weights, tmp_path / "out", CONFIG)
    (weights / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(TutelageError, match=r"config\.json cannot be read"):
        train(build, weights, tmp_path / "out", CONFIG)
    (weights / "config.json").unlink()
    with pytest.raises(TutelageError, match="no model there"):
        train(build, weights, tmp_path / "out", CONFIG)


def test_no_rows_and_no_build_are_said_plainly(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match="Build the dataset first"):
        train(tmp_path / "nowhere", weights, tmp_path / "out", CONFIG)
    empty = tmp_path / "empty"
    empty.mkdir()
    for name in ("train", "validation"):
        write_rows(empty / f"{name}.parquet", [])
    with pytest.raises(TutelageError, match="holds no rows"):
        train(empty, weights, tmp_path / "out2", CONFIG)
    (empty / "train.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(TutelageError, match=r"train\.parquet cannot be read .*dataset build"):
        train(empty, weights, tmp_path / "out2", CONFIG)


def test_a_training_goes_on_from_anothers_adapter(build: Path, weights: Path, tmp_path: Path) -> None:
    once = CONFIG.model_copy(update={"epochs": 1})
    first = train(build, weights, tmp_path / "first", once)
    second = train(build, weights, tmp_path / "second", from_adapter(once, tmp_path / "first"))
    assert all(later < before for later, before in zip(second.losses, first.losses, strict=True))
    with pytest.raises(TutelageError, match="lies in the folder that this training writes to"):
        train(build, weights, tmp_path / "first", from_adapter(once, tmp_path / "first"))
    for change, sentence in (
        (
            {"lora_rank": 2, "lora_alpha": 4},
            "another shape than .*: lora_rank 4 instead of 2, lora_alpha 8 instead of 4",
        ),
        ({"lora_first_layer": 1}, "its modules are not the same"),
        ({"adapter": str(tmp_path / "weights")}, "weights is no adapter to go on from"),
    ):
        with pytest.raises(TutelageError, match=sentence):
            train(build, weights, tmp_path / "third", from_adapter(once, tmp_path / "first").model_copy(update=change))


def from_adapter(config: TrainConfig, training: Path) -> TrainConfig:
    return config.model_copy(update={"adapter": str(training / "adapter")})


def test_datasets_are_mixed_in_and_known_by_their_hash(build: Path, weights: Path, tmp_path: Path) -> None:
    general = tmp_path / "general"
    general.mkdir()
    write_rows(general / "train.parquet", unrolled(traces=6, seed=9))
    for folder, id in ((build, "own"), (general, "other")):
        (folder / "build.json").write_text(json.dumps({"trace_ids": [id], "seed": 0}))
        (folder / "serving.json").write_text(json.dumps({"of": id}))
    config = CONFIG.model_copy(update={"datasets": (MixedDataset(source="general", weight=0.5, max_rows=16),)})
    result = train(build, weights, tmp_path / "out", config, mixed=[general])
    assert result.rows == 32 + 8
    record = json.loads((tmp_path / "out/adapter/build.json").read_text())
    assert record == {"trace_ids": ["other", "own"], "seed": 0}  # whoever forgets one finds the adapter
    assert json.loads((tmp_path / "out/adapter/serving.json").read_text()) == {"of": "own"}
    assert train(build, weights, tmp_path / "out", config, mixed=[general]) == result
    write_rows(general / "train.parquet", unrolled(traces=6, seed=10))
    with pytest.raises(TutelageError, match="other data"):
        train(build, weights, tmp_path / "out", config, mixed=[general])
    with pytest.raises(TutelageError, match=r"names 1 datasets, and 0 builds"):
        train(build, weights, tmp_path / "other", config)


def same_course(one: TrainResult, other: TrainResult) -> bool:
    return (one.losses, one.eval_losses, one.tokens_tree) == (other.losses, other.eval_losses, other.tokens_tree)
