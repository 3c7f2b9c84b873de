"""What a training leaves: the adapter with all that it is served with."""

import logging
import shutil
from pathlib import Path

from peft import PeftModel
from transformers import AutoTokenizer

from tutelage.errors import TutelageError
from tutelage.render.serving import SERVING_FILE
from tutelage.train.adapter_gguf import convert_adapter
from tutelage.train.weights import FAMILIES

logger = logging.getLogger(__name__)


def write_adapter(model: PeftModel, weights: Path, build: Path, folder: Path) -> None:
    """The PEFT files, tokenizer, what the build was rendered with and, where the family has one, the GGUF adapter."""
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    if model.config.model_type in FAMILIES:
        try:
            convert_adapter(unfinished, weights, unfinished / "adapter.gguf")
        except TutelageError as error:  # of other kinds than plain LoRA: no reason to lose what was trained
            logger.warning("There is no adapter.gguf for llama.cpp. %s", error)
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
