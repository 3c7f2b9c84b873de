"""Two traces of one task side by side, and two runs task by task."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from tutelage.errors import TutelageError
from tutelage.review.conversation import Block, blocks
from tutelage.review.pages.common import back, finished, number, page, text
from tutelage.store import TraceSummary
from tutelage.trace import Trace, first_difference

if TYPE_CHECKING:
    from tutelage.review.app import Review

Step = list[Block]  # what the model gave, and the results


@dataclass(frozen=True)
class Outcome:
    title: str
    explanation: str
    pairs: list[tuple[TraceSummary, TraceSummary]]


def compare(review: "Review", request: Request) -> Response:
    """Two traces of a task, step by step."""
    ids = [request.query_params.get(name, "") for name in ("left", "right")]
    left, right = (review.store.load(id) for id in ids)
    if left.task.id != right.task.id:
        raise TutelageError(f'These are traces of two tasks, "{left.task.id}" and "{right.task.id}": compare one task.')
    parting = first_difference(left, right)
    preferred = next(
        (
            kept
            for kept in reversed(review.store.reviews.preferences(left.task.id))
            if {kept.chosen_id, kept.rejected_id} == {left.id, right.id}
        ),
        None,
    )
    siblings = review.store.listing.siblings(left.task.id)
    return page(
        review,
        "compare.html",
        sides=(left, right),
        opening=[block for block in blocks(left) if block.index < _opening(left)],
        rows=list(zip_longest(_steps(left), _steps(right), fillvalue=[])),
        parting=parting,
        preferred=preferred,
        siblings=siblings,
        here=f"/compare?left={left.id}&right={right.id}",
        flash=request.query_params,
    )


def prefer(review: "Review", request: Request, form: FormData) -> Response:
    """Store which of the two is the better one."""
    chosen, rejected = finished(review, text(form, "chosen")), finished(review, text(form, "rejected"))
    if chosen.task.id != rejected.task.id or chosen.id == rejected.id:
        raise TutelageError("A preference is between two traces of the same task.")
    for found, name in ((chosen, "chosen_revision"), (rejected, "rejected_revision")):
        if number(form, name) != found.revision:
            raise TutelageError("One of the traces was edited meanwhile. Compare them again.")
    review.store.reviews.prefer(
        chosen.task.id,
        (chosen.id, chosen.revision),
        (rejected.id, rejected.revision),
        reviewer=review.reviewer,
        comment=text(form, "comment").strip(),
    )
    return back(form)


def runs(review: "Review", request: Request) -> Response:
    """Two runs on the same tasks, as an evaluation makes them: what was gained, what was lost."""
    names = review.store.runs()
    before, after = request.query_params.get("before", ""), request.query_params.get("after", "")
    if not before and not after:
        before, after = _evaluated(names)
    groups: dict[tuple[bool, bool], list[tuple[TraceSummary, TraceSummary]]] = {}
    for pair in review.store.listing.pairs(before, after):
        solved = [(summary.reward or 0) >= 1 for summary in pair]
        groups.setdefault((solved[0], solved[1]), []).append(pair)
    outcomes = [
        Outcome("Gained", "solved only after", groups.get((False, True), [])),
        Outcome("Lost", "solved only before", groups.get((True, False), [])),
        Outcome("Neither", "solved in neither", groups.get((False, False), [])),
        Outcome("Both", "solved in both", groups.get((True, True), [])),
    ]
    return page(review, "runs.html", names=names, before=before, after=after, outcomes=outcomes)


def _evaluated(names: Sequence[str]) -> tuple[str, str]:
    """The runs before and after of an evaluation, as `tutelage evaluate` names them; else the first two."""
    for name in names:
        after = name.removesuffix("-before") + "-after"
        if name.endswith("-before") and after in names:
            return name, after
    return (names[0], names[1]) if len(names) > 1 else ("", "")


def _opening(trace: Trace) -> int:
    """How many messages stand before the first step."""
    return next((index for index, message in enumerate(trace.messages) if message.role == "assistant"), 0)


def _steps(trace: Trace) -> list[Step]:
    """The rest of the messages, by step; a later user turn belongs to the step before it."""
    steps: list[Step] = []
    for block in blocks(trace)[_opening(trace) :]:
        if block.step is not None:
            steps.append([])
        steps[-1].append(block)
    return steps
