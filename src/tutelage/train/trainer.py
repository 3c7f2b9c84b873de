"""A Hugging Face Trainer that learns from prefix trees.

One batch of the Trainer is one optimizer step: a list of microbatches ("pieces": trees), run one after the other. What
is learnt from them is the objective's: each piece has a loss and a weight, and the step's loss is the sum of the losses
over the sum of the weights, however its rows were cut into pieces.

Several processes share a step's pieces and add up their gradients at its end. Each holds the whole step, so that all
divide by the same weight; adapters are small, so that one sum a step costs less than a wrapper that overlaps it. The
gradients of layers that are divided over the processes are added up by shards.py; what is whole is left to do here.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel, Trainer, TrainerControl, TrainingArguments

from tutelage.errors import TutelageError
from tutelage.train.shards import is_divided, save_weights, save_whole, take_weights
from tutelage.train.tree import Row


class Piece(Protocol):
    """A microbatch."""

    def __len__(self) -> int: ...  # tokens that are computed

    @property
    def tokens_unrolled(self) -> int: ...  # of its rows


P = TypeVar("P", bound=Piece)


class Objective(Protocol[P]):
    """What is learnt from rows."""

    def begin(self, model: PreTrainedModel, rows: Sequence[Row]) -> None:
        """Called once with all rows, before anything is learnt."""

    def pieces(self, rows: Sequence[Row]) -> list[P]:
        """The microbatches of one optimizer step."""

    def weight(self, piece: P) -> float:
        """What the piece adds to the step's denominator."""

    def loss(self, model: PreTrainedModel, piece: P) -> Tensor:
        """Summed over the piece, differentiable; `model` without PEFT's wrapper."""


class StepPieces(Dataset[list[P]], Generic[P]):  # type: ignore[misc]  # seen as Any
    """The pieces of every optimizer step, in the order in which they are run; built when asked for."""

    def __init__(self, steps: Sequence[Sequence[Row]], objective: Objective[P]) -> None:
        self.steps, self.objective = steps, objective

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, i: int) -> list[P]:
        return self.objective.pieces(self.steps[i])


class TreeTrainer(Trainer, Generic[P]):  # type: ignore[misc]  # Transformers ships no types for it
    """A Trainer whose training set is `StepPieces` and whose evaluation set is a list of pieces."""

    def __init__(
        self,
        *,
        model: nn.Module,
        args: TrainingArguments,
        steps: StepPieces[P],
        validation: Sequence[P],
        **kwargs: Any,
    ) -> None:
        if args.gradient_accumulation_steps != 1 or args.train_batch_size != 1:
            raise TutelageError(
                "A batch of trees is one step: leave gradient_accumulation_steps and the batch size at 1. Where "
                "several GPUs are there, start one process for each (torchrun) or set CUDA_VISIBLE_DEVICES=0."
            )
        super().__init__(
            model=model, args=args, train_dataset=steps, eval_dataset=validation, data_collator=_only, **kwargs
        )
        self.validation, self.objective = list(validation), steps.objective
        self.divided = is_divided(model)
        # Transformers renames a mixture's experts as it saves them, and its Trainer does not find them again.
        self.own_names = self.divided or not isinstance(model, PeftModel)

    def get_train_dataloader(self) -> DataLoader[list[P]]:
        """Whole steps, the same in every process and in a resumed run: they were shuffled when planned."""
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=_only)

    def training_step(self, model: nn.Module, inputs: list[P], num_items_in_batch: object = None) -> Tensor:
        """Backward over each of this process's pieces in turn; the loss of the whole step, detached."""
        model.train()
        total = sum(map(self.objective.weight, inputs))
        step_loss = torch.zeros((), device=self.args.device)
        for piece, counted in self._mine(inputs):
            with self.compute_loss_context_manager():
                loss = self.objective.loss(self.bare, piece) / total * counted
            self.accelerator.backward(loss)
            step_loss += loss.detach()
        self._add_up([step_loss, *self._gradients()])
        if not torch.isfinite(step_loss):
            raise TutelageError(
                f"The loss of step {self.state.global_step + 1} is no number ({step_loss.item()}). Lower [train] "
                "learning_rate or max_grad_norm and train anew; the checkpoints before it are kept."
            )
        return step_loss

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The objective's loss over the weight of the validation rows."""
        self.model.eval()
        total = sum(map(self.objective.weight, self.validation))
        with self.compute_loss_context_manager():
            mine = self._mine(self.validation)
            losses = (self.objective.loss(self.bare, piece) * counted for piece, counted in mine)
            loss = sum(losses, torch.zeros((), device=self.args.device)) / total
        self._add_up([loss])
        metrics = {"eval_loss": loss.item()}
        self.log(metrics)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def floating_point_ops(self, inputs: object) -> int:
        return 0  # the Trainer's estimate knows only padded batches

    @property
    def bare(self) -> PreTrainedModel:
        """The model without PEFT's wrapper."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    def _wrap_model(self, model: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        model._is_accelerate_prepared = True  # no DistributedDataParallel: see the module's docstring
        return model

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if self.divided:
            save_whole(optimizer)
        return optimizer

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if self.own_names:
            save_weights(self.model, Path(output_dir or self.args.output_dir))
        else:
            super()._save(output_dir, state_dict)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.divided and not self.args.should_save:
            self.optimizer.state_dict()  # this process's part of what the leading one saves
        super()._save_optimizer_and_scheduler(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.own_names:
            take_weights(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if self.own_names:
            take_weights(self.model, Path(self.state.best_model_checkpoint))
        else:
            super()._load_best_model()

    def _mine(self, pieces: Sequence[P]) -> Iterator[tuple[P, float]]:
        """This process's pieces, and how much each counts."""
        process, processes = self.args.process_index, self.args.world_size
        if self.divided:
            return in_rounds(pieces, process, processes)
        return ((piece, 1.0) for piece in share_of(pieces, process, processes))

    def _gradients(self) -> list[Tensor]:
        """One for each whole parameter that learns, also where this process had no piece that reached it."""
        wanted = [p for p in self.model.parameters() if p.requires_grad and not isinstance(p, DTensor)]
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


def share_of(pieces: Sequence[P], process: int, processes: int) -> list[P]:
    """One process's part of a step: the longest pieces first, each to whoever has least so far."""
    if processes == 1:
        return list(pieces)
    parts: list[list[P]] = [[] for _ in range(processes)]
    for piece in sorted(pieces, key=len, reverse=True):
        min(parts, key=lambda part: sum(map(len, part))).append(piece)
    return parts[process]


def in_rounds(pieces: Sequence[P], process: int, processes: int) -> Iterator[tuple[P, float]]:
    """One process's part of a step in which all run equally many pieces, each as long as the others' at that time.

    Whoever has none left for the last round runs the shortest once more, which then counts for nothing: the others are
    waited for anyway.
    """
    longest_first = sorted(pieces, key=len, reverse=True)
    for start in range(0, len(pieces), processes):
        place = start + process
        yield (longest_first[place], 1.0) if place < len(pieces) else (longest_first[-1], 0.0)


def _only(batch: list[list[P]]) -> list[P]:
    (pieces,) = batch
    return pieces
