"""The folder of what a training left: an adapter or, after full fine-tuning, a whole model."""

from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.errors import MissingExtra

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER, MODEL = "adapter", "model"  # in the training's folder
MERGED = "merged"  # there too: an adapter in its base's weights, for engines and the Hub
GGUF = "model.gguf"


def trained_folder(training: Path) -> Path:
    """Where the trained weights lie, or will; with what they were rendered and are served with."""
    return training / (MODEL if (training / MODEL).is_dir() else ADAPTER)


def is_whole(folder: Path) -> bool:
    """Whether what was trained needs no base to be served."""
    return folder.name == MODEL


def is_served_whole(folder: Path) -> bool:
    """Whether llama.cpp serves it in the student's place: a whole model, or an adapter that it cannot apply, merged."""
    return is_whole(folder) or (folder / GGUF).is_file()


def served_file(folder: Path) -> Path:
    """What llama.cpp loads."""
    return folder / (GGUF if is_served_whole(folder) else "adapter.gguf")


def weight_files(folder: Path) -> list[Path]:
    """The files that tell one training's weights from another's, those that are there."""
    weights = "model.safetensors" if is_whole(folder) else "adapter_model.safetensors"
    return [path for path in (served_file(folder), folder / weights) if path.is_file()]


def merged_model(base: str | Path, adapter: Path) -> "PreTrainedModel":
    """The model in the folder, or of the Hub's id, `base` with the adapter in its weights, in float32.

    Raises OSError or ValueError where a part is missing or does not fit.
    """
    try:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise MissingExtra(error.name or "peft", "train") from error
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    merged: PreTrainedModel = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return merged
