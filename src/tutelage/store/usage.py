"""What rollouts used: tokens and time, as recorded with their steps."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Engine, func, select

from tutelage.store.schema import steps, traces


class Usage(NamedTuple):
    rollouts: int = 0
    prompt_tokens: int = 0  # of all model calls
    completion_tokens: int = 0
    seconds: float = 0.0  # of all rollouts that are finished, one after another

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Used:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def by_run(self, run: str) -> Usage:
        """What all rollouts of a run used, those that are not finished too."""
        return _usage(self._engine, traces.c.run == run)

    def by_model(self, model: str) -> Usage:
        """What the finished rollouts of a model used whose endpoint told its tokens, of whatever run."""
        told = traces.c.id.in_(select(steps.c.trace_id).where(steps.c.prompt_tokens > 0))
        return _usage(self._engine, (traces.c.model == model) & traces.c.finished.is_not(None) & told)


def _usage(engine: Engine, wanted: ColumnElement[bool]) -> Usage:
    # An edit copies steps, with the moment at which they began.
    once = select(steps.c.trace_id, steps.c.started, steps.c.prompt_tokens, steps.c.completion_tokens).distinct()
    each = once.where(steps.c.trace_id.in_(select(traces.c.id).where(wanted))).subquery()
    tokens = select(
        func.coalesce(func.sum(each.c.prompt_tokens), 0), func.coalesce(func.sum(each.c.completion_tokens), 0)
    )
    with engine.connect() as connection:
        prompt, completion = connection.execute(tokens).one()
        times = connection.execute(select(traces.c.started, traces.c.finished).where(wanted)).all()
    return Usage(
        len(times),
        int(prompt),
        int(completion),
        sum(_seconds(started, finished) for started, finished in times if finished is not None),
    )


def _seconds(started: str, finished: str) -> float:
    return (datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds()
