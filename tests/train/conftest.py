import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # tiny products: threads that spin starve those they wait for

import pytest
import torch

from tutelage.render.student import embedded_gguf
from tutelage.train.rows import load_rows
from tutelage.train.tree import Row
from tutelage.train.weights import student_weights


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models on one thread, also where `measure` would take all: the tests stay fast on a busy machine."""
    if request.node.get_closest_marker("slow") is None:
        torch.set_num_threads(1)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})


@pytest.fixture(params=["llama", "qwen3"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct, dequantised."""
    return student_weights(embedded_gguf(), tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example project with four traces: initialised, collected and built by the commands."""
    folder = tmp_path_factory.mktemp("real") / "shop"
    for command in (
        ["init", str(folder), "--example", "shop", "--train-tasks", "4", "--evaluate-tasks", "1"],
        ["collect", "--project", str(folder)],
        ["dataset", "build", "--project", str(folder)],
    ):
        subprocess.run([sys.executable, "-m", "tutelage", *command], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def real_rows(shop: Path) -> list[Row]:
    return load_rows(shop / "dataset" / "train.parquet")
