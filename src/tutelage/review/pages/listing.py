"""The list of traces, verdicts on many of them, and the queue."""

from typing import TYPE_CHECKING

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tutelage.errors import TutelageError
from tutelage.review.pages.common import NAMES, TITLES, back, page, text, verdict
from tutelage.review.query import PAGE, ListQuery
from tutelage.store import Judgement, Selection, Sort

if TYPE_CHECKING:
    from tutelage.review.app import Review

SORTS = {
    Sort.NEWEST: "newest first",
    Sort.OLDEST: "oldest first",
    Sort.WORTH: "worth a look first",
    Sort.LOWEST: "lowest reward first",
    Sort.HIGHEST: "highest reward first",
    Sort.LONGEST: "most steps first",
    Sort.SHORTEST: "fewest steps first",
    Sort.TASK: "by task",
}
SHOWN_VALUES = 8  # of a facet; more are folded
QUEUE = ListQuery(Selection({"verdict": ("undecided",)}), Sort.WORTH)


def traces(review: "Review", request: Request) -> Response:
    query = ListQuery.read(request.query_params.multi_items())
    counts = review.store.listing.counts(query.selection)
    pages = max(1, -(-counts.total // PAGE))
    query = query.at_page(min(query.page, pages))
    offset = (query.page - 1) * PAGE
    facets = []
    for name, title in TITLES.items():
        chosen = query.selection.facets.get(name, ())
        values = sorted(counts.facets[name].items(), key=lambda item: _place(name, item))
        if len(values) > 1 or chosen:
            facets.append((name, title, chosen, values[:SHOWN_VALUES], values[SHOWN_VALUES:]))
    return page(
        review,
        "list.html",
        query=query,
        sorts=SORTS,
        facets=facets,
        several={name for name, values in counts.facets.items() if len(values) > 1},
        total=counts.total,
        pages=pages,
        offset=offset,
        listed=review.store.listing.page(query.selection, query.sort, limit=PAGE, offset=offset),
        here="/" + query.url(),
        flash=request.query_params,
    )


def queue(review: "Review", request: Request) -> Response:
    """The first trace of the queue."""
    first = review.store.listing.page(QUEUE.selection, QUEUE.sort, limit=1)
    if not first:
        return RedirectResponse("/" + QUEUE.url(), 303)
    return RedirectResponse(f"/trace/{first[0].summary.id}{QUEUE.url(at=0)}", 303)


def judge_many(review: "Review", request: Request, form: FormData) -> Response:
    """One verdict on the chosen traces, or on all that the list's filters select."""
    given = verdict(form)
    if text(form, "all"):
        query = ListQuery.read(request.query_params.multi_items())
        chosen = review.store.listing.ids(query.selection)
    else:
        wanted = [str(value) for value in form.getlist("id")]
        chosen = review.store.listing.revisions(wanted)
    if not chosen:
        raise TutelageError("No finished trace was chosen: tick some first.")
    judgements = [Judgement(id, revision, given) for id, revision in chosen]
    moment = review.store.reviews.judge(judgements, reviewer=review.reviewer, comment=text(form, "comment"))
    return back(form, judged=moment, count=len(judgements), as_=given.value)


def undo(review: "Review", request: Request, form: FormData) -> Response:
    count = review.store.reviews.take_back(text(form, "moment"), reviewer=review.reviewer)
    return back(form, undone=count)


def _place(name: str, item: tuple[str, int]) -> tuple[int, str]:
    """Lengths and rewards in their order, all else by how often it occurs."""
    value, count = item
    if name == "steps":
        return int(value), ""
    return (list(NAMES[name]).index(value), "") if name == "reward" else (-count, value)
