"""Students whose layers are divided over processes; real ones, started by torchrun, over gloo."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from safetensors.torch import load_file
from train_samples import tiny, unrolled, write_rows
from train_settings import CONFIG, DIVIDED

from tutelage.errors import TutelageError
from tutelage.train.run import load_result, train
from tutelage.train.shards import require_shards
from tutelage.train.trainer import in_rounds
from tutelage.train.tree import Tree, build_tree


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("divided")
    (folder / "build").mkdir()
    write_rows(folder / "build" / "train.parquet", unrolled(traces=8))
    write_rows(folder / "build" / "validation.parquet", unrolled(traces=2, seed=7))
    tiny("llama", "sdpa").save_pretrained(folder / "weights")
    return folder


@pytest.fixture(scope="module")
def stopped(folder: Path) -> str:
    """What two processes print that stop every training after three steps."""
    return _launch(2, folder, "stop")


@pytest.fixture(scope="module")
def gone_on(folder: Path, stopped: str) -> str:
    """What three processes print that go on from there."""
    return _launch(3, folder, "go on")


def _launch(processes: int, folder: Path, what: str) -> str:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    program = Path(__file__).with_name("train_divided.py")
    ended = subprocess.run([*launch, str(program), str(folder), what], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def test_each_of_two_processes_holds_half_of_the_layers(stopped: str) -> None:
    held = [float(line.split()[1]) for line in stopped.splitlines() if line.startswith("held")]
    assert held == pytest.approx([0.5, 0.5], abs=0.02)


def test_an_interrupt_of_one_stops_all_after_the_same_step(folder: Path, stopped: str) -> None:
    for name in DIVIDED:
        assert stopped.count(f"{name} stopped") == 2


@pytest.mark.parametrize("name", DIVIDED)
def test_divided_students_learn_what_one_process_learns_also_when_others_go_on(
    name: str, folder: Path, gone_on: str, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={**DIVIDED[name], "eval_steps": 4})
    alone = train(folder / "build", folder / "weights", tmp_path / "alone", config)
    divided = load_result(folder / name)
    assert divided.losses == pytest.approx(alone.losses, rel=1e-4)
    assert divided.losses[-1] < divided.losses[0]
    assert list(divided.eval_losses.values()) == pytest.approx(list(alone.eval_losses.values()), rel=1e-4)
    written = "model/model.safetensors" if name == "full" else "adapter/adapter_model.safetensors"
    ours, theirs = load_file(folder / name / written), load_file(tmp_path / "alone" / written)
    assert ours.keys() == theirs.keys()
    for key, tensor in theirs.items():
        assert (ours[key] - tensor).norm() <= 1e-4 * tensor.norm(), key
    if name == "full":
        config_file = Path("model", "config.json")
        assert (folder / name / config_file).read_text() == (tmp_path / "alone" / config_file).read_text()


@pytest.mark.parametrize("pieces", range(1, 8))
def test_in_rounds_all_run_equally_often_and_each_piece_counts_once(pieces: int) -> None:
    rows = unrolled(traces=2)
    trees = [build_tree(rows[: i + 1]) for i in range(pieces)]
    parts: list[list[tuple[Tree, float]]] = [list(in_rounds(trees, process, 3)) for process in range(3)]
    assert len({len(part) for part in parts}) == 1
    counted = Counter(id(tree) for part in parts for tree, weight in part if weight)
    assert counted == Counter(map(id, trees))


def test_one_process_alone_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match=r"this is one alone\. Start them with torchrun"):
        train(folder / "build", folder / "weights", tmp_path / "out", CONFIG.model_copy(update={"shard": True}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", [{"method": "qlora"}, {"backend": "unsloth"}])
def test_what_cannot_be_divided_is_named(change: dict[str, str]) -> None:
    (what,) = change.values()
    with pytest.raises(TutelageError, match=f'"{what}" cannot be divided over processes: leave shard out'):
        require_shards(CONFIG.model_copy(update={**change, "shard": True}))
