"""Make a trace into its rows: one for each assistant message to be learnt."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from tutelage.trace import Message, StopReason, Trace

CUT_OFF_FINISH = "length"
# Why a message is not taught that was to be learnt.
CUT_OFF = "a message that was cut off"
LAST_BEFORE = {
    StopReason.TOKEN_LIMIT: "the last message before a limit of tokens",
    StopReason.INVALID_OUTPUT: "the last message before output that could not be read",
}

Skip = Callable[[int, str], None]  # which of the trace's assistant messages, and why it is not taught


class Unrolled(NamedTuple):
    """A conversation up to and including the one assistant message that is learnt."""

    step: int  # which of the trace's assistant messages, from 0
    messages: tuple[Message, ...]
    timestamp: datetime


def unroll(trace: Trace, on_skip: Skip | None = None) -> Iterator[Unrolled]:
    """The rows of `trace`. Context-only messages stay in the history; one that may be half of a message is not taught.

    What a reviewer wrote in the place of one that was cut off is whole, and taught.
    """
    calls = {step.seen: step for step in trace.steps}
    last = len(trace.messages) - 1
    step = -1
    for index, message in enumerate(trace.messages):
        if message.role != "assistant":
            continue
        step += 1
        call = calls.get(index)
        if message.weight <= 0:
            continue
        reason = None
        if call is not None and call.finish_reason == CUT_OFF_FINISH:
            reason = CUT_OFF
        elif index == last and trace.stop_reason in LAST_BEFORE and not (trace.revision > 0 and call is None):
            reason = LAST_BEFORE[trace.stop_reason]
        if reason is None:
            yield Unrolled(step, trace.messages[: index + 1], call.started if call else trace.timestamp)
        elif on_skip:
            on_skip(step, reason)
