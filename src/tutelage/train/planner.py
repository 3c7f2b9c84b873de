"""What a training will take, before it starts: parameters, memory and time.

The student is built without its weights (PyTorch's "meta" device) as it is trained, and one optimizer step of its
largest tree is run: which tensors are alive at once, and every product, are counted, not computed. Layers that look at
values, as mixtures of experts do, cannot be counted so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from tutelage.errors import TutelageError
from tutelage.machine import free_memory
from tutelage.train import attention
from tutelage.train.alive import Alive
from tutelage.train.attention import keeps_probabilities
from tutelage.train.compute import LARGE_BLOCK, Compute, installed, peak_rss
from tutelage.train.config import TrainConfig
from tutelage.train.dpo import Pairs
from tutelage.train.hybrid import follow_branches
from tutelage.train.loss import tree_logprobs
from tutelage.train.objectives import objective_of
from tutelage.train.student import Trained, equip
from tutelage.train.tree import Row, Tree

IN_4_BITS = 0.52  # bytes of a weight, its share of the scales included
# Both fitted on one machine: the share of its products' speed that a step reaches, and what glibc's heap takes for the
# blocks that come and go. PyTorch wants them aligned, so a freed one is a little too short for the next of its size.
OF_PRODUCTS = 0.65
HOLES = 1.4
AMPLE = 40  # times its hidden state: more than a layer keeps of a token
CUDA_CONTEXT = 600 << 20
MIB = 2**20
OF_FLASH = {  # PyTorch counts such kernels on GPUs alone; formulas are given shapes in the place of tensors
    attention.FLASH: lambda q, k, v, *rest, **options: sdpa_flop_count(q, k, v),
    attention.FLASH_BACKWARD: lambda grad, q, k, v, *rest, **options: sdpa_backward_flop_count(grad, q, k, v),
}


@dataclass(frozen=True)
class Needs:
    """What a training takes on this machine."""

    parameters: int
    trained: int
    separate: str | None  # why rows are computed one by one; None: over trees
    tokens_tree: int  # of all steps
    largest_tree: int  # tokens
    peak_bytes: int  # of the process, or of the GPU
    free_bytes: int
    seconds: float

    @property
    def fits(self) -> bool:
        return self.peak_bytes <= self.free_bytes


def plan_needs(
    student: PreTrainedConfig, config: TrainConfig, compute: Compute, steps: Sequence[Sequence[Row]]
) -> Needs:
    """Raises TutelageError where the adapters do not fit the student, or its needs cannot be counted."""
    held = _held_already(compute)
    model, separate = _without_weights(student, config, compute)
    bare = _bare(model)
    objective = objective_of(config, share=separate is None)
    pieces = [objective.pieces(step) for step in steps]
    trees = [tree for step in pieces for piece in step for tree in _trees(piece)]
    largest = max(trees, key=len)
    try:
        counts = [
            _count(model, tree, config, compute, more=max(map(len, pieces)) > 1) for tree in _heaviest(trees, bare)
        ]
    except RuntimeError as error:  # of layers that look at values
        reason = str(error).splitlines()[0].rstrip(".")
        raise TutelageError(
            f"What a training of {student.model_type} takes cannot be counted ({reason}). Train without --dry-run."
        ) from error
    tokens = sum(map(len, trees))
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    alive = max(count.peak for count in counts) - _held_smaller(model, trained, config, compute)
    if config.checkpointing == "offload":
        shape = student.get_text_config()
        alive -= shape.num_hidden_layers * len(largest) * shape.hidden_size * compute.dtype.itemsize
    operations = counts[0].both * tokens
    if config.objective == "dpo":  # the reference: once over each pair
        operations += counts[0].forward * tokens // config.epochs
    return Needs(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trained=trained,
        separate=separate,
        tokens_tree=tokens,
        largest_tree=len(largest),
        peak_bytes=round(held + alive),
        free_bytes=held + _free(compute),
        seconds=operations / len(largest) / (compute.gflops * 1e9 * OF_PRODUCTS),
    )


def settled(
    student: PreTrainedConfig, config: TrainConfig, compute: Compute, steps: Sequence[Sequence[Row]]
) -> tuple[TrainConfig, Needs | None]:
    """The settings with "auto" checkpointing decided: "layers" where the training would not fit otherwise.

    What it takes is counted, in some seconds, only where it may come near to what is free; then it is returned too.
    """
    if config.checkpointing != "auto":
        return config, None
    without = config.model_copy(update={"checkpointing": "none"})
    shape = student.get_text_config()
    trees = (
        tree for step in steps for piece in objective_of(config, share=True).pieces(step) for tree in _trees(piece)
    )
    largest = max(map(len, trees), default=0)
    ample = AMPLE * largest * shape.num_hidden_layers * shape.hidden_size * compute.dtype.itemsize
    if config.backend == "unsloth" or ample < _free(compute) / 2:
        return without, None
    try:
        needs = plan_needs(student, without, compute, steps)
        if needs.fits:
            return without, needs
        again = config.model_copy(update={"checkpointing": "layers"})
        less = plan_needs(student, again, compute, steps)
        return (again, less) if less.peak_bytes < needs.peak_bytes else (without, needs)
    except TutelageError:  # what cannot be counted
        return without, None


def _without_weights(student: PreTrainedConfig, config: TrainConfig, compute: Compute) -> tuple[Trained, str | None]:
    """The student as it is trained, and why its rows are computed one by one, if they are."""
    dtype = torch.float32 if config.method == "full" else compute.dtype
    with torch.device("meta"):
        bare = AutoModelForCausalLM.from_config(student, dtype=dtype, attn_implementation=attention.NAME)
        bare.config.use_cache = False
        follow_branches(bare)
        model, separate = equip(bare, config)
    if config.computes_again:
        bare.activation_checkpointing_enable({"use_reentrant": False})
    return model, separate


def _bare(model: Trained) -> PreTrainedModel:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _trees(piece: Tree | Pairs) -> Sequence[Tree]:
    return piece.trees if isinstance(piece, Pairs) else [piece]


def _heaviest(trees: Sequence[Tree], model: PreTrainedModel) -> list[Tree]:
    """The largest tree, and, should it be another, the largest whose attention keeps its probabilities."""
    by_size = sorted(trees, key=len, reverse=True)
    keeping = next((tree for tree in by_size if keeps_probabilities(tree, model)), by_size[0])
    return [by_size[0], keeping][: 1 + (keeping is not by_size[0])]


def _held_smaller(model: Trained, trained: int, config: TrainConfig, compute: Compute) -> int:
    """Bytes that are counted and not taken: of weights in 4 bits, of AdamW's moments in 8."""
    spared = 0.0
    if config.method == "qlora":
        spared += _quantised(model) * (compute.dtype.itemsize - IN_4_BITS)
    if compute.device.type == "cuda" and installed("bitsandbytes"):
        spared += trained * 6
    return round(spared)


