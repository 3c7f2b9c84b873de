"""What a run would take, by what the same model used for earlier rollouts of the store."""

from dataclasses import asdict, dataclass
from typing import Any

from tutelage.collect.budget import cost
from tutelage.project import Project
from tutelage.settings import Teacher
from tutelage.store import TraceStore
from tutelage.store.usage import Usage

MINUTE = 60.0


@dataclass(frozen=True)
class Estimate:
    """Of the rollouts that are left; `known` earlier ones are what it rests on, and without any nothing is known."""

    tasks: int
    rollouts: int
    left: int  # of the rollouts, not done yet
    known: int
    tokens: int | None = None  # prompts and completions together
    cost: float | None = None  # None also where the teacher has no prices
    minutes: float | None = None  # as many at once as the settings say

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        text = f"{self.rollouts} rollouts of {self.tasks} tasks, {self.left} of them not done yet."
        if self.tokens is None or self.minutes is None:
            return f"{text} What they will take is not known: the store holds no finished rollout of this teacher."
        money = f", {self.cost:,.2f} in money" if self.cost is not None else ""
        return (
            f"{text} As {self.known} earlier ones went, they take about {self.tokens:,} tokens{money} and "
            f"{self.minutes:,.1f} minutes."
        )


def estimate(project: Project, store: TraceStore, run: str, teacher: Teacher, limit: int | None = None) -> Estimate:
    """For the first `limit` training tasks, all unless it is given."""
    settings, tasks = project.settings.collect, project.tasks("train")[:limit]
    done = store.finished(run)
    left = sum((task.id, attempt) not in done for task in tasks for attempt in range(settings.attempts))
    plan = Estimate(len(tasks), len(tasks) * settings.attempts, left, 0)
    used = store.used.by_model(teacher.model)
    if not used.rollouts:
        return plan
    share = left / used.rollouts
    ahead = Usage(left, round(used.prompt_tokens * share), round(used.completion_tokens * share))
    return Estimate(
        plan.tasks,
        plan.rollouts,
        left,
        used.rollouts,
        ahead.tokens,
        cost(ahead, teacher),
        used.seconds * share / MINUTE / max(1, min(settings.concurrency, left)),
    )
