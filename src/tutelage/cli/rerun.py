"""`tutelage traces rerun`: a trace run again from one of its steps."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from tutelage.cli.chat import show_message
from tutelage.cli.common import (
    HERE,
    JsonOption,
    ProjectOption,
    TeacherModel,
    TeacherUrl,
    console,
    open_project,
    open_store,
    output,
    reviewer,
)
from tutelage.cli.traces import TraceArgument, traces_app
from tutelage.errors import TutelageError

if TYPE_CHECKING:
    from tutelage.agent.replay import Decision, Question

LETTERS = {"go on": "g", "go on always": "a", "keep": "k", "stop": "s"}  # of the decisions


def register(_: typer.Typer) -> None:
    traces_app.command()(rerun)


def rerun(
    trace: TraceArgument,
    project: ProjectOption = HERE,
    steps: Annotated[int, typer.Option("--from", help="The last step that is kept; 0 runs all again.", min=0)] = 0,
    hint: Annotated[
        str, typer.Option(help="What the model is told in the system prompt now, and the student never.")
    ] = "",
    teacher_url: TeacherUrl = None,
    teacher_model: TeacherModel = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Make calls again that may have effects, and take new results, unasked.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let the teacher go on from a step of a trace; what comes of it is a new revision.

    The calls up to that step are made again in a fresh world. Asks before one that may have side effects, where a
    result differs from the recorded one, and before a call of the teacher's that only a person may allow.
    """
    import asyncio

    from tutelage.agent.replay import Decision
    from tutelage.agent.rerun import plan_rerun
    from tutelage.agent.rerun import rerun as run_again
    from tutelage.endpoint.teacher import connect_teacher, services_not_needed

    opened = open_project(project)
    teacher = opened.teacher(teacher_url, teacher_model)

    async def decide(question: "Question") -> "Decision":
        return Decision.GO_ON if yes else asked_on_the_terminal(question)

    with open_store(opened) as store:
        plan = plan_rerun(store.load(store.find(trace)), steps)
        done = asyncio.run(
            run_again(
                opened,
                store,
                plan,
                endpoint=connect_teacher(opened, teacher),
                decide=decide,
                author=reviewer(),
                hint=hint.strip(),
                skip_services=services_not_needed(opened, teacher_url),
                on_message=None if as_json else lambda message: show_message(message, reasoning=True),
                on_phase=lambda phase: console().print(f"{phase} …", style="dim", markup=False, highlight=False),
            )
        )
    reward = "" if done.reward is None else f", reward {done.reward.value:g}: {done.reward.reason}"
    result = {
        "trace": plan.trace.id,
        "revision": done.revision,
        "stop_reason": done.stop_reason.value,
        "reward": None if done.reward is None else done.reward.value,
        "steps": done.steps,
    }
    said = f"Stored as revision {done.revision} of {plan.trace.id} ({done.stop_reason.value}{reward}); undecided."
    output(result, said, as_json=as_json)


def asked_on_the_terminal(question: "Question") -> "Decision":
    """A person's answer on the terminal. Raises TutelageError where nobody is there."""
    from tutelage.agent.chat import without_asyncio
    from tutelage.agent.replay import Decision, Topic

    call = f"{question.call.name} {question.call.arguments}"
    if question.topic is Topic.EFFECTS:
        said = f"Step {question.step}: {call} may have side effects."
    else:
        said = f"Step {question.step}: {call} gave another result."
        said += f"\n  recorded: {question.recorded}\n  now:      {question.given}"
    if not sys.stdin.isatty():
        raise TutelageError(f"{said}\nNobody is there to say what to do: say so with --yes. No revision was made.")
    letters = {LETTERS[decision.value]: decision for decision in question.decisions}
    choices = "[g]o on, go on [a]lways, " + ("[k]eep the recorded result, " if "k" in letters else "") + "[s]top"
    console().print(f"{said}\n{choices}", markup=False, highlight=False)
    while True:
        answer = without_asyncio(lambda: input("> "))
        if answer is None:
            return Decision.STOP
        if answer.strip().lower()[:1] in letters:
            return letters[answer.strip().lower()[:1]]