def _quantised(model: Trained) -> int:
    """How many of the weights QLoRA holds in 4 bits: the layers' matrices, not embeddings and head."""
    head = _bare(model).get_output_embeddings()
    return sum(m.weight.numel() for m in model.modules() if type(m) is nn.Linear and m is not head and _is_frozen(m))


def _is_frozen(module: nn.Linear) -> bool:
    return not module.weight.requires_grad


@dataclass(frozen=True)
class _Count:
    peak: float  # bytes that tensors take at once, weights included
    forward: int  # operations of the forward pass
    both: int  # and of the backward pass too


def _count(model: Trained, tree: Tree, config: TrainConfig, compute: Compute, more: bool) -> _Count:
    """Of the optimizer and of a tree's way forward and back; `more`: another tree of its step came before it."""
    bare = _bare(model)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    takes = _on_heap if compute.device.type == "cpu" else float
    optimizer = torch.optim.AdamW(learning)
    model.train()
    weights = [*model.parameters(), *model.buffers()]
    with Alive(weights) as updating:
        for parameter in learning:
            parameter.grad = torch.zeros_like(parameter)
        nn.utils.clip_grad_norm_(learning, config.max_grad_norm)
        optimizer.step()
    gradients = [parameter.grad for parameter in learning if parameter.grad is not None] if more else []
    if not more:
        optimizer.zero_grad()
    moments = [value for state in optimizer.state.values() for value in state.values()]
    with Alive([*weights, *moments, *gradients], takes) as learnt:
        forward, both = _operations(bare, tree)
    if getattr(bare, "trunks", None):  # known from now on
        forward, both = _operations(bare, tree)
    optimizer.zero_grad()
    return _Count(max(updating.peak, learnt.peak), forward, both)


def _on_heap(size: int) -> float:
    return size if size >= LARGE_BLOCK else size * HOLES


def _operations(model: PreTrainedModel, tree: Tree) -> tuple[int, int]:
    with FlopCounterMode(display=False, custom_mapping=OF_FLASH) as counter:
        loss = tree_logprobs(model, tree).sum()
        forward: int = counter.get_total_flops()
        loss.backward()
    both: int = counter.get_total_flops()
    return forward, both


def _held_already(compute: Compute) -> int:
    """Bytes that Python and its libraries hold before a model is loaded."""
    if compute.device.type == "cuda":
        return CUDA_CONTEXT
    return peak_rss()


def _free(compute: Compute) -> int:
    if compute.device.type == "cuda":
        free: int = torch.cuda.mem_get_info()[0]
        return free - CUDA_CONTEXT
    return free_memory()
