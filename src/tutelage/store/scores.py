"""What judging models said of traces: once a revision, model and prompt."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, insert, select
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

    def by(self, model: str, prompt_sha256: str) -> dict[tuple[str, int], Score]:
        """All scores of one judge, by trace and revision."""
        query = select(scores).where(scores.c.model == model, scores.c.prompt_sha256 == prompt_sha256)
        with self._engine.connect() as connection:
            found = [
                Score(
                    *(row.trace_id, row.revision, row.model, row.prompt_sha256, row.score, row.reason),
                    datetime.fromisoformat(row.created),
                )
                for row in connection.execute(query)
            ]
        return {(score.trace_id, score.revision): score for score in found}
