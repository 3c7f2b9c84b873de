"""Steps that look at one trace at a time."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tutelage.agent.arguments import fault as call_fault
from tutelage.agent.arguments import is_object
from tutelage.curate.candidates import Candidate, Fault
from tutelage.curate.config import (
    FormatStep,
    LengthStep,
    LoopsStep,
    RewardStep,
    StopReasonStep,
    ToolErrorsStep,
)
from tutelage.store import TraceStore
from tutelage.trace import Message, Trace, canonical

Check = Callable[[Any, Candidate, TraceStore], Fault | None]
# What a parser should have taken apart, in what the model said.
MARKUP = ("<tool_call>", "</tool_call>", "<think>", "</think>", "<|im_start|>", "<|im_end|>", "<tool_response>")
SHORT_LINE = 12  # characters; shorter lines repeat in lists and code


def reward(step: RewardStep, candidate: Candidate, store: TraceStore) -> Fault | None:
    value = candidate.summary.reward
    if value is None or value >= step.min_reward:
        return None
    return Fault(f"reward below {step.min_reward:g}", f"its reward is {value:g}, below {step.min_reward:g}")


def stop_reason(step: StopReasonStep, candidate: Candidate, store: TraceStore) -> Fault | None:
    ended = candidate.summary.stop_reason
    if ended is None or ended in step.keep:
        return None
    return Fault(f"ended by {ended.value}", f"it ended by {ended.value}")


def length(step: LengthStep, candidate: Candidate, store: TraceStore) -> Fault | None:
    steps = candidate.summary.steps
    if step.min_steps is not None and steps < step.min_steps:
        return Fault("too few steps", f"it has {steps} steps, fewer than {step.min_steps}")
    if step.max_steps is not None and steps > step.max_steps:
        return Fault("too many steps", f"it has {steps} steps, more than {step.max_steps}")
    if step.max_tokens is not None and (tokens := _tokens(candidate.trace(store))) > step.max_tokens:
        return Fault("too many tokens", f"it has {tokens} tokens, more than {step.max_tokens}")
    if step.max_characters is not None and (count := _characters(candidate.trace(store))) > step.max_characters:
        return Fault("too many characters", f"it has {count} characters, more than {step.max_characters}")
    return None


def loops(step: LoopsStep, candidate: Candidate, store: TraceStore) -> Fault | None:
    messages = candidate.trace(store).messages
    results = {message.tool_call_id: message.content for message in messages if message.role == "tool"}
    calls, outcomes = Counter[tuple[str, str]](), Counter[tuple[str, str, str | None]]()
    for message in messages:
        for call in message.tool_calls:
            key = (call.name, json.dumps(canonical(call.arguments), sort_keys=True))
            calls[key] += 1
            outcomes[(*key, results.get(call.id))] += 1
    for (name, *_), count in outcomes.most_common(1):
        if count > step.same_result:
            return Fault("the same call again", f'it calls "{name}" {count} times alike and gets the same result')
    for (name, _), count in calls.most_common(1):
        if count > step.same_call:
            return Fault("the same call again", f'it calls "{name}" {count} times alike')
    for number, message in enumerate(messages, 1):
        line, count = _commonest_line(message)
        if count > step.same_line:
            return Fault("the same line again", f'message {number} has the line "{line[:40]}" {count} times')
    return None


def tool_errors(step: ToolErrorsStep, candidate: Candidate, store: TraceStore) -> Fault | None:
    if not candidate.errors:
        return None
    results = sum(message.role == "tool" for message in candidate.trace(store).messages)
    rate = candidate.errors / results
    if rate <= step.max_rate:
        return None
    return Fault("too many tool errors", f"{candidate.errors} of {results} tool calls failed")


def format_faults(step: FormatStep, candidate: Candidate, store: TraceStore) -> Fault | None:
    return next(_format_faults(candidate.trace(store), arguments=step.arguments), None)


CHECKS: dict[type, Check] = {
    RewardStep: reward,
    StopReasonStep: stop_reason,
    LengthStep: length,
    LoopsStep: loops,
    ToolErrorsStep: tool_errors,
    FormatStep: format_faults,
}


def _format_faults(trace: Trace, *, arguments: bool) -> Iterator[Fault]:
    waiting: dict[str, str] = {}  # ids of calls without a result yet -> names
    known = {tool.name for tool in trace.tools}
    for number, message in enumerate(trace.messages, 1):
        here = f"message {number}"
        if message.role == "tool":
            if waiting.pop(message.tool_call_id or "", None) is None:
                yield Fault("a result without a call", f"{here} answers no call")
            continue
        if waiting:
            yield Fault("a call without a result", f'the call of "{next(iter(waiting.values()))}" was not answered')
        waiting = {call.id: call.name for call in message.tool_calls}
        if message.role != "assistant" or message.weight <= 0:
            continue
        if len(waiting) < len(message.tool_calls):
            yield Fault("two calls of one id", f"{here} has two calls of one id")
        if not message.tool_calls and not (message.content or "").strip():
            yield Fault("an empty message", f"{here} is empty")
        text = f"{message.content or ''}\n{message.reasoning_content or ''}"
        for markup in MARKUP:
            if markup in text:
                yield Fault("markup that was not parsed", f"{here} holds {markup}")
        for call in message.tool_calls:
            yield from _call_faults(trace, known, here, call.name, call.arguments, schema=arguments)
    if waiting:
        yield Fault("a call without a result", f'the call of "{next(iter(waiting.values()))}" was not answered')
    if not trace.answer():
        yield Fault("no answer at the end", "it does not end with an answer")


def _call_faults(
    trace: Trace, known: set[str], here: str, name: str, arguments: str, *, schema: bool
) -> Iterator[Fault]:
    if name not in known:
        yield Fault("a call of an unknown tool", f'{here} calls "{name}", which was not offered')
        return
    wrong = call_fault(trace.tools, name, arguments)
    if wrong and (schema or not is_object(arguments)):
        yield Fault("arguments that do not fit", f'{here}, call of "{name}": {wrong}')


def _tokens(trace: Trace) -> int:
    last = trace.steps[-1] if trace.steps else None
    return (last.prompt_tokens or 0) + (last.completion_tokens or 0) if last else 0


def _characters(trace: Trace) -> int:
    return sum(
        len(message.content or "")
        + len(message.reasoning_content or "")
        + sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
        for message in trace.messages
    )


def _commonest_line(message: Message) -> tuple[str, int]:
    if message.role != "assistant":
        return "", 0
    text = f"{message.content or ''}\n{message.reasoning_content or ''}"
    lines = Counter(line.strip() for line in text.splitlines() if len(line.strip()) >= SHORT_LINE)
    return lines.most_common(1)[0] if lines else ("", 0)
