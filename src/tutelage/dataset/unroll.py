"""Make a trace into its rows: one for each assistant message to be learnt."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from tutelage.trace import Message, StopReason, Trace

CUT_OFF = (StopReason.TOKEN_LIMIT, StopReason.INVALID_OUTPUT)  # the last message may be half of one
CUT_OFF_FINISH = "length"


class Unrolled(NamedTuple):
    """A conversation up to and including the one assistant message that is learnt."""

    step: int  # which of the trace's assistant messages, from 0
    messages: tuple[Message, ...]
    timestamp: datetime


def unroll(trace: Trace) -> Iterator[Unrolled]:
    """The rows of `trace`. Context-only messages stay in the history; a message that was cut off is not taught.

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
        cut_off = (call is not None and call.finish_reason == CUT_OFF_FINISH) or (
            index == last and trace.stop_reason in CUT_OFF and not (trace.revision > 0 and call is None)
        )
        if message.weight > 0 and not cut_off:
            yield Unrolled(step, trace.messages[: index + 1], call.started if call else trace.timestamp)
