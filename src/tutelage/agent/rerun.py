"""A trace run again from one of its steps: what is kept is replayed in a fresh world, then the model goes on.

What comes of it is a new revision of the trace, judged by the verifier on the world that it leaves behind.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from pydantic import JsonValue

from tutelage.agent.chat import RUN as CHAT
from tutelage.agent.chat import WORLD_OF, find_task
from tutelage.agent.offer import Audience, Offer
from tutelage.agent.pool import judge
from tutelage.agent.replay import Decide, Question, Replay, Topic
from tutelage.agent.rollout import OnMessage, Rollout
from tutelage.agent.servers import ServerDied, Servers, connect_servers
from tutelage.endpoint.services import start_services
from tutelage.endpoint.teacher import Connect
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.redact import redact
from tutelage.render.truncate import Cutter, noted
from tutelage.store import RerunRecording, TraceStore
from tutelage.trace import RERUN, Message, StopReason, Tool, ToolCall, Trace, setup_is_known
from tutelage.world import Reward, World, open_world, worlds_folder

QUOTED_WORDS = 5  # of the hint in a row: the model has given away that there is one


@dataclass(frozen=True)
class Plan:
    """What a re-run of a trace keeps, and what it asks after that."""

    trace: Trace
    steps: int  # kept
    history: tuple[Message, ...]  # kept: their messages, results and what stands before them
    turns: tuple[str, ...]  # user messages that are still to come

    @property
    def calls(self) -> list[ToolCall]:
        """What is replayed."""
        return [call for message in self.history for call in message.tool_calls]


@dataclass(frozen=True)
class Rerun:
    """A re-run that has ended and become a revision."""

    revision: int
    stop_reason: StopReason
    reward: Reward | None
    steps: int  # run now


def plan_rerun(trace: Trace, steps: int) -> Plan:
    """Keep the first `steps` steps of `trace`, 0 none. Raises TutelageError where nothing would come after them."""
    if trace.stop_reason is None:
        raise TutelageError(f'Trace "{trace.id}" is unfinished. Only finished traces are run again.')
    places = [index for index, message in enumerate(trace.messages) if message.role == "assistant"]
    if not 0 <= steps <= len(places):
        raise TutelageError(f"There is no step {steps}: the trace has {len(places)}. 0 keeps none.")
    end = places[steps] if steps < len(places) else len(trace.messages)
    if steps:
        end = places[steps - 1] + 1
        while end < len(trace.messages) and trace.messages[end].role == "tool":
            end += 1
    said = [message.content or "" for message in trace.messages if message.role == "user"]
    before = sum(message.role == "user" for message in trace.messages[:end])
    turns = (*said[before:], *trace.task.turns[len(said) :])
    last = trace.messages[end - 1] if end else None
    if not turns and (last is None or (last.role == "assistant" and not last.tool_calls)):
        raise TutelageError(f"Nothing comes after step {steps}, the answer to the last user message. Keep fewer steps.")
    return Plan(trace, steps, trace.messages[:end], turns)


async def rerun(
    project: Project,
    store: TraceStore,
    plan: Plan,
    *,
    endpoint: Connect,
    decide: Decide,
    author: str,
    hint: str = "",
    skip_services: Collection[str] = (),
    on_message: OnMessage | None = None,
    on_phase: Callable[[str], None] | None = None,
) -> Rerun:
    """Replay what `plan` keeps, asking `decide` where it has to, then let the model at `endpoint` go on.

    Of the model's own calls only those of tools that a person has to allow are asked about.
    `hint` stands at the end of the system prompt that the model is shown, and nowhere in the messages that are stored.
    `on_message` gets each message that is kept, then each new one; `on_phase` what is being done. Raises TutelageError
    where it is stopped, cannot be begun, or the endpoint or a server breaks it off: then no revision is made, and what
    was recorded is among the trace's unfinished re-runs.
    """
    say = on_phase or (lambda _: None)
    with ExitStack() as stack:
        worlds = stack.enter_context(worlds_folder())
        say("starting the project's services")
        services = start_services(project, worlds, skip=skip_services)
        values = await asyncio.to_thread(stack.enter_context, services)
        of = plan.trace.metadata.get(WORLD_OF)
        task = find_task(project, of) if isinstance(of, str) else plan.trace.task
        world = await asyncio.to_thread(stack.enter_context, open_world(task, worlds, project.prepare))
        limits = project.settings.rollout
        cut = Cutter(noted(plan.trace.metadata) or limits.tool_results, project.settings.student, project.folder)
        say("connecting to the MCP servers")
        async with (
            endpoint(values) as asked,
            connect_servers(
                project.mcp_servers(values),
                world,
                offer=Offer.of(project, Audience.PERSON),
                tool_seconds=limits.tool_seconds,
                put_back=True,
            ) as servers,
        ):
            _offer_the_same(servers, plan.trace.tools)
            say("replaying what is kept")
            replay = Replay(servers, _ran(store, plan.trace), cut, decide)
            try:
                kept = await replay.run(plan.history)
            except ServerDied as error:
                raise TutelageError(redact(str(error))) from None
            base = plan.trace.revision
            recording = store.begin_rerun(
                plan.trace.id, kept, base=base, model=asked.model, author=author, hint=hint, blobs=replay.blobs
            )
            for message in kept:
                if on_message:
                    on_message(message)
            say(f"{asked.model} goes on")

            async def allowed(call: ToolCall) -> bool:
                if servers.needs_a_person(call.name):
                    await replay.ask(Question(Topic.EFFECTS, rollout.steps, call, None))
                return True

            rollout = Rollout(
                *(asked, servers, recording, limits, cut),
                ask=allowed,
                on_message=on_message,
                hint=hint,
                messages=list(kept),
                steps=plan.steps,
            )
            end = await rollout.go_on(_each(plan.turns))
        if end.broken:
            raise TutelageError(f"The re-run was broken off: {end.stop_reason.replace('_', ' ')}. {end.detail}")
        say("judging")
        notes = {**end.notes, **_given_away(hint, end.messages[len(kept) :])}
        trace = plan.trace.model_copy(
            update={"messages": tuple(end.messages), "steps": (), "stop_reason": end.stop_reason}
        )
        return await asyncio.to_thread(_finish, project, recording, trace, world, notes, end.steps - plan.steps)


def _finish(
    project: Project, recording: RerunRecording, trace: Trace, world: World, notes: dict[str, JsonValue], steps: int
) -> Rerun:
    """Judge the rollout and make a revision of it."""
    assert trace.stop_reason
    can_be_judged = trace.run != CHAT and setup_is_known(trace.metadata)
    reward = judge(project, project.verifier, trace, world) if can_be_judged else None
    return Rerun(recording.finish_rerun(trace.stop_reason, reward, notes), trace.stop_reason, reward, steps)


async def _each(turns: Sequence[str]) -> AsyncIterator[str]:
    for turn in turns:
        yield turn


def _ran(store: TraceStore, trace: Trace) -> set[ToolCall]:
    """The calls whose recorded results are a server's: those of the revision that was last run."""
    about = trace.metadata.get(RERUN)
    run = about["revision"] if isinstance(about, dict) else 0
    assert isinstance(run, int)
    messages = trace.messages if run == trace.revision else store.load(trace.id, run).messages
    return {call for message in messages for call in message.tool_calls}


def _offer_the_same(servers: Servers, tools: Sequence[Tool]) -> None:
    """Show the model the tools of the trace, in their words: its steps saw these. Raises TutelageError."""
    offered = {tool.name for tool in servers.tools}
    missing = [tool.name for tool in tools if tool.name not in offered]
    if missing:
        raise TutelageError(
            f"The trace has tools that no server of mcp.json offers now: {', '.join(missing)}. Add their server."
        )
    servers.tools = tuple(tools)


def _given_away(hint: str, messages: Sequence[Message]) -> dict[str, JsonValue]:
    """Whether the model repeats the hint, which the student will not have."""
    words = _words(hint)
    said = " ".join(
        " ".join(_words(f"{message.reasoning_content or ''} {message.content or ''}"))
        for message in messages
        if message.role == "assistant"
    )
    pieces = (" ".join(words[n : n + QUOTED_WORDS]) for n in range(max(1, len(words) - QUOTED_WORDS + 1)))
    return {"hint_quoted": True} if words and any(piece in said for piece in pieces) else {}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
