"""How far a training is, and stopping it in good order."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tutelage.train import processes


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
        self.interrupted = processes.anywhere(self.interrupted)  # all stop after the same step
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
