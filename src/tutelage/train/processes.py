"""Several processes that train together, as `torchrun` or `accelerate launch` start them."""

import os

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from tutelage.train.compute import Compute, Dtype, measure


def join() -> None:
    """Find the others; where there are none, do nothing."""
    if several():
        PartialState(cpu=backend() == "gloo", backend=backend())


def several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def backend() -> str | None:
    """Through which they speak."""
    if not several():
        return None
    return "nccl" if torch.cuda.is_available() else "gloo"


def leads() -> bool:
    """Whether this process is the one that writes what all have made."""
    return os.environ.get("RANK", "0") == "0"


def wait() -> None:
    """Until all have come here."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def anywhere(said: bool) -> bool:
    """Whether any process says so; all have to ask."""
    if not torch.distributed.is_initialized():
        return said
    told = torch.tensor(said, dtype=torch.int32, device=PartialState().device)
    torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
    return bool(told)


def measured(dtype: Dtype) -> Compute:
    """What the first process finds fastest, for all; each takes its part of the processors."""
    compute = measure(share=int(os.environ.get("LOCAL_WORLD_SIZE", "1")), dtype=dtype)
    if torch.distributed.is_initialized():
        (compute,) = broadcast_object_list([compute])
    return compute
