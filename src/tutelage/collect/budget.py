"""What a run may use, what it has used, and what is still to come of it."""

import time
from dataclasses import dataclass, field

from tutelage.errors import TutelageError
from tutelage.settings import Collect, Teacher
from tutelage.store.usage import Usage

MILLION = 1_000_000


@dataclass(frozen=True)
class Limits:
    """The settings' budgets; None: as much as it takes."""

    tokens: int | None = None
    cost: float | None = None
    minutes: float | None = None

    @classmethod
    def of(
        cls,
        settings: Collect,
        teacher: Teacher,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        max_minutes: float | None = None,
    ) -> "Limits":
        """What the settings say, or what is given in their place. Raises TutelageError for money without a price."""
        found = cls(
            max_tokens or settings.max_tokens, max_cost or settings.max_cost, max_minutes or settings.max_minutes
        )
        if found.cost is not None and cost(Usage(), teacher) is None:
            raise TutelageError(
                "A budget of money needs prices: set prompt_price and completion_price in [teacher] of tutelage.toml, "
                "each of a million tokens."
            )
        return found


def cost(used: Usage, teacher: Teacher) -> float | None:
    """In the currency of the teacher's prices; None where there are none."""
    if teacher.prompt_price is None or teacher.completion_price is None:
        return None
    return (used.prompt_tokens * teacher.prompt_price + used.completion_tokens * teacher.completion_price) / MILLION


@dataclass
class Budget:
    """Says whether another rollout may begin: with those under way it must not cost more than is left.

    What a rollout costs is what the run's rollouts did so far; while none is finished, nothing is known.
    """

    limits: Limits
    teacher: Teacher
    used: Usage  # by the run's rollouts that are over
    began: float = field(default_factory=time.monotonic)
    spent: str = ""  # which budget, once one is

    def add(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count a rollout that is over. Raises TutelageError where a budget hangs on tokens that nobody tells."""
        used = self.used
        self.used = Usage(
            used.rollouts + 1, used.prompt_tokens + prompt_tokens, used.completion_tokens + completion_tokens
        )
        if not self.used.tokens and (self.limits.tokens or self.limits.cost):
            raise TutelageError(
                "The endpoint does not say how many tokens it used, so that no budget of tokens or money can be kept. "
                "Leave max_tokens and max_cost out, or bound the run with max_minutes."
            )

    def allows(self, running: int) -> bool:
        """Whether a rollout may begin beside the `running` ones."""
        limits, used = self.limits, self.used
        each = (1 + running) / used.rollouts if used.rollouts else 0.0  # of what was used, is to come
        if limits.minutes is not None and time.monotonic() - self.began >= limits.minutes * 60:
            self.spent = f"{limits.minutes:g} minutes are over"
        elif limits.tokens is not None and used.tokens * (1 + each) > limits.tokens:
            self.spent = f"of the budget of {limits.tokens:,} tokens too little is left for another rollout"
        elif limits.cost is not None and (cost(used, self.teacher) or 0.0) * (1 + each) > limits.cost:
            self.spent = f"of the budget of {limits.cost:g} too little is left for another rollout"
        return not self.spent
