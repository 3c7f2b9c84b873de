"""Lists of traces: filtered, sorted, a page at a time, with counts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Engine, and_, case, func, or_, select, tuple_

from tutelage.store import schema
from tutelage.store.facets import FACETS, FacetCounts
from tutelage.store.names import holds_any, split_names
from tutelage.store.schema import summaries
from tutelage.store.search import documents, matches
from tutelage.store.summaries import TraceSummary, selected, summary
from tutelage.trace import StopReason, Verdict

RARE = 0.02  # a tool that fewer of the traces call is rare
CONTESTED = 0.5  # reward and a judging model's score this far apart contradict each other
ENOUGH_TO_BE_RARE = 50  # traces; among fewer, every tool is


class Sort(StrEnum):
    WORTH = "worth"  # what a reviewer's time is best spent on first
    NEWEST = "newest"
    OLDEST = "oldest"
    LOWEST = "lowest"  # by reward
    HIGHEST = "highest"
    SHORTEST = "shortest"  # by steps
    LONGEST = "longest"
    TASK = "task"


@dataclass(frozen=True)
class Selection:
    """Which traces; `facets` are the wanted values by the names of FACETS, one of each name's has to be there."""

    facets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    task: str = ""
    text: str = ""


class Listed(NamedTuple):
    """A line of the list."""

    summary: TraceSummary
    prompt: str  # the first user turn
    tools: list[str]
    tags: list[str]
    errors: int
    why: str  # sorted by worth: why it stands here


class Counts(NamedTuple):
    total: int
    facets: dict[str, dict[str, int]]


WHY = (
    "edited: awaits a verdict",
    "verifier and judging model disagree",
    "full reward in spite of tool errors or an early end",
    "partial reward",
    "another attempt of this run got another reward",
    "calls a rare tool",
    "",
    "",
)


