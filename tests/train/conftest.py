from pathlib import Path

import pytest

from tutelage.render.student import embedded_gguf
from tutelage.train.weights import student_weights


@pytest.fixture(params=["llama", "qwen3"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct, dequantised."""
    return student_weights(embedded_gguf(), tmp_path_factory.mktemp("weights"))
