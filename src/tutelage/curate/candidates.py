"""The traces that curation chooses from, and what persons said of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tutelage.store import Judgement, Revision, TraceStore, TraceSummary, VerdictRecord
from tutelage.trace import Trace, Verdict

REVIEWER = "curate"  # and "curate:STEP": who gives curation's verdicts and makes its revisions


class Fault(NamedTuple):
    """Why a trace is taken out."""

    why: str  # as the report counts it
    detail: str  # of this trace


@dataclass
class Candidate:
    summary: TraceSummary
    tools: list[str]  # names of those called
    errors: int  # tool results
    newest: VerdictRecord | None  # on the latest revision, by whomever
    person: VerdictRecord | None  # what a person said of it, or of the revision that only curation changed since
    masked: bool  # whether the latest revision is curation's
    only_masked: bool  # whether nobody but curation changed the original
    masked_before: bool  # whether an earlier revision is curation's
    score: float | None = None  # the last judge's
    preview: Trace | None = None  # in a dry run: as masking would leave it
    loaded: Trace | None = None  # while it is being looked at

    @property
    def id(self) -> str:
        return self.summary.id

    @property
    def spoken_for(self) -> bool:
        """Whether a person said what becomes of it: no step takes it out."""
        return self.person is not None

    @property
    def settled(self) -> bool:
        """Whether a person spoke of the latest revision itself: curation says nothing of it."""
        return self.person is not None and self.person.revision == self.summary.revision

    def trace(self, store: TraceStore) -> Trace:
        if self.preview is not None:
            return self.preview
        if self.loaded is None:
            self.loaded = store.load(self.id, self.summary.revision)
        return self.loaded

    def forget(self) -> None:
        """Let go of its messages: there may be many traces."""
        self.loaded = None

    def rank(self) -> tuple[float, ...]:
        """The better of two has the lower one."""
        approved = self.person is not None and self.person.verdict is Verdict.APPROVED
        reward = -1.0 if self.summary.reward is None else self.summary.reward
        score = -1.0 if self.score is None else self.score
        return (not approved, -reward, -score, self.errors, self.summary.steps)

    def judgement(self, verdict: Verdict) -> Judgement:
        return Judgement(self.id, self.summary.revision, verdict)


def find_candidates(store: TraceStore, runs: Sequence[str]) -> list[Candidate]:
    """The finished traces of `runs`, also those that were taken out before: each run of curation starts anew."""
    verdicts: dict[str, list[VerdictRecord]] = {}
    for id, record in store.reviews.all_verdicts():
        verdicts.setdefault(id, []).append(record)
    edits: dict[str, list[Revision]] = {}
    for id, revision in store.reviews.all_edits():
        edits.setdefault(id, []).append(revision)
    found = []
    for run in runs:
        for summary, tools, errors in store.listing.finished(run):
            found.append(_candidate(summary, tools, errors, verdicts.get(summary.id, []), edits.get(summary.id, [])))
    return found


def _candidate(
    summary: TraceSummary, tools: list[str], errors: int, verdicts: list[VerdictRecord], edits: list[Revision]
) -> Candidate:
    by_number = {edit.number: edit for edit in edits}
    latest = summary.revision
    person, number = _word_of_a_person(verdicts, latest), latest
    while person is None and number in by_number and is_curation(by_number[number].author):
        number = by_number[number].base or 0
        person = _word_of_a_person(verdicts, number)
    on_latest = [record for record in verdicts if record.revision == latest]
    return Candidate(
        summary=summary,
        tools=tools,
        errors=errors,
        newest=on_latest[-1] if on_latest else None,
        person=person,
        masked=latest in by_number and is_curation(by_number[latest].author),
        only_masked=all(is_curation(edit.author) for edit in edits),
        masked_before=any(is_curation(edit.author) for edit in edits if edit.number < latest),
    )


def _word_of_a_person(verdicts: list[VerdictRecord], revision: int) -> VerdictRecord | None:
    """The newest verdict on a revision, if a person gave it.

    "Undecided" is a word too where it answers one of curation's: the trace then goes by its reward.
    """
    given = [record for record in verdicts if record.revision == revision]
    if not given or is_curation(given[-1].reviewer):
        return None
    answers = any(is_curation(record.reviewer) for record in given)
    return given[-1] if answers or given[-1].verdict is not Verdict.UNDECIDED else None


def is_curation(name: str) -> bool:
    return name == REVIEWER or name.startswith(f"{REVIEWER}:")
