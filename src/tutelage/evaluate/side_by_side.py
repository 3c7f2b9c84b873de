"""Two rollouts of one task, step by step, and the step at which they part."""

from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.evaluate.evaluation import Evaluation, Outcome
from tutelage.store import TraceStore
from tutelage.trace import Trace, first_difference

LONGEST = 700  # characters of one text that the page shows


@dataclass(frozen=True)
class Entry:
    """One message as the page shows it."""

    role: str
    step: int | None  # number of the model call that gave it, from 1
    reasoning: str
    content: str
    calls: tuple[tuple[str, str], ...]  # name, arguments
    is_error: bool
    parts: bool  # the first step at which the two rollouts differ


@dataclass(frozen=True)
class Side:
    name: str
    model: str
    outcome: Outcome
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Example:
    what: str  # "solved only after training", …
    task_id: str
    kind: str
    prompt: str
    parting: int | None  # step number; None: the same calls and answers throughout
    sides: tuple[Side, Side]


def examples(evaluation: Evaluation, store: TraceStore, limit: int = 4) -> list[Example]:
    """Some tasks that tell most: gained ones of several kinds, then lost ones, then ones that neither solved."""
    before, after = evaluation.variants.get("before"), evaluation.variants.get("after")
    if not before or not after:
        return []
    first = {outcome.task_id: outcome for outcome in before.outcomes}
    groups: dict[tuple[bool, bool], list[tuple[Outcome, Outcome]]] = {}
    for outcome in after.outcomes:
        if outcome.task_id in first:
            earlier = first[outcome.task_id]
            groups.setdefault((earlier.solved, outcome.solved), []).append((earlier, outcome))
    lost, neither = groups.get((True, False), [])[:1], _one_a_kind(groups.get((False, False), []))[:1]
    gained = _one_a_kind(groups.get((False, True), []))[: limit - len(lost) - len(neither)]
    chosen = [("Solved only after training", pair) for pair in gained]
    chosen += [("Solved only before training", pair) for pair in lost]
    chosen += [("Not solved, before or after", pair) for pair in neither]
    made = []
    for what, (earlier, later) in chosen:
        traces = [store.load(outcome.trace_id, 0) for outcome in (earlier, later)]
        made.append(pair_up(what, traces[0], traces[1], (before.name, after.name), (earlier, later)))
    return made


def pair_up(what: str, left: Trace, right: Trace, names: tuple[str, str], outcomes: tuple[Outcome, Outcome]) -> Example:
    parting = first_difference(left, right)
    sides = [
        Side(name, trace.model, outcome, _entries(trace, parting))
        for name, trace, outcome in zip(names, (left, right), outcomes, strict=True)
    ]
    step = None if parting is None else parting + 1
    return Example(what, left.task.id, left.task.kind, left.task.turns[0], step, (sides[0], sides[1]))


def _one_a_kind(pairs: Sequence[tuple[Outcome, Outcome]]) -> list[tuple[Outcome, Outcome]]:
    """The same pairs, with the first of each kind in front."""
    seen: set[str] = set()
    front: list[tuple[Outcome, Outcome]] = []
    rest: list[tuple[Outcome, Outcome]] = []
    for pair in pairs:
        (rest if pair[0].kind in seen else front).append(pair)
        seen.add(pair[0].kind)
    return front + rest


def _entries(trace: Trace, parting: int | None) -> tuple[Entry, ...]:
    """All messages but the system prompt and the first question, which both sides share."""
    entries = []
    step = 0
    asked = False
    for message in trace.messages:
        if message.role == "system" or (message.role == "user" and not asked):
            asked = asked or message.role == "user"
            continue
        own = message.role == "assistant"
        step += own
        entries.append(
            Entry(
                role=message.role,
                step=step if own else None,
                reasoning=_cut(message.reasoning_content),
                content=_cut(message.content),
                calls=tuple((call.name, _cut(call.arguments)) for call in message.tool_calls),
                is_error=message.is_error,
                parts=own and step - 1 == parting,
            )
        )
    return tuple(entries)


def _cut(text: str | None) -> str:
    text = (text or "").strip()
    left = len(text) - LONGEST
    return text if left <= 0 else f"{text[:LONGEST]} … ({left:,} more characters)"
