"""A student whose layers are divided over the processes that train it, by PyTorch's FSDP2.

Each process holds its part of every decoder layer: of the weights, of their gradients and of the optimizer's state. A
layer is put together where it is run, forward and once more backward, so all processes have to run it equally often.
Its gradients are added up over the processes as they come. Embeddings, the last norm and the head stay whole in each:
the loss reads the head's weight outside of any layer.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from tutelage.errors import TutelageError
from tutelage.train import processes
from tutelage.train.config import TrainConfig

WEIGHTS = "learnt.safetensors"  # of a checkpoint


def require_shards(config: TrainConfig) -> None:
    """Raises TutelageError where there is nothing to divide over, or what cannot be divided."""
    if config.method == "qlora" or config.backend == "unsloth":
        what = 'backend "unsloth"' if config.backend == "unsloth" else 'method "qlora"'
        raise TutelageError(f"[train] {what} cannot be divided over processes: leave shard out.")
    if not processes.several():
        raise TutelageError(
            "[train] shard divides the student over several processes, and this is one alone. Start them with "
            "torchrun --nproc-per-node 2 -m tutelage train, or leave shard out."
        )


def divide(student: PreTrainedModel, device: torch.device) -> None:
    """Leave each process its part of every layer, on `device`; all call it, with the same weights, wherever they are.

    Moved layer by layer, so that a GPU holds no more than one whole layer beside its parts.
    """
    decoder = student.get_decoder()
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise TutelageError(
            f"A student of this kind ({student.config.model_type}) cannot be divided: leave [train] shard out."
        )
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for layer in layers:
        layer.to(device)
        others = {p for p in layer.parameters() if p.requires_grad and p.dtype != torch.float32}  # biases in bf16
        part = fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=others)
        part.set_gradient_divide_factor(1.0)  # summed, not averaged: every process divides by the whole step's weight
        part.set_force_sum_reduction_for_comms(True)
        part.set_reduce_scatter_unused_params(True)  # an expert that no token of this process reached
    student.to(device)
    fully_shard(decoder, mesh=mesh, ignored_params=set(student.parameters()))  # holds none, and knows the layers' order


def is_divided(model: nn.Module) -> bool:
    return any(isinstance(module, FSDPModule) for module in model.modules())


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """By their names, the weights that learn, put together on the leading process; all call it, others get nothing."""
    learn = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    gathered = {name: _whole(tensor) for name, tensor in model.state_dict().items() if name in learn}
    return gathered if processes.leads() else {}


def save_weights(model: nn.Module, checkpoint: Path) -> None:
    """Leave what learns of the model in a checkpoint, whole, under its own names; of a divided one, all call it."""
    learnt = whole_weights(model)
    if processes.leads():
        checkpoint.mkdir(parents=True, exist_ok=True)
        save_file(learnt, checkpoint / WEIGHTS)


def take_weights(model: nn.Module, checkpoint: Path) -> None:
    """Give the model what `save_weights` left; of a divided one, each process reads its part."""
    own = model.state_dict()
    with torch.no_grad(), safe_open(checkpoint / WEIGHTS, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  # it is no mapping
            own[name].copy_(_part(file.get_tensor(name), own[name]))


def save_whole(optimizer: torch.optim.Optimizer) -> None:
    """Have a divided model's optimizer give its state whole, and take it so.

    A checkpoint can then be gone on with by another number of processes. All have to ask for the state; the leading
    one alone gets it.
    """

    def give(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        whole: dict[str, Any] = _all_whole(state)
        return whole

    def take(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        learn = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        parts = {
            i: {key: _part(value, learn[i]) if isinstance(value, Tensor) else value for key, value in of_one.items()}
            for i, of_one in state["state"].items()
        }
        return {**state, "state": parts}

    optimizer.register_state_dict_post_hook(give)
    optimizer.register_load_state_dict_pre_hook(take)


def _whole(tensor: Tensor) -> Tensor:
    """In main memory; empty where another process leads."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu() if processes.leads() else full.new_empty(0)


def _part(whole: Tensor, like: Tensor) -> Tensor:
    """This process's part of `whole`, if `like` is divided and of its shape (AdamW's count of steps is not)."""
    if not isinstance(like, DTensor) or whole.shape != like.shape:
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _all_whole(state: Any) -> Any:
    """`state` with every tensor in its dicts whole, in their order."""
    if isinstance(state, Tensor):
        return _whole(state)
    return {key: _all_whole(value) for key, value in state.items()} if isinstance(state, dict) else state
