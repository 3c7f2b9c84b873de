"""Running a trace again from one of its steps: what will be done, its progress and questions."""

from typing import TYPE_CHECKING

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from tutelage.agent.replay import Decision, Topic
from tutelage.agent.rerun import plan_rerun
from tutelage.errors import TutelageError
from tutelage.review.changes import pretty
from tutelage.review.conversation import blocks
from tutelage.review.differences import word_difference
from tutelage.review.pages.common import finished, number, page, redirect, text

if TYPE_CHECKING:
    from tutelage.review.app import Review

DECISIONS = {
    Topic.EFFECTS: {
        Decision.GO_ON: "Make the call",
        Decision.GO_ON_ALWAYS: "Make all such calls",
        Decision.KEEP: "Keep the recorded result, make no call",
        Decision.STOP: "Stop",
    },
    Topic.DIFFERENCE: {
        Decision.GO_ON: "Take the new result",
        Decision.GO_ON_ALWAYS: "Take all new results",
        Decision.KEEP: "Keep the recorded result",
        Decision.STOP: "Stop",
    },
}


def form(review: "Review", request: Request) -> Response:
    """What a re-run would do, before it is begun."""
    found = finished(review, request.path_params["id"])
    wanted = request.query_params.get("from", "0")
    plan = plan_rerun(found, int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 6 else 0)
    return page(
        review,
        "rerun.html",
        trace=found,
        plan=plan,
        calls=[(call.name, pretty(call.arguments)) for call in plan.calls],
        steps=sum(message.role == "assistant" for message in found.messages),
        teacher=review.project.settings.teacher,
    )


def start(review: "Review", request: Request, form: FormData) -> Response:
    found = finished(review, request.path_params["id"])
    if number(form, "base") != found.revision:
        raise TutelageError(
            f"The trace was edited meanwhile: revision {found.revision} came after the one you read. Look at it first."
        )
    review.reruns.start(
        review.project,
        review.store,
        plan_rerun(found, number(form, "from")),
        author=review.reviewer,
        hint=text(form, "hint").strip(),
        teacher_url=text(form, "url").strip() or None,
        teacher_model=text(form, "model").strip() or None,
    )
    return redirect(f"/trace/{found.id}/rerun/progress")


def progress(review: "Review", request: Request) -> Response:
    """How far it is. The page's script asks for this page again until it ends."""
    found = review.store.load(request.path_params["id"], 0)
    job = review.reruns.of(found.id)
    if job is None:
        raise TutelageError("No re-run of this trace was started since `tutelage review` was.")
    question = job.question
    messages = tuple(job.messages)
    return page(
        review,
        "progress.html",
        trace=found,
        job=job,
        question=question,
        decisions=[(one, DECISIONS[question.topic][one]) for one in question.decisions] if question else [],
        arguments=pretty(question.call.arguments) if question else "",
        pieces=word_difference(question.recorded or "", question.given) if question else [],
        blocks=blocks(job.plan.trace.model_copy(update={"messages": messages, "steps": (), "stale": ()})),
        kept=len(job.plan.history),
    )


def answer(review: "Review", request: Request, form: FormData) -> Response:
    id = request.path_params["id"]
    job = review.reruns.of(id)
    if job and text(form, "decision") in list(Decision):
        job.answer(number(form, "version"), Decision(text(form, "decision")))
    return redirect(f"/trace/{id}/rerun/progress")


def stop(review: "Review", request: Request, form: FormData) -> Response:
    id = request.path_params["id"]
    job = review.reruns.of(id)
    if job:
        job.stop()
    return redirect(f"/trace/{id}/rerun/progress")


def keep(review: "Review", request: Request, form: FormData) -> Response:
    """Make a revision of what a re-run that was broken off has."""
    id = request.path_params["id"]
    job = review.reruns.of(id)
    if job and job.runs:
        raise TutelageError("A re-run of this trace is under way. Wait for its end, or stop it.")
    review.store.keep_rerun(number(form, "rerun"))
    return redirect(f"/trace/{id}")
