"""Missing reasoning, written by the teacher as a new revision of a trace, which a reviewer then approves or not."""

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tutelage.agent.servers import first_cause
from tutelage.endpoint.client import ChatEndpoint
from tutelage.endpoint.errors import EndpointError, EndpointUnreachable
from tutelage.endpoint.services import services_named_in, start_services
from tutelage.errors import TutelageError
from tutelage.project import Project, expand
from tutelage.settings import Teacher
from tutelage.store import TraceStore
from tutelage.trace import Message, Trace, has_reasoning

ASK = """You write down what an assistant thought. You are shown a conversation that it has had so far, as JSON, and \
the message that it gave next. Write the thoughts that lead it to exactly this message: in the first person, from what \
it had seen by then and nothing else, in one to five sentences. Answer with these thoughts alone."""
NOTE = "reasoning written by {model}, which was not there when this was recorded"

Progress = Callable[[int, int], None]  # traces done, traces in all


def backfill(
    project: Project,
    store: TraceStore,
    trace_ids: Iterable[str],
    *,
    teacher_url: str | None = None,
    teacher_model: str | None = None,
    on_progress: Progress | None = None,
) -> int:
    """Have the teacher write the reasoning that the traces lack; how many got a new revision, undecided until judged.

    A trace of which the teacher could not explain every message is left as it is. Raises TutelageError where the
    teacher cannot be reached, or no trace could be completed.
    """
    lacking = [id for id in trace_ids if _missing(store.load(id))]
    if not lacking:
        return 0
    teacher = project.teacher(teacher_url, teacher_model)
    others = set(project.settings.services) - services_named_in(teacher.url, project)
    with (
        tempfile.TemporaryDirectory(prefix="tutelage-") as scratch,
        start_services(project, Path(scratch), skip=others) as values,
    ):
        url = expand(teacher.url, values, "tutelage.toml: teacher: url")
        written = asyncio.run(_backfill(project, store, lacking, teacher, url, on_progress))
    if not written:
        raise TutelageError(
            f"{teacher.model} wrote no reasoning for any of {len(lacking)} traces. Try another with --teacher-url and "
            "--teacher-model, or choose --reasoning off or mask."
        )
    return written


def _missing(trace: Trace) -> list[int]:
    """The places of taught messages without reasoning."""
    return [
        index
        for index, message in enumerate(trace.messages)
        if message.role == "assistant" and message.weight > 0 and not has_reasoning(message)
    ]


async def _backfill(
    project: Project,
    store: TraceStore,
    trace_ids: Sequence[str],
    teacher: Teacher,
    url: str,
    on_progress: Progress | None,
) -> int:
    key, seconds = os.environ.get(teacher.api_key_env), project.settings.rollout.request_seconds
    at_once = asyncio.Semaphore(project.settings.collect.concurrency)
    written = done = 0

    async def one(endpoint: ChatEndpoint, id: str) -> None:
        nonlocal written, done
        async with at_once:
            trace = store.load(id)
            messages = await _completed(endpoint, trace)
            if messages:
                note = NOTE.format(model=teacher.model)
                store.revise(id, messages, base=trace.revision, author=teacher.model, note=note)
                written += 1
            done += 1
            if on_progress:
                on_progress(done, len(trace_ids))

    async with ChatEndpoint(url, teacher.model, key, teacher.sampling, seconds) as endpoint:
        try:
            async with asyncio.TaskGroup() as group:
                for id in trace_ids:
                    group.create_task(one(endpoint, id))
        except BaseExceptionGroup as group:
            raise first_cause(group) from None
    return written


async def _completed(endpoint: ChatEndpoint, trace: Trace) -> list[Message] | None:
    """The trace's messages with their reasoning; None where one could not be explained."""
    messages = list(trace.messages)
    for index in _missing(trace):
        try:
            thoughts = await _thoughts(endpoint, messages[: index + 1], trace)
        except EndpointUnreachable:
            raise
        except EndpointError:
            return None
        if not thoughts or "</think>" in thoughts:
            return None
        messages[index] = messages[index].model_copy(update={"reasoning_content": thoughts})
    return messages


async def _thoughts(endpoint: ChatEndpoint, messages: Sequence[Message], trace: Trace) -> str:
    shown = [message.to_openai() for message in messages]
    told = {"tools": [tool.name for tool in trace.tools], "conversation": shown[:-1], "next_message": shown[-1]}
    question = Message(role="user", content=json.dumps(told, ensure_ascii=False, indent=1))
    answer = await endpoint.complete([Message(role="system", content=ASK), question], [])
    return (answer.message.content or "").strip()
