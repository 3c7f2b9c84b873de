"""Merge an adapter into its base: one model folder that needs no PEFT."""

import json
import shutil
from pathlib import Path

from tutelage.errors import TutelageError
from tutelage.render.trained import merged_model

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def merge_adapter(adapter: Path, out: Path, *, base: Path | str | None = None) -> Path:
    """Add the adapter's product to its base's weights and save a Hugging Face folder; done before, it is kept.

    `base` is a folder or a Hub id; by default the one that adapter_config.json names. Tokenizer and chat template are
    the adapter's, or the base's where the adapter has none. Raises TutelageError where a part is missing.
    """
    source = str(base or adapter_base(adapter))
    done = out / "merged.json"
    origin = {"adapter": _stamp(adapter / "adapter_model.safetensors"), "base": source}
    if done.is_file() and json.loads(done.read_text()) == origin:
        return out
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        merged_model(source, adapter).save_pretrained(partial)
    except (OSError, ValueError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise TutelageError(f"The adapter {adapter} could not be merged into {source}: {error}.") from error
    _copy_tokenizer(adapter, source, partial)
    (partial / "merged.json").write_text(json.dumps(origin))
    shutil.rmtree(out, ignore_errors=True)
    partial.replace(out)
    return out


def adapter_base(adapter: Path) -> str:
    """The base that adapter_config.json names. Raises TutelageError where it is no adapter."""
    path = adapter / "adapter_config.json"
    try:
        return str(json.loads(path.read_text())["base_model_name_or_path"])
    except FileNotFoundError:
        raise TutelageError(f"{path} was not found. Run `tutelage train` first.") from None
    except (ValueError, KeyError) as error:
        raise TutelageError(f"{path} names no base model ({error}). Run `tutelage train` again.") from None


def _copy_tokenizer(adapter: Path, source: str, out: Path) -> None:
    for folder in (adapter, Path(source)):
        if (folder / "tokenizer.json").is_file():
            for name in TOKENIZER_FILES:
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, out / name)
            return
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(source).save_pretrained(out)


def _stamp(weights: Path) -> str:
    from hashlib import sha256

    try:
        return sha256(weights.read_bytes()).hexdigest()
    except OSError:
        raise TutelageError(f"{weights} was not found. Run `tutelage train` first.") from None
