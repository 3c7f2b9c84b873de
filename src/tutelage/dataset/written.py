"""Reasoning that was not recorded, but written afterwards: by a teacher who was asked for it, or by a person."""

from tutelage.store import TraceStore
from tutelage.trace import Trace, has_reasoning


def written_reasoning(store: TraceStore, trace: Trace) -> set[str | None]:
    """What of the trace's reasoning no model gave, neither in its original nor in a re-run."""
    if trace.revision == 0:
        return set()
    original = store.load(trace.id, 0).messages
    given = (*original, *(trace.messages[step.seen] for step in trace.steps))
    return {message.reasoning_content for message in trace.messages if has_reasoning(message)} - {
        message.reasoning_content for message in given
    }
