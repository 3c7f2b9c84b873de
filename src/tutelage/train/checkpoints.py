"""What the training in a folder is of, and how far it has come."""

import hashlib
import json
import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tutelage.errors import TutelageError
from tutelage.train import processes
from tutelage.train.compute import TYPES, Dtype
from tutelage.train.config import TrainConfig
from tutelage.train.rows import data_hash

RESULT = "train.json"
CLOCK = "seconds.json"
STARTED = "started.json"  # which data and settings the checkpoints beside it belong to
NO_NUMERICS = {"log_to", "save_steps", "adapter"}  # settings that a training may go on with when they have changed
SAMPLES, SAMPLE_BYTES = 16, 1 << 16  # of each weights file, to know a model by


def identity_of(build: Path, mixed: Sequence[Path], weights: Path, config: TrainConfig) -> dict[str, Any]:
    """What a training is of: with another, it cannot go on."""
    return {
        "config": config.model_dump(mode="json", exclude=NO_NUMERICS),
        "data": data_hash(build, mixed, config.objective),
        "weights": weights.name,
        "model": _weights_digest(weights),
        "adapter": _weights_digest(Path(config.adapter)) if config.adapter else None,
    }


def claim(out: Path, identity: dict[str, Any], adapter: str | None = None) -> None:
    """Note what `out` is for; where it holds a result or a checkpoint, check that they are of the same."""
    if adapter and Path(adapter).resolve().is_relative_to(out.resolve()):
        raise TutelageError(
            f"The adapter {adapter} lies in the folder that this training writes to. Move it away first and name it "
            "where it is then."
        )
    out.mkdir(parents=True, exist_ok=True)
    path = out / STARTED
    begun = (out / RESULT).is_file() or last_checkpoint(out / "checkpoints") is not None
    if not begun or not path.is_file():
        write_json(path, identity)
        return
    held = json.loads(path.read_text())
    other = [key for key, value in identity.items() if held.get(key) != value]
    if "config" in other:
        settings, before = identity["config"], held.get("config") or {}
        other += [f"[train] {key}" for key in settings if before.get(key) != settings[key]]
        other.remove("config")
    if other:
        raise TutelageError(
            f"{out} holds a training with other {' and '.join(other)}. "
            f"Remove the folder (`rm -r {shlex.quote(str(out))}`) to train anew."
        )


def begun_type(out: Path) -> Dtype | None:
    """The type that the training in `out` computes in, so that it goes on with it; None where it has no checkpoint."""
    if last_checkpoint(out / "checkpoints") is None:
        return None
    found: Dtype | None = json.loads((out / STARTED).read_text()).get("dtype")
    return found


def note_type(out: Path, dtype: torch.dtype) -> None:
    (name,) = (name for name, known in TYPES.items() if known == dtype)
    write_json(out / STARTED, {**json.loads((out / STARTED).read_text()), "dtype": name})


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; unfinished ones are removed."""
    if not folder.is_dir():
        return None
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in found:
        if not (path / CLOCK).is_file() and processes.leads():
            shutil.rmtree(path)
    return next((path for path in reversed(found) if (path / CLOCK).is_file()), None)


class Clock(TrainerCallback):  # type: ignore[misc]
    """Leaves the seconds so far beside each checkpoint: the last file written, so that it marks a whole one."""

    def __init__(self, started: float) -> None:
        self.started = started

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero:
            write_json(folder / CLOCK, {"seconds": time.monotonic() - self.started})


def _weights_digest(weights: Path) -> str:
    """Tells models apart whose folders have one name, by config.json and by parts all over the weights.

    Content alone counts: a copied project goes on with its training. Whole files would take a minute for large models.
    """
    digest = hashlib.sha256()
    for path in sorted([*weights.glob("config.json"), *weights.glob("*.safetensors")]):
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            for part in range(SAMPLES):
                file.seek(size * part // SAMPLES)
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def write_json(path: Path, value: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=2))
    part.replace(path)
