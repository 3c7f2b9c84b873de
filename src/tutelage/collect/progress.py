"""How far a run is."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tutelage.collect.budget import Budget

if TYPE_CHECKING:
    from tutelage.agent.pool import Finished


@dataclass(frozen=True)
class Progress:
    rollouts: int  # in all
    done: int  # finished, those before this run included
    running: int
    judged: int  # of those finished now: by the verifier
    solved: int  # of these: with full reward
    failed: int  # ended by the endpoint or a server, to be repeated
    tokens_per_second: float  # prompts and completions together, since the run began
    seconds_left: float | None  # at the pace so far; None: nothing is known yet

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        parts = [f"{self.running} running"]
        if self.judged:
            parts.append(f"{self.solved} of {self.judged} with full reward")
        if self.failed:
            parts.append(f"{self.failed} failed")
        parts.append(f"{self.tokens_per_second:,.0f} tokens/s")
        return ", ".join(parts)


OnProgress = Callable[[Progress], None]


class Tracker:
    """Follows a run, and holds its budget."""

    def __init__(self, budget: Budget, rollouts: int, done: int, on_progress: OnProgress) -> None:
        self._budget, self._on_progress = budget, on_progress
        self._rollouts, self._before = rollouts, done
        self._running = self._finished = self._judged = self._solved = self._failed = 0
        self._began = time.monotonic()
        self._tokens: Callable[[], int] = lambda: 0

    def begin(self, tokens: Callable[[], int]) -> None:
        """`tokens` says how many the endpoint used so far."""
        self._began, self._tokens = time.monotonic(), tokens
        self._report()

    def may_begin(self, running: int) -> bool:
        allowed = self._budget.allows(running)
        self._running = running + allowed
        if allowed:
            self._report()
        return allowed

    def finished(self, result: "Finished") -> None:
        self._running -= 1
        self._finished += not result.broken
        self._failed += result.broken
        self._judged += result.reward is not None
        self._solved += result.reward is not None and result.reward.value >= 1
        self._report()
        self._budget.add(result.prompt_tokens, result.completion_tokens)

    def elsewhere(self, results: Sequence["Finished"]) -> None:
        """Rollouts that ran on other machines, and are over."""
        self._running += len(results)
        for result in results:
            self.finished(result)

    def _report(self) -> None:
        seconds = time.monotonic() - self._began
        done = self._before + self._finished
        left = self._rollouts - done - self._failed
        self._on_progress(
            Progress(
                rollouts=self._rollouts,
                done=done,
                running=self._running,
                judged=self._judged,
                solved=self._solved,
                failed=self._failed,
                tokens_per_second=self._tokens() / seconds if seconds > 0 else 0.0,
                seconds_left=seconds / self._finished * left if self._finished else None,
            )
        )
