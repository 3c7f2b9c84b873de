"""The page of one trace, its token rows, its revisions, and verdicts on it."""

from typing import TYPE_CHECKING

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from tutelage.errors import TutelageError
from tutelage.review.changes import pretty
from tutelage.review.conversation import PICTURES, blocks
from tutelage.review.differences import differences
from tutelage.review.pages.common import back, finished, number, page, redirect, text, verdict
from tutelage.review.query import ListQuery
from tutelage.store import Judgement
from tutelage.trace import RERUN, Trace, Verdict

if TYPE_CHECKING:
    from tutelage.review.app import Review


def trace(review: "Review", request: Request) -> Response:
    parameters = request.query_params
    found = review.store.load(request.path_params["id"], _number(parameters.get("revision")))
    return trace_page(review, request, found)


def trace_page(review: "Review", request: Request, found: Trace, **more: object) -> Response:
    """The page of `found`; `more` is what a form that was sent in vain wants shown again."""
    parameters = request.query_params
    store = review.store
    revisions = store.reviews.revisions(found.id)
    latest = revisions[-1].number if revisions else 0
    about = found.metadata.get(RERUN)
    run = about["revision"] if isinstance(about, dict) else 0  # what was run last; the later ones are edits of it
    assert isinstance(run, int)
    original = store.load(found.id, run).messages if found.revision != run else None
    job = review.reruns.of(found.id)
    editable = found.stop_reason is not None and found.revision == latest
    query = ListQuery.read(parameters.multi_items())
    values = {
        "trace": found,
        "blocks": blocks(found, original),
        "run_revision": run,
        "rerun": {"hint": "", "hint_quoted": False, **about} if isinstance(about, dict) else None,
        "rerunning": job is not None and job.runs,
        "unfinished": store.unfinished_reruns(found.id),
        "latest": latest,
        "editable": editable,
        "edit": _number(parameters.get("edit")) if editable else None,
        "insert": _number(parameters.get("insert")) if editable else None,
        "revisions": revisions,
        "verdicts": store.reviews.verdicts(found.id),
        "scores": store.scores.of(found.id),
        "tags": store.reviews.tags(found.id),
        "siblings": [other for other in store.listing.siblings(found.task.id) if other.id != found.id],
        "tools": [(tool.name, tool.server, pretty(tool.definition)) for tool in found.tools],
        "seconds": sum(step.seconds for step in found.steps),
        "completion_tokens": sum(step.completion_tokens or 0 for step in found.steps),
        "query": query,
        "list_url": "/" + query.url(),
        "here": f"{request.url.path}{query.url(at=parameters.get('at', ''))}",
        "flash": parameters,
        "problem": "",
        "draft": {},
        "changed_since": None,
        "base": latest,
        **_around(review, query, found.id, _number(parameters.get("at"))),
        **more,
    }
    return page(review, "trace.html", status=409 if more else 200, **values)


def judge(review: "Review", request: Request, form: FormData) -> Response:
    """A verdict on the revision that was read; then to the next trace of the list, where there is one."""
    id = request.path_params["id"]
    found = finished(review, id)
    revision = number(form, "revision")
    if revision != found.revision:
        raise TutelageError(
            f"The trace was edited meanwhile: revision {found.revision} came after {revision}, which you read. "
            "Read it before you judge it."
        )
    given = verdict(form) if text(form, "verdict") else found.verdict
    query = ListQuery.read(request.query_params.multi_items())
    around = _around(review, query, id, _number(request.query_params.get("at")))
    comment = text(form, "comment").strip()
    if given is Verdict.APPROVED:  # who approves has read them all
        review.store.reviews.confirm(id, revision, found.stale, reviewer=review.reviewer)
    moment = review.store.reviews.judge([Judgement(id, revision, given)], reviewer=review.reviewer, comment=comment)
    here = f"{request.url.path.removesuffix('/verdict')}{query.url(at=request.query_params.get('at', ''))}"
    target = str(around["next_url"]) if text(form, "verdict") and around["next_url"] else here
    return redirect(target, judged=moment, count=1, as_=given.value)


def tag(review: "Review", request: Request, form: FormData) -> Response:
    found = review.store.load(request.path_params["id"])
    review.store.reviews.tag(
        found.id, text(form, "tags").split(","), reviewer=review.reviewer, instead_of=text(form, "shown").split(",")
    )
    return back(form, f"/trace/{found.id}")


def tokens(review: "Review", request: Request) -> Response:
    found = review.store.load(request.path_params["id"], _number(request.query_params.get("revision")))
    index = request.path_params["index"]
    if not 0 <= index < len(found.messages):
        raise TutelageError(f"There is no message {index + 1}: the trace has {len(found.messages)}.")
    row, problem = None, ""
    try:
        row = review.step_rows().row(found, index)
    except (TutelageError, ModuleNotFoundError) as error:
        problem = str(error)
        if isinstance(error, ModuleNotFoundError):
            problem = f'"{error.name}" is not installed. Install it with: pip install "tutelage[dataset]"'
    student = review.project.settings.student
    return page(review, "tokens.html", trace=found, index=index, row=row, problem=problem, student=student)


def part(review: "Review", request: Request) -> Response:
    """What a tool gave beside text: a picture is shown, all else, which may hold a script, is a download."""
    found = review.store.load(request.path_params["id"], _number(request.query_params.get("revision")))
    sha256 = request.path_params["sha256"]
    named = next((part for message in found.messages for part in message.parts if part.sha256 == sha256), None)
    data = review.store.blob(sha256) if named else None
    if named is None or data is None:
        raise TutelageError("The store does not hold that part of a result.")
    is_picture = named.mime_type in PICTURES
    headers = {"Content-Disposition": "inline" if is_picture else "attachment", "Cache-Control": "private, immutable"}
    return Response(data, media_type=named.mime_type if is_picture else "application/octet-stream", headers=headers)


def diff(review: "Review", request: Request) -> Response:
    id = request.path_params["id"]
    revisions = review.store.reviews.revisions(id)
    latest = revisions[-1].number if revisions else 0
    new = _number(request.query_params.get("new"))
    new = latest if new is None else new
    old = _number(request.query_params.get("old"))
    old = max(0, new - 1) if old is None else old
    before, after = review.store.load(id, old), review.store.load(id, new)
    found = list(differences(before.messages, after.messages))
    return page(
        review, "diff.html", trace=after, old=old, new=new, latest=latest, revisions=revisions, differences=found
    )


def _around(review: "Review", query: ListQuery, id: str, at: int | None) -> dict[str, object]:
    """Where the trace stands in the list it was opened from, and the URLs of those before and after it."""
    nothing: dict[str, object] = {
        "place": None,
        "listed": False,
        "total": 0,
        "why": "",
        "previous_url": "",
        "next_url": "",
    }
    if at is None or at < 0:
        return nothing
    first = max(0, at - 1)
    near = review.store.listing.page(query.selection, query.sort, limit=at - first + 2, offset=first)
    ids = [listed.summary.id for listed in near]
    # A trace that was judged may have left the list; then the next one has its place.
    place = ids.index(id) if id in ids else at - first
    following = place + 1 if id in ids else place

    def url(position: int) -> str:
        if not 0 <= position < len(ids):
            return ""
        return f"/trace/{ids[position]}{query.url(at=first + position)}"

    return {
        "place": first + place,
        "listed": id in ids,
        "total": review.store.listing.counts(query.selection).total,
        "why": near[place].why if id in ids else "",
        "previous_url": url(place - 1) if place > 0 else "",
        "next_url": url(following),
    }


def _number(value: str | None) -> int | None:
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 10 else None
