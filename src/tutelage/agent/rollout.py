"""One rollout: ask the model, record its answer, run the tools it calls, until it answers or a limit is reached."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import JsonValue

from tutelage.agent.arguments import BadArguments, read_arguments
from tutelage.agent.results import ToolResult, attach
from tutelage.agent.servers import ServerDied, Servers
from tutelage.endpoint.client import ChatEndpoint
from tutelage.endpoint.clock import stopped
from tutelage.endpoint.errors import ContextExceeded, EndpointError, EndpointUnreachable, InvalidOutput
from tutelage.redact import redact
from tutelage.render.truncate import Cut
from tutelage.settings import RolloutLimits
from tutelage.trace import WHOLE_TEXT, Message, Step, StopReason, Task, Tool, ToolCall, now

REPEATED_SUCCESSES = 3  # the same call with the same result this often in a row: the model goes round in circles
BROKEN = (StopReason.ENDPOINT_ERROR, StopReason.SERVER_ERROR)  # ends that say nothing of the model
REFUSED = "The user did not allow this call."

Ask = Callable[[ToolCall], Awaitable[bool]]
OnMessage = Callable[[Message], None]
Show = Callable[[Sequence[Message], Sequence[Tool]], Sequence[Message]]  # a history, as long as before


class Recorder(Protocol):
    """Where a rollout is recorded; store.Recording is one. Each call is on disk when it returns."""

    def message(self, message: Message, blobs: Sequence[bytes] = ()) -> None: ...

    def step(self, step: Step, message: Message) -> None: ...


@dataclass
class RolloutEnd:
    messages: list[Message]
    stop_reason: StopReason
    steps: int
    prompt_tokens: int  # of all steps together
    completion_tokens: int
    detail: str = ""  # of an error: what the endpoint or the server said
    results_cut: int = 0  # tool results that the last requests no longer showed in full
    tools_changed: bool = False  # a server said that it has other tools than at the start, which the model still saw
    replayed: dict[str, int] = field(default_factory=dict)  # calls answered from a recording, by server

    @property
    def notes(self) -> dict[str, JsonValue]:
        """What a trace's metadata keep of it."""
        notes: dict[str, JsonValue] = {
            "detail": self.detail,
            "results_cut": self.results_cut,
            "tools_changed": self.tools_changed,
            "replayed": {**self.replayed},
        }
        return {key: value for key, value in notes.items() if value}

    @property
    def broken(self) -> bool:
        """Whether the endpoint or a server ended it: to be run again rather than to count."""
        return self.stop_reason in BROKEN


class _Stop(Exception):
    def __init__(self, reason: StopReason, detail: str = "") -> None:
        self.reason, self.detail = reason, detail


async def run_rollout(
    task: Task,
    *,
    endpoint: ChatEndpoint,
    servers: Servers,
    recording: Recorder,
    system_prompt: str | None = None,
    limits: RolloutLimits,
    cut: Cut,
    extra: Mapping[str, Any] | None = None,
    ask: Ask | None = None,
    on_message: OnMessage | None = None,
    show: Show | None = None,
) -> RolloutEnd:
    """Run `task` to its end; long tool results are shown as `cut` makes them.

    `extra` goes into every request's body; `ask` decides on each call before it runs.
    `show` says what of the history a request holds; the whole history is recorded whatever it says.

    Raises EndpointUnreachable where the endpoint is gone; every other end is a stop reason.
    """

    async def turns() -> AsyncIterator[str]:
        for turn in task.turns:
            yield turn

    rollout = Rollout(endpoint, servers, recording, limits, cut, extra=extra, ask=ask, on_message=on_message, show=show)
    return await rollout.run(turns(), system_prompt)


