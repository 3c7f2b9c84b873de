"""The folder of what a training left: an adapter or, after full fine-tuning, a whole model."""

from pathlib import Path

ADAPTER, MODEL = "adapter", "model"  # in the training's folder
GGUF = "model.gguf"


def trained_folder(training: Path) -> Path:
    """Where the trained weights lie, or will; with what they were rendered and are served with."""
    return training / (MODEL if (training / MODEL).is_dir() else ADAPTER)


def is_whole(folder: Path) -> bool:
    """Whether what was trained needs no base to be served."""
    return folder.name == MODEL


def served_file(folder: Path) -> Path:
    """What llama.cpp loads."""
    return folder / (GGUF if is_whole(folder) else "adapter.gguf")


def weight_files(folder: Path) -> list[Path]:
    """The files that tell one training's weights from another's, those that are there."""
    names = [GGUF, "model.safetensors"] if is_whole(folder) else ["adapter.gguf", "adapter_model.safetensors"]
    return [folder / name for name in names if (folder / name).is_file()]
