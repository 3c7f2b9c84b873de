"""The interactive agent: a person takes the place of the task, and is asked before each tool call."""

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from mcp_types import ElicitRequestParams, ElicitResult

from tutelage.agent.offer import Audience, Offer, warn_of_many
from tutelage.agent.rollout import OnMessage, Rollout, RolloutEnd
from tutelage.agent.servers import Elicit, connect_servers
from tutelage.agent.student import StudentView
from tutelage.endpoint.client import ChatEndpoint
from tutelage.endpoint.errors import EndpointError
from tutelage.endpoint.services import start_services
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.redact import redact
from tutelage.render.truncate import Cutter, note_of
from tutelage.store import TraceStore
from tutelage.trace import StopReason, Task, ToolCall
from tutelage.world import open_world, worlds_folder

RUN = "chat"
WORLD_OF = "world_of"  # in a trace's metadata: the task whose world it took place in
PATIENCE_SECONDS = 86_400.0  # a person may think between two turns
STOPPED = "The user stopped it."
Read = Callable[[], str | None]  # the next line of the user's; None: they are done
Confirm = Callable[[ToolCall], bool]
Question = Callable[[str, ElicitRequestParams], ElicitResult]  # of a server, by name, to the user
Answer = TypeVar("Answer")


def run_chat(
    project: Project,
    store: TraceStore,
    *,
    endpoint: Callable[[dict[str, str]], ChatEndpoint],
    read: Read,
    on_message: OnMessage,
    confirm: Confirm | None = None,
    question: Question | None = None,
    system_prompt_file: Path | None = None,
    task_id: str | None = None,
    skip_services: set[str] | None = None,
    view: StudentView | None = None,
) -> RolloutEnd | None:
    """Talk to the model at `endpoint` (made once the services' ports are known) with the project's tools.

    `on_message` gets each message as it is recorded; `confirm` is asked before each call (None: all are allowed, and
    tools that only a person may allow are not offered); `question` gets what a server asks the user (None: declined).
    `view` shows the conversation to a student as its dataset did. Where the project prepares worlds, the chat gets
    that of the task `task_id`, or of the first held-out task. The trace goes to the store under the run "chat",
    finished however the chat ended, so that it can be judged. None where the user left without a word.
    """
    first = without_asyncio(read)
    while first is not None and not first.strip():
        first = without_asyncio(read)
    if first is None:
        return None
    system_prompt = project.system_prompt(system_prompt_file)
    task = Task(id=f"chat-{uuid.uuid4().hex[:8]}", turns=(first,), kind="chat")
    with ExitStack() as stack:
        worlds = stack.enter_context(worlds_folder())
        values = stack.enter_context(start_services(project, worlds, skip=skip_services or set()))
        world_task = _world_task(project, task_id) or task
        world = stack.enter_context(open_world(world_task, worlds, project.prepare))

        async def talk() -> RolloutEnd:
            limits = view.limits if view else project.settings.rollout
            limits = limits.model_copy(update={"max_seconds": PATIENCE_SECONDS, "max_steps": 10_000})
            offer = Offer.of(project, Audience.PERSON if confirm else Audience.STUDENT if view else Audience.TEACHER)
            servers = connect_servers(
                project.mcp_servers(values),
                world,
                offer=offer,
                tool_seconds=limits.tool_seconds,
                elicit=_elicit(question),
                put_back=True,
            )
            async with endpoint(values) as asked, servers as connected:
                warn_of_many(len(connected.tools))
                about = note_of(limits.tool_results)
                if world_task is not task:
                    about[WORLD_OF] = world_task.id
                recording = store.begin(
                    run=RUN, task=task, attempt=0, model=asked.model, tools=connected.tools, metadata=about
                )
                rollout = Rollout(
                    asked,
                    connected,
                    recording,
                    limits,
                    Cutter(limits.tool_results, project.settings.student, project.folder),
                    extra=view.extra if view else None,
                    ask=_ask(confirm),
                    on_message=on_message,
                    show=view.show if view else None,
                )
                end = await _run(rollout, _turns(first, read), system_prompt)
                recording.finish(end.stop_reason, None, {**about, **end.notes})
                return end

        return asyncio.run(talk())


async def _run(rollout: Rollout, turns: AsyncIterator[str], system_prompt: str | None) -> RolloutEnd:
    """The rollout to its end; an endpoint that is gone and Ctrl-C during an answer are ends like others."""
    try:
        return await rollout.run(turns, system_prompt)
    except EndpointError as error:
        reason, detail = StopReason.ENDPOINT_ERROR, redact(str(error))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        assert task
        task.uncancel()
        reason, detail = StopReason.TIME_LIMIT, STOPPED  # the patience of the user's was the limit
    return RolloutEnd(rollout.messages, reason, rollout.steps, rollout.prompt_tokens, rollout.completion_tokens, detail)


def _world_task(project: Project, task_id: str | None) -> Task | None:
    """The task whose world the chat takes place in; None where worlds need no preparing."""
    if task_id is None:
        return project.tasks("evaluate")[0] if project.prepare else None
    return find_task(project, task_id)


def find_task(project: Project, task_id: str) -> Task:
    """The task of that id in the project's files. Raises TutelageError."""
    for split in ("evaluate", "train"):
        for task in project.tasks(split):
            if task.id == task_id:
                return task
    raise TutelageError(f'There is no task "{task_id}" in {project.folder}. Its task files hold the ids.')


async def _turns(first: str, read: Read) -> AsyncIterator[str]:
    line: str | None = first
    while line is not None:
        if line.strip():
            yield line
        line = without_asyncio(read)


def _ask(confirm: Confirm | None) -> Callable[[ToolCall], Any] | None:
    if confirm is None:
        return None

    async def ask(call: ToolCall) -> bool:
        return bool(without_asyncio(lambda: confirm(call)))

    return ask


def _elicit(question: Question | None) -> Elicit | None:
    if question is None:
        return None

    async def elicit(server: str, asked: ElicitRequestParams) -> ElicitResult:
        return without_asyncio(lambda: question(server, asked)) or ElicitResult(action="cancel")

    return elicit


def without_asyncio(read: Callable[[], Answer]) -> Answer | None:
    """Run what waits for a person in this thread: Ctrl-C then ends the waiting, which asyncio's handler would not.

    Nothing else happens in the event loop meanwhile. End of input and Ctrl-C are None.
    """
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return read()
    except (EOFError, KeyboardInterrupt):
        return None
    finally:
        signal.signal(signal.SIGINT, handler)