@dataclass
class Rollout:
    """The state of one rollout; its user turns may come from a task or from a person."""

    endpoint: ChatEndpoint
    servers: Servers
    recording: Recorder
    limits: RolloutLimits
    cut: Cut
    extra: Mapping[str, Any] | None = None
    ask: Ask | None = None
    on_message: OnMessage | None = None
    show: Show | None = None
    hint: str = ""  # the model finds it at the end of the system prompt; the recording does not hold it
    messages: list[Message] = field(default_factory=list)
    steps: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    results_cut: int = 0
    _failures: Counter[tuple[str, str]] = field(default_factory=Counter)  # by name and arguments, of this turn
    _last_success: tuple[str, str, str] | None = None
    _in_a_row: int = 0
    _time: asyncio.Timeout | None = None  # what is left of max_seconds

    async def run(self, turns: AsyncIterator[str], system_prompt: str | None) -> RolloutEnd:
        if system_prompt:
            self._record(Message(role="system", content=system_prompt))
        return await self.go_on(turns)

    async def go_on(self, turns: AsyncIterator[str]) -> RolloutEnd:
        """Go on from `messages`, which are recorded already: a turn that they leave open is answered first."""
        stop = _Stop(StopReason.ANSWER)
        try:
            async with asyncio.timeout(self.limits.max_seconds) as self._time:
                if turn_is_open(self.messages):
                    await self._answer_turn()
                async for turn in turns:
                    self._record(Message(role="user", content=turn))
                    self._failures.clear()  # asked again, a call may well be made again
                    self._last_success = None
                    await self._answer_turn()
        except _Stop as raised:
            stop = raised
        except TimeoutError:
            stop = _Stop(StopReason.TIME_LIMIT)
        except ServerDied as error:
            stop = _Stop(StopReason.SERVER_ERROR, str(error))
        return RolloutEnd(
            self.messages,
            stop.reason,
            self.steps,
            self.prompt_tokens,
            self.completion_tokens,
            redact(stop.detail),
            self.results_cut,
            self.servers.tools_changed,
            dict(self.servers.replayed),
        )

    async def _answer_turn(self) -> None:
        """Steps up to the message that answers the turn. Raises _Stop where the rollout ends before."""
        while True:
            message = await self._step()
            if not message.tool_calls:
                if not (message.content or "").strip():
                    raise _Stop(StopReason.ANSWER)  # nothing said: there is nothing for a next turn to follow
                return
            for call in message.tool_calls:
                result = await self._run_call(call)
                self._record_result(call, result)
                self._count(call, result)

    async def _step(self) -> Message:
        """One model call, on disk before anything follows from it."""
        if self.steps >= self.limits.max_steps:
            raise _Stop(StopReason.STEP_LIMIT)
        started, clock = now(), time.monotonic()
        shown = self._shown()
        try:
            completion = await self.endpoint.complete(
                shown,
                self.servers.tools,
                send_reasoning=self.limits.send_reasoning,
                extra=self.extra,
                clock=self._time,
            )
        except EndpointUnreachable:
            raise
        except EndpointError as error:
            raise _Stop(_reason(error), str(error)) from None
        step = Step(
            seen=len(self.messages),
            started=started,
            seconds=time.monotonic() - clock,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            finish_reason=completion.finish_reason,
        )
        self.recording.step(step, completion.message)
        self._append(completion.message)
        self.steps += 1
        self.prompt_tokens += completion.prompt_tokens or 0
        self.completion_tokens += completion.completion_tokens or 0
        answered = not completion.message.tool_calls
        spent = (completion.prompt_tokens or 0) + self.completion_tokens
        if completion.finish_reason == "length" or (spent > self.limits.max_total_tokens and not answered):
            raise _Stop(StopReason.TOKEN_LIMIT)
        return completion.message

    def _shown(self) -> Sequence[Message]:
        """What of the history the model sees."""
        if self.show is None:
            return with_hint(self.messages, self.hint)
        shown = self.show(self.messages, self.servers.tools)
        cut = sum(before is not after for before, after in zip(self.messages, shown, strict=True))
        self.results_cut = max(self.results_cut, cut)
        return with_hint(shown, self.hint)

    async def _run_call(self, call: ToolCall) -> ToolResult:
        try:
            arguments = read_arguments(call.arguments)
        except BadArguments as error:
            return bad_arguments(error)
        if self.ask and not await self._allowed(self.ask, call):
            return ToolResult(REFUSED, is_error=True)
        return await self.servers.call(call.name, arguments)

    async def _allowed(self, ask: Ask, call: ToolCall) -> bool:
        """What a person says; the time that they take is not the rollout's."""
        with stopped(self._time):
            return await ask(call)

    def _count(self, call: ToolCall, result: ToolResult) -> None:
        """Stop a model that goes round in circles: the same failure in a row or not, the same success in a row.

        Other calls between two equal successes are no circle: a status may well be asked for again after each change.
        """
        if result.is_error:
            self._last_success = None
            self._failures[call.name, call.arguments] += 1
            repeated = self._failures[call.name, call.arguments] >= self.limits.repeated_failures
        else:
            success = (call.name, call.arguments, result.text)
            self._in_a_row = self._in_a_row + 1 if success == self._last_success else 1
            self._last_success = success
            repeated = self._in_a_row >= REPEATED_SUCCESSES
        if repeated:
            raise _Stop(StopReason.REPEATED_CALL)

    def _record_result(self, call: ToolCall, result: ToolResult) -> None:
        self._record(*result_message(call, result, self.cut))

    def _record(self, message: Message, blobs: Sequence[bytes] = ()) -> None:
        self.recording.message(message, blobs)
        self._append(message)

    def _append(self, message: Message) -> None:
        self.messages.append(message)
        if self.on_message:
            self.on_message(message)


def turn_is_open(messages: Sequence[Message]) -> bool:
    """Whether the last user message waits for its answer."""
    last = messages[-1] if messages else None
    return last is not None and (last.role in ("user", "tool") or bool(last.tool_calls))


def with_hint(messages: Sequence[Message], hint: str) -> Sequence[Message]:
    """`messages` with `hint` at the end of the system prompt."""
    if not hint:
        return messages
    first, rest = (messages[0], messages[1:]) if messages and messages[0].role == "system" else (None, messages)
    told = f"{first.content}\n\n{hint}" if first and first.content else hint
    return [Message(role="system", content=told), *rest]


def result_message(call: ToolCall, result: ToolResult, cut: Cut) -> tuple[Message, list[bytes]]:
    """The result as the model is to see it, and the bytes of what its text does not show."""
    text = cut(result.text)
    attachments = result.attachments
    if text != result.text:
        attachments = (attach(result.text.encode(), "text/plain", WHOLE_TEXT), *attachments)
    parts = tuple(attachment.part for attachment in attachments)
    message = Message(role="tool", content=text, tool_call_id=call.id, is_error=result.is_error, parts=parts)
    return message, [attachment.data for attachment in attachments]


def bad_arguments(error: BadArguments) -> ToolResult:
    """What the model is told of a call that no server could be sent."""
    return ToolResult(f"Error: the arguments are {error}.", is_error=True)


def _reason(error: EndpointError) -> StopReason:
    if isinstance(error, ContextExceeded):
        return StopReason.TOKEN_LIMIT
    if isinstance(error, InvalidOutput):
        return StopReason.INVALID_OUTPUT
    return StopReason.ENDPOINT_ERROR
