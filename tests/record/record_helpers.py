"""The proxy before an endpoint, and the recorder called by hand."""

import json
from contextlib import AbstractContextManager
from typing import Any

from serving import serving

from tutelage.record.proxy import proxy
from tutelage.record.recorder import Recorder
from tutelage.record.spool import Spool, read
from tutelage.store import TraceStore
from tutelage.trace import Trace


def recording(upstream: str, spool: Spool) -> AbstractContextManager[str]:
    """The proxy before `upstream`; its URL, up to and including /v1."""
    return serving(proxy(upstream, spool))


def drained(spool: Spool, store: TraceStore, run: str = "record") -> list[Trace]:
    """Record all that waits, finish, and give the traces in the order of their beginning."""
    recorder = Recorder(store, run, spool.owner())
    for waiting in spool.waiting():
        recorder.record(waiting.id, read(waiting))
        spool.remove(waiting)
    recorder.finish()
    return sorted(store.traces(run=run), key=lambda trace: (trace.timestamp, trace.attempt))


def told_by(trace: Trace) -> list[tuple[str, str, list[tuple[str, Any]]]]:
    """A trace as its client would tell it: role, text, calls; what the system prompt says, the client knows anyway."""
    return [
        (message.role, message.content or "", [(call.name, json.loads(call.arguments)) for call in message.tool_calls])
        for message in trace.messages
        if message.role != "system"
    ]


def shape(trace: Trace) -> list[str]:
    """A trace in a form that can be read at a glance; what is context only stands in brackets."""
    lines = []
    for message in trace.messages:
        said = message.content or "".join(f"{call.name}{call.arguments}" for call in message.tool_calls)
        lines.append(f"{message.role[0]}: {said}" if message.weight else f"({message.role[0]}: {said})")
    return lines
