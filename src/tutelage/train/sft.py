"""Supervised fine-tuning on prefix trees, inside a Hugging Face Trainer.

One batch of the Trainer is one optimizer step: a list of trees, run one after the other. The loss is the weighted
sum of negative log-probabilities over the total row weight of the whole step, however its rows were cut into trees.

Several processes share a step's trees and add up their gradients at its end. Each holds the whole step, so that all
divide by the same weight; adapters are small, so that one sum a step costs less than a wrapper that overlaps it.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tutelage.errors import TutelageError
from tutelage.train.loss import tree_logprobs
from tutelage.train.tree import Row, Tree, plan_step


class StepTrees(Dataset[list[Tree]]):  # type: ignore[misc]  # seen as Any
    """The trees of every optimizer step, in the order in which they are run; built when asked for."""

    def __init__(self, steps: Sequence[Sequence[Row]], budget: int, share: bool = True) -> None:
        """`budget` and `share` are plan_step's."""
        self.steps, self.budget, self.share = steps, budget, share

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, i: int) -> list[Tree]:
        return self.trees(self.steps[i])

    def trees(self, rows: Sequence[Row]) -> list[Tree]:
        return plan_step(rows, self.budget, self.share)


class TreeTrainer(Trainer):  # type: ignore[misc]  # Transformers ships no types for it
    """A Trainer whose training set is `StepTrees` and whose evaluation set is a list of trees."""

    def __init__(
        self, *, model: nn.Module, args: TrainingArguments, steps: StepTrees, validation: Sequence[Tree], **kwargs: Any
    ):
        if args.gradient_accumulation_steps != 1 or args.train_batch_size != 1:
            raise TutelageError(
                "A batch of trees is one step: leave gradient_accumulation_steps and the batch size at 1. Where "
                "several GPUs are there, start one process for each (torchrun) or set CUDA_VISIBLE_DEVICES=0."
            )
        super().__init__(
            model=model, args=args, train_dataset=steps, eval_dataset=validation, data_collator=_only, **kwargs
        )
        self.validation = list(validation)

    def get_train_dataloader(self) -> DataLoader[list[Tree]]:
        """Whole steps, the same in every process and in a resumed run: they were shuffled when planned."""
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=_only)

    def training_step(self, model: nn.Module, inputs: list[Tree], num_items_in_batch: object = None) -> Tensor:
        """Backward over each of this process's trees in turn; the loss of the whole step, detached."""
        model.train()
        total = sum(tree.total_weight for tree in inputs)
        step_loss = torch.zeros((), device=self.args.device)
        for tree in share_of(inputs, self.args.process_index, self.args.world_size):
            with self.compute_loss_context_manager():
                loss = self._weighted_nll(tree) / total
            self.accelerator.backward(loss)
            step_loss += loss.detach()
        self._add_up([step_loss, *self._gradients()])
        return step_loss

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The mean negative log-probability over the weight of the validation rows."""
        self.model.eval()
        total = sum(tree.total_weight for tree in self.validation)
        with self.compute_loss_context_manager():
            mine = share_of(self.validation, self.args.process_index, self.args.world_size)
            loss = sum((self._weighted_nll(tree) for tree in mine), torch.zeros((), device=self.args.device)) / total
        self._add_up([loss])
        metrics = {"eval_loss": loss.item()}
        self.log(metrics)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def floating_point_ops(self, inputs: object) -> int:
        return 0  # the Trainer's estimate knows only padded batches

    def _weighted_nll(self, tree: Tree) -> Tensor:
        logprobs = tree_logprobs(self.model.get_base_model(), tree)
        weights = torch.from_numpy(tree.weights[tree.targets]).to(logprobs.device)
        return -(logprobs * weights).sum()

    def _wrap_model(self, model: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        return model  # no DistributedDataParallel: see the module's docstring

    def _gradients(self) -> list[Tensor]:
        """One for each adapter, also where this process had no tree that reached it."""
        wanted = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        for parameter in wanted if self.args.world_size > 1 else ():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in wanted if parameter.grad is not None]

    def _add_up(self, tensors: list[Tensor]) -> None:
        """Sum each over the processes, in place."""
        if self.args.world_size > 1:
            flat = torch.cat([tensor.float().reshape(-1) for tensor in tensors])
            torch.distributed.all_reduce(flat)
            parts = flat.split([tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))


def share_of(trees: Sequence[Tree], process: int, processes: int) -> list[Tree]:
    """One process's part of a step: the longest trees first, each to whoever has least so far."""
    if processes == 1:
        return list(trees)
    parts: list[list[Tree]] = [[] for _ in range(processes)]
    for tree in sorted(trees, key=len, reverse=True):
        min(parts, key=lambda part: sum(map(len, part))).append(tree)
    return parts[process]


def _only(batch: list[list[Tree]]) -> list[Tree]:
    (trees,) = batch
    return trees


@dataclass(frozen=True)
class Progress:
    """Where a training stands, after each step and each evaluation."""

    step: int
    steps: int
    loss: float | None
    eval_loss: float | None

    def text(self) -> str:
        parts = [("loss", self.loss), ("evaluation loss", self.eval_loss)]
        return ", ".join(f"{name} {value:.4f}" for name, value in parts if value is not None)


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Tells `on_progress` of losses; on Ctrl-C, ends the training after the step in hand, with a checkpoint."""

    def __init__(self, on_progress: Callable[[Progress], None] | None) -> None:
        self.on_progress = on_progress
        self.interrupted = False
        self.loss: float | None = None
        self.eval_loss: float | None = None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> TrainerControl:
        if not logs or not ({"loss", "eval_loss"} & logs.keys()):
            return control
        self.loss, self.eval_loss = logs.get("loss", self.loss), logs.get("eval_loss", self.eval_loss)
        if self.on_progress:
            self.on_progress(Progress(state.global_step, state.max_steps, self.loss, self.eval_loss))
        return self.on_step_end(args, state, control)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.interrupted:
            control.should_save = control.should_training_stop = True
        return control

    @contextmanager
    def catching_interrupts(self) -> Iterator[None]:
        """A first Ctrl-C is kept for the step's end and raised when the block ends; a second is raised at once."""

        def interrupt(number: int, frame: FrameType | None) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        if self.interrupted:
            raise KeyboardInterrupt
