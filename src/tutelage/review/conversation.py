"""A trace as a page shows it: one block a message, with what a reader wants to know of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.agent.arguments import fault
from tutelage.review.changes import pretty
from tutelage.review.differences import origins
from tutelage.trace import RERUN, Message, Part, Step, Tool, Trace, Verdict

LONG = 1_500  # characters; longer texts are folded
SHOWN, SHOWN_LINES = 600, 8  # characters and lines of them that stand above the fold
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")  # which cannot hold a script
CUT_OFF = "length"  # the finish reason of a message that the token limit ended


@dataclass(frozen=True)
class Call:
    name: str
    arguments: str  # laid out for reading and editing
    fault: str  # against the tool's schema; "" for none


@dataclass(frozen=True)
class Block:
    """One message."""

    index: int
    message: Message
    step: int | None  # number of the model call that gave it, from 1
    recorded: Step | None  # its timing and tokens, where it stands as it was recorded
    calls: tuple[Call, ...]
    tool: str  # of a tool result: the tool that answered
    content: str  # JSON is laid out
    reasoning: str
    is_edited: bool  # since it was run
    is_rerun: bool  # it was not recorded at first, but when the trace was run again
    is_stale: bool  # it was written after other messages than now stand before it
    is_cut_off: bool

    @property
    def id(self) -> str:
        return f"m{self.index}"

    @property
    def is_long(self) -> bool:
        return len(self.content) > LONG

    @property
    def beginning(self) -> str:
        """Some of a long content, up to a line's end where one is near."""
        text = self.content[:SHOWN]
        end = text.rfind("\n", SHOWN // 2)
        return "\n".join((text[:end] if end > 0 else text).splitlines()[:SHOWN_LINES])

    @property
    def pictures(self) -> list[Part]:
        return [part for part in self.message.parts if part.mime_type in PICTURES]

    @property
    def files(self) -> list[Part]:
        """What a tool gave beside text and pictures."""
        return [part for part in self.message.parts if part.mime_type not in PICTURES]

    @property
    def headline(self) -> str:
        """For the outline: what the message does, in a few words."""
        if self.calls:
            return ", ".join(call.name for call in self.calls)
        return " ".join((self.message.content or "").split())[:60] or "(empty)"


def blocks(trace: Trace, original: Sequence[Message] | None = None) -> list[Block]:
    """The messages of `trace`; `original` are those of the revision that was run last, where this is a later one."""
    steps = {step.seen: step for step in trace.steps}
    now = [_as_said(message) for message in trace.messages]
    places = range(len(now)) if original is None else origins([_as_said(message) for message in original], now)
    rerun = trace.metadata.get(RERUN)
    kept = rerun["kept"] if isinstance(rerun, dict) else None
    stale = () if trace.verdict is Verdict.APPROVED else trace.stale  # whoever approves it has read it
    tools = {call.id: call.name for message in trace.messages for call in message.tool_calls}
    found = []
    number = 0
    for index, message in enumerate(trace.messages):
        is_step = message.role == "assistant"
        number += is_step
        recorded = steps.get(index)
        found.append(
            Block(
                index=index,
                message=message,
                step=number if is_step else None,
                recorded=recorded,
                calls=tuple(_call(trace.tools, call.name, call.arguments) for call in message.tool_calls),
                tool=tools.get(message.tool_call_id or "", "") if message.role == "tool" else "",
                content=_laid_out(message),
                reasoning=(message.reasoning_content or "").strip(),
                is_edited=places[index] is None,
                is_rerun=isinstance(kept, int) and (places[index] or 0) >= kept,
                is_stale=index in stale,
                is_cut_off=recorded is not None and recorded.finish_reason == CUT_OFF,
            )
        )
    return found


def size(characters: int) -> str:
    return f"{characters:,} characters" if characters < 10_000 else f"{characters / 1000:,.0f} k characters"


def _as_said(message: Message) -> Message:
    """Without the mark that it is context only, which changes nothing for what comes after it."""
    return message.model_copy(update={"weight": 1.0})


def _call(tools: Sequence[Tool], name: str, arguments: str) -> Call:
    return Call(name, pretty(arguments), fault(tools, name, arguments))


def _laid_out(message: Message) -> str:
    """A message's content, a tool's JSON easier to read."""
    text = message.content or ""
    return pretty(text) if message.role == "tool" and text.lstrip()[:1] in ("{", "[") else text
