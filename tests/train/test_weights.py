from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tutelage.errors import TutelageError
from tutelage.render.student import embedded_gguf
from tutelage.train.weights import student_weights


def test_what_is_no_gguf_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match="no such file"):
        student_weights(tmp_path / "no.gguf", tmp_path / "cache")
    (tmp_path / "bad.gguf").write_bytes(b"hello")
    with pytest.raises(TutelageError, match="no GGUF file"):
        student_weights(tmp_path / "bad.gguf", tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*")) if (tmp_path / "cache").exists() else True


@pytest.mark.slow
def test_the_weights_are_those_that_transformers_makes_of_the_file(student: Path) -> None:
    path = embedded_gguf()
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32)
    expected = dict(theirs.named_parameters())
    assert expected.keys() == dict(ours.named_parameters()).keys()
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, expected[name]), name
    for key in ("rope_parameters", "rms_norm_eps", "vocab_size", "tie_word_embeddings", "num_key_value_heads"):
        assert getattr(ours.config, key) == getattr(theirs.config, key)
    assert not hasattr(ours.config, "quantization_config")


@pytest.mark.slow
def test_the_second_time_costs_nothing(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tutelage.train.weights.read_header", None)
    assert student_weights(embedded_gguf(), student.parent) == student
