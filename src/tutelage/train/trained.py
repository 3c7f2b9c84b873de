"""What a training leaves: the adapter or the whole model, with all that it is served with."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import PeftModel
from transformers import AutoTokenizer

from tutelage.errors import TutelageError
from tutelage.render.serving import SERVING_FILE
from tutelage.render.trained import ADAPTER, MODEL
from tutelage.train.adapter_gguf import convert_adapter
from tutelage.train.student import Trained
from tutelage.train.weights import FAMILIES, folder_config

logger = logging.getLogger(__name__)


def write_trained(model: Trained, weights: Path, build: Path, out: Path) -> None:
    """`out`/adapter or `out`/model: weights, tokenizer, what the build was rendered with; an adapter as GGUF too."""
    if isinstance(model, PeftModel):
        with _whole(out / ADAPTER, weights, build) as folder:
            model.save_pretrained(folder)
            if model.config.model_type in FAMILIES:
                try:
                    convert_adapter(folder, weights, folder / "adapter.gguf")
                except TutelageError as error:  # of other kinds than plain LoRA: no reason to lose what was trained
                    logger.warning("There is no adapter.gguf for llama.cpp. %s", error)
        return
    with _whole(out / MODEL, weights, build) as folder:
        dtype = folder_config(weights).dtype
        (model if dtype is None else model.to(dtype)).save_pretrained(folder)  # as the student came


@contextmanager
def _whole(folder: Path, weights: Path, build: Path) -> Iterator[Path]:
    """A folder to fill, which takes its place at the end."""
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    yield unfinished
    if (weights / "tokenizer_config.json").is_file():
        AutoTokenizer.from_pretrained(weights).save_pretrained(unfinished)
    for name, saved in (
        ("template.jinja", "chat_template.jinja"),
        *((name, name) for name in (SERVING_FILE, "build.json")),
    ):
        if (build / name).is_file():
            shutil.copyfile(build / name, unfinished / saved)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
