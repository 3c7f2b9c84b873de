from pathlib import Path

import gguf
import numpy as np
import pytest

from tutelage.endpoint.served_weights import served_weights
from tutelage.errors import TutelageError
from tutelage.render.gguf_header import read_header
from tutelage.render.gguf_tensors import GgufTensors
from tutelage.render.student import embedded_gguf


def test_the_copy_holds_the_same_values_in_a_faster_type(tmp_path: Path) -> None:
    copy = served_weights(embedded_gguf(), tmp_path)
    assert copy.parent == tmp_path and list(tmp_path.iterdir()) == [copy]
    before, after = (GgufTensors(path).tensors for path in (embedded_gguf(), copy))
    assert [tensor.name for tensor in before] == [tensor.name for tensor in after]
    assert {tensor.tensor_type.name for tensor in after} == {"Q8_0", "F32"}
    for one, other in list(zip(before, after, strict=True))[::20]:
        values, copied = (gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in (one, other))
        largest = np.abs(values.reshape(-1, 32)).max(1)
        assert (np.abs(copied - values).reshape(-1, 32).max(1) <= largest / 230).all(), one.name
    kept = {key: value for key, value in read_header(embedded_gguf()).items() if key != "general.file_type"}
    assert kept.items() <= read_header(copy).items()


def test_it_is_made_once_and_a_fast_file_is_served_as_it_is(tmp_path: Path) -> None:
    copy = served_weights(embedded_gguf(), tmp_path)
    made = copy.stat().st_mtime_ns
    assert served_weights(embedded_gguf(), tmp_path) == copy and copy.stat().st_mtime_ns == made
    assert served_weights(copy, tmp_path / "more") == copy
    assert not (tmp_path / "more").exists()


def test_a_broken_file_and_a_folder_that_cannot_be_made_are_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(TutelageError, match=r"broken\.gguf could not be read"):
        served_weights(broken, tmp_path / "weights")
    with pytest.raises(TutelageError, match="could not be written"):
        served_weights(embedded_gguf(), broken)
