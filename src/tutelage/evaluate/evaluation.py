"""The record of an evaluation: evaluation.json."""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import JsonValue, ValidationError

from tutelage.errors import TutelageError
from tutelage.evaluate.failures import category
from tutelage.evaluate.statistics import Interval, Paired, mcnemar_exact, paired_difference, wilson
from tutelage.trace import Plain, Trace

FILE = "evaluation.json"
SOLVED_REWARD = 1.0  # a task counts as solved from this reward on


class Outcome(Plain):
    """How one rollout of one variant ended."""

    task_id: str
    kind: str
    trace_id: str
    reward: float
    solved: bool
    stop_reason: str
    category: str  # of a failure; "" where the task was solved
    reason: str  # the verifier's
    steps: int
    tool_calls: int
    seconds: float  # the model calls of the rollout, added up
    prompt_tokens: int
    completion_tokens: int


class Variant(Plain):
    """One model on all tasks."""

    name: str  # "before", "after", "teacher"
    model: str
    run: str
    scripted: bool = False  # no language model: its name says so
    tasks: int
    solved: int
    success: float
    interval: Interval
    outcomes: tuple[Outcome, ...]

    @property
    def label(self) -> str:
        return self.name + (" (scripted)" if self.scripted else "")


class Comparison(Plain):
    """The paired difference of two variants: `after`'s success rate minus `before`'s."""

    before: str
    after: str
    table: Paired
    difference: float
    interval: Interval
    p: float  # McNemar's exact test, two-sided


class Provenance(Plain):
    """Where the figures come from."""

    created: datetime
    version: str
    commit: str | None  # of the tutelage checkout; None for an installed package
    seed: int
    student: str
    student_sha256: str | None  # of the GGUF that the embedded endpoint served
    adapter: str
    adapter_sha256: str | None  # of adapter.gguf, or of the PEFT adapter beside an endpoint of the user's
    tasks_file: str
    tasks_sha256: str  # of the tasks used, in order
    shared_tasks: int  # that the dataset was built from too, by id or by content; 0 is as it should be
    fingerprint: str  # names the runs
    template: str
    sampling: dict[str, JsonValue]
    limits: dict[str, JsonValue]
    block: int  # tasks after which the variants take turns
    store: str


class TaskName(Plain):
    id: str
    kind: str


class Evaluation(Plain):
    project: str
    tasks: tuple[TaskName, ...]
    variants: dict[str, Variant]  # by name, in the order in which they are shown
    comparisons: tuple[Comparison, ...]
    provenance: Provenance
    seconds: float  # of this command; less than the whole where it continued an earlier one

    def kinds(self) -> list[str]:
        """Kinds of task in the order in which they first occur."""
        return list(dict.fromkeys(task.kind for task in self.tasks))

    def sentence(self) -> str:
        return "; ".join(
            f"{variant.label}: {variant.solved} of {variant.tasks} held-out tasks solved ({variant.success:.0%}, "
            f"95 % interval {variant.interval.low:.0%} to {variant.interval.high:.0%})"
            for variant in self.variants.values()
        )

    def write(self, folder: Path) -> Path:
        """Write evaluation.json whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        partial = folder / f".{FILE}.{os.getpid()}"
        try:
            partial.write_text(self.model_dump_json(indent=1) + "\n")
            partial.replace(path)
        except OSError as error:
            raise TutelageError(f"{path} could not be written: {error.strerror}.") from error
        finally:
            partial.unlink(missing_ok=True)
        return path

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises TutelageError where there is no evaluation or one that this version cannot read."""
        path = folder / FILE
        try:
            return cls.model_validate_json(path.read_text())
        except FileNotFoundError:
            raise TutelageError(f"{path} was not found. Run `tutelage evaluate` first.") from None
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise TutelageError(
                f'{path} is no evaluation of this version: "{where}": {fault["msg"]}. Run `tutelage evaluate` again.'
            ) from None


def outcome(trace: Trace) -> Outcome:
    reward = trace.reward or 0.0
    solved = reward >= SOLVED_REWARD
    return Outcome(
        task_id=trace.task.id,
        kind=trace.task.kind,
        trace_id=trace.id,
        reward=reward,
        solved=solved,
        stop_reason=trace.stop_reason.value if trace.stop_reason else "",
        category="" if solved else category(trace),
        reason=trace.reward_reason,
        steps=len(trace.steps),
        tool_calls=sum(len(message.tool_calls) for message in trace.messages),
        seconds=sum(step.seconds for step in trace.steps),
        prompt_tokens=sum(step.prompt_tokens or 0 for step in trace.steps),
        completion_tokens=sum(step.completion_tokens or 0 for step in trace.steps),
    )


def variant(name: str, model: str, run: str, traces: Sequence[Trace]) -> Variant:
    outcomes = tuple(outcome(trace) for trace in traces)
    solved = sum(item.solved for item in outcomes)
    return Variant(
        name=name,
        model=model,
        run=run,
        scripted="scripted" in model.lower(),
        tasks=len(outcomes),
        solved=solved,
        success=solved / len(outcomes) if outcomes else 0.0,
        interval=wilson(solved, len(outcomes)),
        outcomes=outcomes,
    )


def compare(before: Variant, after: Variant) -> Comparison:
    """Pair two variants by task."""
    first = {item.task_id: item.solved for item in before.outcomes}
    pairs = [(first[item.task_id], item.solved) for item in after.outcomes if item.task_id in first]
    table = Paired(
        both=pairs.count((True, True)),
        gained=pairs.count((False, True)),
        lost=pairs.count((True, False)),
        neither=pairs.count((False, False)),
    )
    return Comparison(
        before=before.name,
        after=after.name,
        table=table,
        difference=(table.gained - table.lost) / table.total if table.total else 0.0,
        interval=paired_difference(table),
        p=mcnemar_exact(table.gained, table.lost),
    )