class Listing:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._counts = FacetCounts()

    def page(self, selection: Selection, sort: Sort, *, limit: int, offset: int = 0) -> list[Listed]:
        worth = self._worth() if sort is Sort.WORTH else None
        labelled = None if worth is None else worth.label("worth")  # computed once, sorted by its name
        more = [] if labelled is None else [labelled]
        query = selected(*more).where(*self._conditions(selection)).order_by(*_order(sort, labelled))
        with self._engine.connect() as connection:
            rows = connection.execute(query.limit(limit).offset(offset)).all()
            traces = schema.traces
            ids = [row.trace_id for row in rows]
            tasks = dict(
                connection.execute(select(traces.c.id, traces.c.task).where(traces.c.id.in_(ids))).tuples().all()
            )
        return [
            Listed(
                summary(row),
                json.loads(tasks[row.trace_id])["turns"][0],
                split_names(row.tools),
                split_names(row.tags),
                row.errors,
                WHY[row.worth] if worth is not None else "",
            )
            for row in rows
        ]

    def ids(self, selection: Selection) -> list[tuple[str, int]]:
        """Ids and latest revisions of all finished traces selected."""
        query = select(summaries.c.trace_id, summaries.c.revision)
        query = query.where(*self._conditions(selection), summaries.c.stop_reason.is_not(None))
        with self._engine.connect() as connection:
            return [(row.trace_id, row.revision) for row in connection.execute(query.order_by(summaries.c.number))]

    def finished(self, run: str) -> list[tuple[TraceSummary, list[str], int]]:
        """The finished traces of a run, in order of (task id, attempt): each with its tools and its errors."""
        query = selected().where(summaries.c.run == run, summaries.c.stop_reason.is_not(None))
        query = query.order_by(summaries.c.task_id, summaries.c.attempt, summaries.c.number)
        with self._engine.connect() as connection:
            return [(summary(row), split_names(row.tools), row.errors) for row in connection.execute(query)]

    def revisions(self, ids: Sequence[str]) -> list[tuple[str, int]]:
        """Latest revisions of those of `ids` that are finished."""
        query = select(summaries.c.trace_id, summaries.c.revision)
        query = query.where(summaries.c.trace_id.in_(ids), summaries.c.stop_reason.is_not(None))
        with self._engine.connect() as connection:
            return [(row.trace_id, row.revision) for row in connection.execute(query)]

    def pairs(self, before: str, after: str) -> list[tuple[TraceSummary, TraceSummary]]:
        """The finished traces of two runs that are the same attempt at the same task, by task."""
        found: list[dict[tuple[str, int], TraceSummary]] = []
        with self._engine.connect() as connection:
            for run in (before, after):
                query = selected().where(summaries.c.run == run, summaries.c.stop_reason.is_not(None))
                rows = [summary(row) for row in connection.execute(query.order_by(summaries.c.number))]
                found.append({(row.task_id, row.attempt): row for row in rows})
        return [(found[0][key], found[1][key]) for key in found[0] if key in found[1]]

    def counts(self, selection: Selection) -> Counts:
        """How many are selected, and how many would be with another value of each facet."""
        with self._engine.connect() as connection:
            self._counts.refresh(connection)
            among: list[int] | None = None
            if selection.text.strip():
                found = connection.scalars(documents(self._engine.dialect.name, selection.text))
                among = self._counts.latest(found)
            if selection.task:
                of_task = connection.scalars(select(summaries.c.number).where(summaries.c.task_id == selection.task))
                among = list(of_task) if among is None else list(set(of_task) & set(among))
        return Counts(*self._counts.count(selection.facets, among))

    def siblings(self, task_id: str) -> list[TraceSummary]:
        """The finished traces of a task, of all runs."""
        query = selected().where(summaries.c.task_id == task_id, summaries.c.stop_reason.is_not(None))
        with self._engine.connect() as connection:
            return [summary(row) for row in connection.execute(query.order_by(summaries.c.number))]

    def _conditions(self, selection: Selection) -> list[ColumnElement[bool]]:
        conditions = [FACETS[name].condition(values) for name, values in selection.facets.items() if values]
        if selection.task:
            conditions.append(summaries.c.task_id == selection.task)
        if selection.text.strip():
            conditions.append(matches(self._engine.dialect.name, selection.text))
        return conditions

    def _worth(self) -> ColumnElement[int]:
        """The place in WHY."""
        counts = self.counts(Selection())
        rare = [tool for tool, count in counts.facets["tool"].items() if count < RARE * counts.total]
        row = summaries.c
        other = summaries.alias()
        disagreeing = (
            select(other.c.task_id, other.c.run)
            .where(other.c.reward.is_not(None))
            .group_by(other.c.task_id, other.c.run)
            .having(func.min(other.c.reward) != func.max(other.c.reward))
        )
        scores = schema.scores.c
        contested = (
            select(scores.trace_id)
            .join(other, and_(other.c.trace_id == scores.trace_id, other.c.revision == scores.revision))
            .where(func.abs(scores.score - other.c.reward) >= CONTESTED)
        )
        lucky = and_(row.reward >= 1, or_(row.errors > 0, row.stop_reason != StopReason.ANSWER.value))
        ranks: list[tuple[Any, int]] = [
            (or_(row.stop_reason.is_(None), row.verdict != Verdict.UNDECIDED.value), 7),
            (row.revision > 0, 0),
            (row.trace_id.in_(contested), 1),
            (lucky, 2),
            (and_(row.reward > 0, row.reward < 1), 3),
            (tuple_(row.task_id, row.run).in_(disagreeing), 4),
        ]
        if rare and counts.total >= ENOUGH_TO_BE_RARE:
            ranks.append((holds_any(row.tools, rare), 5))
        return case(*ranks, else_=6)


def _order(sort: Sort, worth: ColumnElement[int] | None) -> list[Any]:
    row = summaries.c
    first: dict[Sort, list[Any]] = {
        Sort.WORTH: [worth, row.number],
        Sort.NEWEST: [row.started.desc(), row.number.desc()],
        Sort.OLDEST: [row.started, row.number],
        Sort.LOWEST: [row.reward.is_(None), row.reward, row.number],
        Sort.HIGHEST: [row.reward.is_(None), row.reward.desc(), row.number],
        Sort.SHORTEST: [row.steps, row.number],
        Sort.LONGEST: [row.steps.desc(), row.number],
        Sort.TASK: [row.task_id, row.run, row.attempt, row.number],
    }
    return first[sort]
