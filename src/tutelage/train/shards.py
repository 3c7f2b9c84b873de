"""A student whose layers are divided over the processes that train it, by PyTorch's FSDP2.

Each process holds its part of every decoder layer: of the weights, of their gradients and of the optimizer's state. A
layer is put together where it is run, forward and once more backward, so all processes have to run it equally often.
Its gradients are added up over the processes as they come. Embeddings, the last norm and the head stay whole in each:
the loss reads the head's weight outside of any layer.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from tutelage.errors import TutelageError
from tutelage.train import processes
from tutelage.train.config import TrainConfig

T = TypeVar("T")


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
    held = {name: tensor for name, tensor in model.state_dict().items() if name in learn}
    gathered = _each_tensor(held, _whole)
    return gathered if processes.leads() else {}


def take_weights(model: nn.Module, checkpoint: Path) -> None:
    """Give the divided model the weights that a checkpoint's safetensors files hold; each process reads its part."""
    own = get_peft_model_state_dict(model) if isinstance(model, PeftModel) else model.state_dict()
    with torch.no_grad():
        for path in sorted(checkpoint.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  # it is no mapping
                    own[name].copy_(_part(file.get_tensor(name), own[name]))


def save_whole(optimizer: torch.optim.Optimizer) -> None:
    """Have a divided model's optimizer give its state whole, and take it so.

    A checkpoint can then be gone on with by another number of processes. All have to ask for the state; the leading
    one alone gets it.
    """

    def give(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        return _each_tensor(state, _whole)

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


def _each_tensor(tree: T, change: Callable[[Tensor], Tensor]) -> T:
    """`tree` with every tensor in its dicts and lists changed, in their order."""
    changed: Any = tree
    if isinstance(tree, Tensor):
        changed = change(tree)
    elif isinstance(tree, Mapping):
        changed = {key: _each_tensor(value, change) for key, value in tree.items()}
    elif isinstance(tree, list):
        changed = [_each_tensor(value, change) for value in tree]
    return cast(T, changed)
