"""The calls of a recorded history made again in a fresh world, and their results held against the recorded ones."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile

from tutelage.agent.arguments import BadArguments, read_arguments
from tutelage.agent.results import ToolResult
from tutelage.agent.rollout import bad_arguments, result_message
from tutelage.agent.servers import Servers
from tutelage.errors import TutelageError
from tutelage.render.truncate import Cut
from tutelage.trace import Message, ToolCall


class Topic(StrEnum):
    """What a person is asked about."""

    EFFECTS = "effects"  # the call, about to be made, may change something outside the world
    DIFFERENCE = "difference"  # it was made, and gave another result than the recorded one


class Decision(StrEnum):
    GO_ON = "go on"  # make the call; take the new result
    GO_ON_ALWAYS = "go on always"  # and do not ask about this topic again
    KEEP = "keep"  # take the recorded result; do not make a call that may have effects
    STOP = "stop"


@dataclass(frozen=True)
class Question:
    topic: Topic
    step: int  # from 1
    call: ToolCall
    recorded: str | None  # the recorded result; None where there is none to keep
    given: str = ""  # what the call gave now

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The possible answers."""
        return tuple(one for one in Decision if one is not Decision.KEEP or self.recorded is not None)


Decide = Callable[[Question], Awaitable[Decision]]


class ReplayStopped(TutelageError):
    """A person stopped it."""


@dataclass
class Replay:
    """`ran` are the calls that were really made; what a person wrote has no result of its own, and gets one."""

    servers: Servers
    ran: Collection[ToolCall]
    cut: Cut  # long results, as it cut them when they were recorded
    decide: Decide
    blobs: list[bytes] = field(default_factory=list)  # of the new results' parts
    _always: set[Topic] = field(default_factory=set)

    async def run(self, history: Sequence[Message]) -> list[Message]:
        """`history` with the results that its calls have now, or the recorded ones where a person keeps them.

        Raises ReplayStopped; ServerDied where a server is gone.
        """
        messages: list[Message] = []
        step = 0
        for place, message in enumerate(history):
            if message.role == "tool":
                continue
            messages.append(message)
            step += message.role == "assistant"
            # Only those of this step: where an endpoint gives calls no ids, each step's begin with call_0 again.
            results = takewhile(lambda each: each.role == "tool", history[place + 1 :])
            recorded = {result.tool_call_id: result for result in results}
            for call in message.tool_calls:
                messages.append(await self._result(step, call, recorded.get(call.id)))
        return messages

    async def _result(self, step: int, call: ToolCall, before: Message | None) -> Message:
        try:
            arguments = read_arguments(call.arguments)
        except BadArguments as error:
            return self._message(call, bad_arguments(error))
        kept = (before.content or "") if before else None
        if not self.servers.only_reads(call.name):
            decision = await self.ask(Question(Topic.EFFECTS, step, call, kept))
            if decision is Decision.KEEP and before:
                return before
        message = self._message(call, await self.servers.call(call.name, arguments))
        if before is None or call not in self.ran:
            return message
        if _same(message, before):
            return before
        decision = await self.ask(Question(Topic.DIFFERENCE, step, call, kept, message.content or ""))
        return before if decision is Decision.KEEP else message

    async def ask(self, question: Question) -> Decision:
        """What a person decides. Raises ReplayStopped."""
        if question.topic in self._always:
            return Decision.GO_ON
        decision = await self.decide(question)
        if decision is Decision.STOP:
            raise ReplayStopped(f"The re-run was stopped at step {question.step}. It made no revision.")
        if decision is Decision.GO_ON_ALWAYS:
            self._always.add(question.topic)
        return decision

    def _message(self, call: ToolCall, result: ToolResult) -> Message:
        message, blobs = result_message(call, result, self.cut)
        self.blobs += blobs
        return message


def _same(now: Message, before: Message) -> bool:
    return (now.content or "", now.is_error) == (before.content or "", before.is_error)
