"""What a run of curation did, step by step."""

from collections import Counter
from collections.abc import Mapping

from pydantic import BaseModel

from tutelage.curate.agreement import Agreement
from tutelage.curate.candidates import Candidate, Fault


class Removed(BaseModel):
    trace: str
    why: str
    detail: str


class StepReport(BaseModel):
    step: str
    looked_at: int
    left: int
    removed: list[Removed] = []
    masked: dict[str, str] = {}  # traces -> what was masked
    asked: int = 0  # of a judge: scores that it was, or in a dry run would be, asked for
    unscored: int = 0  # of a judge: traces that stayed without a score
    agreement: Agreement | None = None

    def why(self) -> dict[str, int]:
        return dict(Counter(each.why for each in self.removed).most_common())

    def take(self, faults: Mapping[str, Fault]) -> None:
        self.removed += [Removed(trace=id, why=fault.why, detail=fault.detail) for id, fault in faults.items()]


class CurationReport(BaseModel):
    dry_run: bool
    traces: int  # finished ones
    rejected_by_persons: int  # which no step looks at
    steps: list[StepReport] = []
    left: int = 0
    verdicts: int = 0  # written, or in a dry run to be written
    revisions: int = 0  # the same of masked revisions

    def sentence(self) -> str:
        by_persons = f" Rejected by persons: {self.rejected_by_persons}." if self.rejected_by_persons else ""
        written = "To be written" if self.dry_run else "Written"
        counts = f"new verdicts {self.verdicts}, masked revisions {self.revisions}"
        return f"{self.left} of {self.traces} traces are left.{by_persons} {written}: {counts}."


def shortened(candidates: list[Candidate], faults: Mapping[str, Fault]) -> list[Candidate]:
    return [candidate for candidate in candidates if candidate.id not in faults]
