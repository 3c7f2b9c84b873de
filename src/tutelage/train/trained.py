"""What a training leaves: the adapter or the whole model, with all that it is served with."""

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import AutoTokenizer

from tutelage.errors import TutelageError
from tutelage.render.serving import SERVING_FILE
from tutelage.render.trained import ADAPTER, MODEL
from tutelage.train import processes
from tutelage.train.adapter_gguf import convert_adapter
from tutelage.train.shards import is_divided, whole_weights
from tutelage.train.student import Trained
from tutelage.train.weights import FAMILIES, folder_config

BUILD_FILE = "build.json"
OF_TRACES = {"task_ids", "task_contents", "trace_ids", "pair_trace_ids"}
logger = logging.getLogger(__name__)


def write_trained(model: Trained, weights: Path, build: Path, mixed: Sequence[Path], out: Path) -> None:
    """`out`/adapter or `out`/model: weights, tokenizer, what the build was rendered with; an adapter as GGUF too.

    Every process calls it, for its part of a divided model; the leading one writes.
    """
    if not isinstance(model, PeftModel):
        dtype = folder_config(weights).dtype
        model = model if dtype is None else model.to(dtype)  # as the student came
    learnt = whole_weights(model) if is_divided(model) else None
    if not processes.leads():
        return
    if isinstance(model, PeftModel):
        with _whole(out / ADAPTER, weights, build, mixed) as folder:
            model.save_pretrained(folder, state_dict=learnt)
            if model.config.model_type in FAMILIES:
                try:
                    convert_adapter(folder, weights, folder / "adapter.gguf")
                except TutelageError as error:  # of other kinds than plain LoRA
                    logger.warning("llama.cpp serves this adapter merged into the student's weights: %s", error)
        return
    with _whole(out / MODEL, weights, build, mixed) as folder:
        model.save_pretrained(folder, state_dict=learnt)


def _learnt_of(build: Path, mixed: Sequence[Path]) -> dict[str, Any]:
    """The build's own record, with the tasks and traces of the mixed ones among its own."""
    record: dict[str, Any] = json.loads((build / BUILD_FILE).read_text(encoding="utf-8"))
    for folder in mixed:
        other = json.loads((folder / BUILD_FILE).read_text(encoding="utf-8"))
        for key in OF_TRACES & other.keys():
            record[key] = sorted({*record.get(key, ()), *other[key]})
    return record


@contextmanager
def _whole(folder: Path, weights: Path, build: Path, mixed: Sequence[Path]) -> Iterator[Path]:
    """A folder to fill, which takes its place at the end."""
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    yield unfinished
    if (weights / "tokenizer_config.json").is_file():
        AutoTokenizer.from_pretrained(weights).save_pretrained(unfinished)
    for name, saved in (("template.jinja", "chat_template.jinja"), (SERVING_FILE, SERVING_FILE)):
        if (build / name).is_file():
            shutil.copyfile(build / name, unfinished / saved)
    if (build / BUILD_FILE).is_file():
        (unfinished / BUILD_FILE).write_text(json.dumps(_learnt_of(build, mixed), indent=2))
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
