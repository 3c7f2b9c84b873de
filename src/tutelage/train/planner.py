"""What a training will take, before it starts: parameters, memory and time.

The student is built without its weights (PyTorch's "meta" device) and run forward and backward over the largest tree:
what autograd keeps, and every product, are counted, not computed. Layers that look at values, as mixtures of experts
do, cannot be counted so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from tutelage.errors import TutelageError
from tutelage.train import attention
from tutelage.train.compute import Compute, peak_rss
from tutelage.train.config import TrainConfig
from tutelage.train.dpo import Pairs
from tutelage.train.fast import speed_up
from tutelage.train.hybrid import follow_branches
from tutelage.train.lora import add_lora
from tutelage.train.loss import chunk_rows, tree_logprobs
from tutelage.train.objectives import objective_of
from tutelage.train.sharing import why_not_shared
from tutelage.train.tree import Row, Tree

IN_4_BITS = 0.52  # bytes of a weight, its share of the scales included
ADAPTER_BYTES = 16  # of a trained parameter: itself, its gradient, AdamW's two moments
# Both fitted to two trainings of SmolLM2-135M on one machine: the share of its products' speed that a step reaches, and
# what glibc's heap takes for what is kept, holes between included.
OF_PRODUCTS = 0.65
ON_HEAP = 4 / 3
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
    objective = objective_of(config, share=separate is None)
    pieces = [piece for step in steps for piece in objective.pieces(step)]
    trees = [tree for piece in pieces for tree in (piece.trees if isinstance(piece, Pairs) else [piece])]
    largest = max(trees, key=len)
    parameters = [(p.numel(), p.requires_grad) for p in model.parameters()]
    trained = sum(size for size, learns in parameters if learns)
    frozen = sum(size for size, learns in parameters if not learns)
    try:
        kept, operations = _kept_and_operations(model, largest)
        if config.checkpointing != "none":
            kept, operations = _checkpointed(student.get_text_config(), largest, config, compute, kept, operations)
    except RuntimeError as error:  # of layers that look at values
        reason = str(error).splitlines()[0].rstrip(".")
        raise TutelageError(
            f"What a training of {student.model_type} takes cannot be counted ({reason}). Train without --dry-run."
        ) from error
    quantised = _quantised(model) if config.method == "qlora" else 0
    weights = (frozen - quantised) * compute.dtype.itemsize + quantised * IN_4_BITS + trained * ADAPTER_BYTES
    working = _working(student.get_text_config(), largest, compute.dtype)
    tokens = sum(map(len, trees))
    return Needs(
        parameters=frozen + trained,
        trained=trained,
        separate=separate,
        tokens_tree=tokens,
        largest_tree=len(largest),
        peak_bytes=round(held + weights + kept * (ON_HEAP if compute.device.type == "cpu" else 1) + working),
        free_bytes=held + _free(compute),
        seconds=operations * tokens / len(largest) / (compute.gflops * 1e9 * OF_PRODUCTS),
    )


def _without_weights(
    student: PreTrainedConfig, config: TrainConfig, compute: Compute
) -> tuple[PreTrainedModel, str | None]:
    """The adapted student, and why its rows are computed one by one, if they are."""
    full = config.method == "full"
    dtype = torch.float32 if full else compute.dtype
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(student, dtype=dtype, attn_implementation=attention.NAME)
        model.config.use_cache = False
        follow_branches(model)
        adapted = None if full else add_lora(model, config)
    separate = why_not_shared(model)
    if adapted is not None:
        speed_up(adapted)
    return model, separate


def _quantised(model: PreTrainedModel) -> int:
    """How many of the weights QLoRA holds in 4 bits: the layers' matrices, not embeddings and head."""
    head = model.get_output_embeddings()
    return sum(m.weight.numel() for m in model.modules() if type(m) is nn.Linear and m is not head and _is_frozen(m))


def _is_frozen(module: nn.Linear) -> bool:
    return not module.weight.requires_grad


def _checkpointed(
    shape: Any, tree: Tree, config: TrainConfig, compute: Compute, kept: int, operations: int
) -> tuple[int, int]:
    """With what goes in between layers kept alone: one layer's working set at a time, its forward pass twice."""
    layers = shape.num_hidden_layers
    between = 0 if config.checkpointing == "offload" else layers * len(tree) * shape.hidden_size
    return round(kept / layers) + between * compute.dtype.itemsize, round(operations * 4 / 3)


def _kept_and_operations(model: Any, tree: Tree) -> tuple[int, int]:
    """Bytes that autograd keeps of the tree's forward pass, weights aside, and operations of both passes."""
    own = {id(parameter) for parameter in model.parameters()}
    sizes: dict[int, Tensor] = {}  # held, so that no identity is given twice

    def keep(tensor: Tensor) -> Tensor:
        whole = tensor if tensor._base is None else tensor._base
        if id(whole) not in own:
            sizes[id(whole)] = whole
        return tensor

    model.train()
    with FlopCounterMode(display=False, custom_mapping=OF_FLASH) as counter:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = tree_logprobs(model, tree).sum()
        kept = sum(tensor.numel() * tensor.element_size() for tensor in sizes.values())
        loss.backward()
    operations: int = counter.get_total_flops()
    return kept, operations


def _working(config: Any, tree: Tree, dtype: torch.dtype) -> int:
    """Bytes of what lives for a moment: a chunk of logits, the head as the product packs it, one layer's gradients."""
    logits = (
        chunk_rows(len(tree.targets), config.vocab_size)
        * config.vocab_size
        * (4 if dtype == torch.float32 else 4 + dtype.itemsize)
    )
    widest = max(getattr(config, "intermediate_size", 0), config.hidden_size)
    head = config.vocab_size * config.hidden_size * dtype.itemsize
    gradients = 5 * len(tree) * widest * dtype.itemsize
    return int(logits + head + gradients)


def _held_already(compute: Compute) -> int:
    """Bytes that Python and its libraries hold before a model is loaded."""
    if compute.device.type == "cuda":
        return CUDA_CONTEXT
    return peak_rss()


def _free(compute: Compute) -> int:
    if compute.device.type == "cuda":
        free: int = torch.cuda.mem_get_info()[0]
        return free - CUDA_CONTEXT
    available: int = psutil.virtual_memory().available
    return available
