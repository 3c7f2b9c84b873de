from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from train_samples import build_of, tiny, unrolled
from train_settings import CONFIG
from transformers import TrainerCallback

from tutelage.train.run import load_result, train

STOPPED = CONFIG.model_copy(update={"patience": 2, "eval_steps": 1, "rows_per_step": 4, "learning_rate": 0.05})


class Watch(TrainerCallback):  # type: ignore[misc]
    """What the adapters are at each evaluation; after `pressing`, a Ctrl-C."""

    def __init__(self, pressing: int | None = None) -> None:
        self.seen: dict[int, dict[str, Tensor]] = {}
        self.pressing = pressing

    def on_evaluate(self, args: object, state: Any, control: object, model: Any, **kwargs: object) -> None:
        self.seen[state.global_step] = {
            name.replace(".default", ""): parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if "lora_" in name
        }
        if state.global_step == self.pressing:
            raise KeyboardInterrupt


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Random tokens: what is learnt of them helps with no others, and the evaluation loss rises sooner or later."""
    build_of(tmp_path / "build", unrolled(traces=12))
    tiny("llama", "sdpa").save_pretrained(tmp_path / "weights")
    return tmp_path


def test_patience_stops_early_and_keeps_the_weights_of_the_lowest_loss(folder: Path) -> None:
    watch = Watch()
    result = train(folder / "build", folder / "weights", folder / "out", STOPPED, callbacks=[watch])
    losses = result.eval_losses
    best = min(losses, key=lambda step: losses[step])
    assert result.kept_step == best < len(result.losses) < 12
    assert f"The weights of step {best} were kept." in result.sentence()
    kept = load_file(folder / "out" / "adapter" / "adapter_model.safetensors")
    assert kept.keys() == watch.seen[best].keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in watch.seen[best].items())
    assert load_result(folder / "out") == result


def test_the_lowest_loss_is_remembered_over_a_stop(folder: Path) -> None:
    whole = train(folder / "build", folder / "weights", folder / "whole", STOPPED)
    assert whole.kept_step
    with pytest.raises(KeyboardInterrupt):
        train(folder / "build", folder / "weights", folder / "out", STOPPED, callbacks=[Watch(whole.kept_step + 2)])
    result = train(folder / "build", folder / "weights", folder / "out", STOPPED)
    assert (result.kept_step, result.eval_losses) == (whole.kept_step, whole.eval_losses)
    name = "adapter/adapter_model.safetensors"
    ours, theirs = load_file(folder / "out" / name), load_file(folder / "whole" / name)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
