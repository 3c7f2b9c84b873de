"""Edits: each makes a new revision; what cannot be stored is shown again with the reason."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tutelage.agent.arguments import fault
from tutelage.errors import TutelageError
from tutelage.review import changes
from tutelage.review.arguments import check_changed_calls
from tutelage.review.changes import CallText
from tutelage.review.differences import moved
from tutelage.review.edit import check_messages, read_edited, to_editable
from tutelage.review.pages.common import back, finished, number, page, text
from tutelage.review.pages.reading import trace_page
from tutelage.store import EditConflict
from tutelage.trace import Message, Trace

if TYPE_CHECKING:
    from tutelage.review.app import Review

Change = Callable[[Sequence[Message], int, FormData], list[Message]]


def _rewrite(messages: Sequence[Message], index: int, form: FormData) -> list[Message]:
    names, arguments = ([str(value) for value in form.getlist(key)] for key in ("call", "arguments"))
    calls = [CallText(name, text) for name, text in zip(names, arguments, strict=False)]
    return changes.rewrite(
        messages, index, content=text(form, "content"), reasoning=text(form, "reasoning"), calls=calls
    )


def _insert(messages: Sequence[Message], index: int, form: FormData) -> list[Message]:
    return changes.insert_step(
        messages,
        index,
        content=changes.unix(text(form, "content")),
        reasoning=changes.unix(text(form, "reasoning")),
        call=CallText(text(form, "call"), changes.keep_arguments("", text(form, "arguments"))),
        result=changes.unix(text(form, "result")),
    )


# What a form's "do" names: the change, and what the revision's note says of it ({} is the message's number).
CHANGES: dict[str, tuple[Change, str]] = {
    "rewrite": (_rewrite, "message {} rewritten"),
    "insert": (_insert, "step inserted after message {}"),
    "delete": (lambda messages, index, form: changes.delete_step(messages, index), "step at message {} deleted"),
    "cut": (lambda messages, index, form: changes.cut_after(messages, index), "cut after message {}"),
    "context": (
        lambda messages, index, form: changes.context_only(messages, index, on=True),
        "message {} context only",
    ),
    "teach": (lambda messages, index, form: changes.context_only(messages, index, on=False), "message {} taught"),
    "system": (
        lambda messages, index, form: changes.system_prompt(messages, text(form, "content")),
        "system prompt rewritten",
    ),
}


def change(review: "Review", request: Request, form: FormData) -> Response:
    """Change one message or step of the latest revision."""
    found = finished(review, request.path_params["id"])
    base, index, do = number(form, "base"), number(form, "index"), text(form, "do")
    if do not in CHANGES:
        raise TutelageError("The form does not say what to change. Reload the page and try again.")
    make, note = CHANGES[do]
    try:
        before = found.messages if base == found.revision else review.store.load(found.id, base).messages
        messages = make(before, index, form)
        check_messages(messages)
        check_changed_calls(before, messages, found.tools)
        _save(review, found, before, messages, base, text(form, "note").strip() or note.format(index + 1))
    except TutelageError as error:
        return _again(review, request, found, form, error)
    return back(form, f"/trace/{found.id}", anchor="" if do in ("delete", "cut") else f"#m{index}")


def as_json(review: "Review", request: Request) -> Response:
    """All messages as JSON, for edits that no form offers."""
    found = finished(review, request.path_params["id"])
    return page(review, "json.html", trace=found, text=to_editable(found.messages), base=found.revision, problem="")


def save_json(review: "Review", request: Request, form: FormData) -> Response:
    found = finished(review, request.path_params["id"])
    edited, base = text(form, "messages"), number(form, "base")
    try:
        before = review.store.load(found.id, base).messages
        _save(review, found, before, read_edited(edited), base, text(form, "note").strip() or "edited as JSON")
    except TutelageError as error:
        return page(review, "json.html", status=409, trace=found, text=edited, base=base, problem=str(error))
    return back(form, f"/trace/{found.id}")


def restore(review: "Review", request: Request, form: FormData) -> Response:
    """An earlier revision's messages as the newest revision."""
    found = finished(review, request.path_params["id"])
    review.store.restore(found.id, number(form, "revision"), base=number(form, "base"), author=review.reviewer)
    return back(form, f"/trace/{found.id}")


def confirm(review: "Review", request: Request, form: FormData) -> Response:
    """A step that was written before an edit of what precedes it, or all of them, still holds."""
    found = finished(review, request.path_params["id"])
    places = [number(form, "index")] if text(form, "index") else list(found.stale)
    review.store.reviews.confirm(found.id, number(form, "revision"), places, reviewer=review.reviewer)
    return back(form, f"/trace/{found.id}", anchor=f"#m{places[0]}" if text(form, "index") else "")


def validate(review: "Review", request: Request, form: FormData) -> Response:
    """Whether a call fits its tool, for the page to say while one types."""
    found = review.store.load(text(form, "trace"))
    return JSONResponse({"fault": fault(found.tools, text(form, "call"), text(form, "arguments"))})


def _save(
    review: "Review", found: Trace, before: Sequence[Message], messages: Sequence[Message], base: int, note: str
) -> None:
    if list(messages) == list(before) and base == found.revision:
        return  # nothing was changed: no revision
    review.store.revise(found.id, messages, base=base, author=review.reviewer, note=note)


def _again(review: "Review", request: Request, found: Trace, form: FormData, error: TutelageError) -> Response:
    """The page with what was typed, so that nothing is lost."""
    draft = {key: [str(value) for value in form.getlist(key)] for key in form}
    do, index, base = text(form, "do"), number(form, "index"), number(form, "base")
    place: int | None = index
    if isinstance(error, EditConflict):  # the message may stand elsewhere by now, or be gone
        place = moved(review.store.load(found.id, base).messages, found.messages, index)
    return trace_page(
        review,
        request,
        found,
        problem=str(error),
        draft=draft,
        edit=place if do == "rewrite" or (do == "system" and found.messages[0].role == "system") else None,
        insert=place if do == "insert" else None,
        changed_since=base if isinstance(error, EditConflict) else None,
        here=text(form, "back") or f"/trace/{found.id}",
    )
