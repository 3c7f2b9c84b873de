"""What went wrong in a failed rollout, in a word or two."""

from collections.abc import Iterator

from tutelage.agent.arguments import is_object
from tutelage.trace import StopReason, ToolCall, Trace

STOPPED = {
    StopReason.INVALID_OUTPUT: "malformed output",
    StopReason.REPEATED_CALL: "repeated failing call",
    StopReason.STEP_LIMIT: "step limit",
    StopReason.TOKEN_LIMIT: "token limit",
    StopReason.TIME_LIMIT: "time limit",
}


def category(trace: Trace) -> str:
    """The category of a rollout that did not succeed.

    The verifier's own, else what the trace shows. One that an endpoint or a server broke is not finished, and not here.
    """
    return trace.reward_category or seen_in(trace)


def seen_in(trace: Trace) -> str:
    """The category that the trace itself shows, without a verifier's word."""
    if trace.stop_reason is StopReason.INVALID_OUTPUT:
        return STOPPED[StopReason.INVALID_OUTPUT]
    calls = list(_calls(trace))
    if not calls:
        return "no tool call"
    known = {tool.name for tool in trace.tools}
    if any(call.name not in known for call in calls):
        return "unknown tool"
    if any(not is_object(call.arguments) for call in calls):
        return "malformed call"
    if trace.stop_reason in STOPPED:
        return STOPPED[trace.stop_reason]
    if not trace.answer():
        return "no answer"
    return "tool error" if any(message.is_error for message in trace.messages) else "wrong answer"


def _calls(trace: Trace) -> Iterator[ToolCall]:
    for message in trace.messages:
        yield from message.tool_calls
