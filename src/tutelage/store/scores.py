"""What judging models said of traces: once a revision, model and prompt."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, Row, insert, select
from sqlalchemy.exc import IntegrityError

from tutelage.store.schema import scores
from tutelage.trace import now


class Score(NamedTuple):
    trace_id: str
    revision: int
    model: str
    prompt_sha256: str  # of the rubric and of all else that the judge is told, but the trace
    score: float  # in [0, 1]
    reason: str
    created: datetime


class Scores:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, trace_id: str, revision: int, *, model: str, prompt_sha256: str, score: float, reason: str) -> Score:
        """Store a score; where the same judge gave one meanwhile, that one stays."""
        given = Score(trace_id, revision, model, prompt_sha256, score, reason, now())
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(scores).values({**given._asdict(), "created": given.created.isoformat()}))
        except IntegrityError:
            return self.by(model, prompt_sha256)[trace_id, revision]
        return given

    def of(self, trace_id: str) -> list[Score]:
        """All scores of a trace, newest first."""
        query = select(scores).where(scores.c.trace_id == trace_id).order_by(scores.c.created.desc())
        with self._engine.connect() as connection:
            return [_score(row) for row in connection.execute(query)]

    def by(self, model: str, prompt_sha256: str) -> dict[tuple[str, int], Score]:
        """All scores of one judge, by trace and revision."""
        query = select(scores).where(scores.c.model == model, scores.c.prompt_sha256 == prompt_sha256)
        with self._engine.connect() as connection:
            found = [_score(row) for row in connection.execute(query)]
        return {(score.trace_id, score.revision): score for score in found}


def _score(row: Row[Any]) -> Score:
    return Score(**{**row._mapping, "created": datetime.fromisoformat(row.created)})
