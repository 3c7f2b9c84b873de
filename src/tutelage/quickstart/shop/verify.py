"""Prepare a shop task's world, and judge the rollout that used it.

A rollout succeeds if the database changed as the task expects and no further, what had to be looked up was looked up,
and each turn's answer holds the facts. So neither doing nothing nor guessing passes: a refusal needs its evidence too.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tutelage.quickstart.shop.database import DRAFT, Order, Shop, create_shop
from tutelage.quickstart.shop.tasks import make_tasks
from tutelage.trace import Message, StopReason, Task, Trace
from tutelage.world import Reward, World

REFUSING = re.compile(r"\b(not|no|never|cannot|unable|refused?|decline[ds]?|sorry|unfortunately|only)\b|n['’]t\b", re.I)


class Call(NamedTuple):
    """A tool call and what came of it."""

    tool: str
    arguments: dict[str, Any]
    result: str
    is_error: bool


def prepare(task: Task, world: World) -> None:
    """Write the task's shop into the world; a task without one (a chat, say) gets a sample shop."""
    create_shop(world.folder, task.setup if "products" in task.setup else make_tasks("train", 1, 0)[0].setup)


def verify(trace: Trace, world: World) -> Reward:
    """1 or 0, with the reason, and for a failure its category."""
    expected: Any = trace.task.setup["expected"]
    before = {order["id"]: order["status"] for order in _list(trace.task.setup["orders"])}
    orders = Shop(world.folder).orders()
    calls = tool_calls(trace.messages)
    placed = [order for order in orders if order.id not in before and order.status not in (DRAFT, "cancelled")]
    cancelled = [order.id for order in orders if before.get(order.id, "cancelled") != order.status == "cancelled"]
    failure = (
        _too_much_done(expected, placed, cancelled)
        or _unfinished(trace, calls, len(expected["turns"]))
        or _not_looked_up(expected["evidence"], calls)
        or _too_little_done(expected, placed, cancelled, calls)
        or _wrong_answer(expected, answers(trace.messages), placed)
    )
    return failure or Reward(1.0, "as expected")


def tool_calls(messages: Iterable[Message]) -> list[Call]:
    """All tool calls with their results; arguments that are no JSON object count as none."""
    messages = tuple(messages)
    results = {message.tool_call_id: message for message in messages if message.role == "tool"}
    calls = []
    for message in messages:
        for call in message.tool_calls:
            try:
                arguments = json.loads(call.arguments)
            except ValueError:
                arguments = {}
            result = results.get(call.id)
            calls.append(
                Call(
                    call.name,
                    arguments if isinstance(arguments, dict) else {},
                    (result.content or "") if result else "",
                    result.is_error if result else True,
                )
            )
    return calls


def answers(messages: Iterable[Message]) -> list[str]:
    """The answer to each user turn that got one: its last assistant message, if that calls no tool."""
    found: list[str] = []
    answer: str | None = None
    for message in messages:
        if message.role == "user" and answer is not None:
            found.append(answer)
            answer = None
        elif message.role == "assistant":
            answer = None if message.tool_calls else (message.content or "").strip()
    return found if answer is None else [*found, answer]


def _too_much_done(expected: Any, placed: list[Order], cancelled: list[str]) -> Reward | None:
    extra_orders = _orders(placed) - _expected_orders(expected)
    extra_cancelled = set(cancelled) - set(expected["cancelled"])
    if not extra_orders and not extra_cancelled:
        return None
    what = [f"ordered {quantity} of {product} for {customer}" for product, quantity, customer in extra_orders]
    what += [f"cancelled {id}" for id in sorted(extra_cancelled)]
    reason = f"{' and '.join(what)}, which was not asked"
    if expected["refuse"]:
        return _fail("did what it should have refused", f"{' and '.join(what)}, which it should have refused")
    if (extra_orders and expected["orders"]) or (extra_cancelled and expected["cancelled"]):
        return _fail("wrong argument", reason)
    return _fail("wrong tool", reason)


def _unfinished(trace: Trace, calls: list[Call], turns: int) -> Reward | None:
    given = answers(trace.messages)
    if trace.stop_reason is not StopReason.ANSWER:
        return _fail("unfinished", f"ended without an answer: {trace.stop_reason or 'not finished'}")
    if not calls:
        return _fail("no tool call", "answered without calling a tool")
    if len(given) < turns:
        return _fail("unfinished", f"answered {len(given)} of {turns} user turns")
    if not all(given):
        return _fail("gave up", "gave an empty answer")
    return None


def _not_looked_up(evidence: list[Any], calls: list[Call]) -> Reward | None:
    for item in evidence:
        of_tool = [call for call in calls if call.tool == item["tool"]]
        if not of_tool:
            return _fail("wrong tool", f"never called {item['tool']}")
        if not any(_is_evidence(item, call) for call in of_tool):
            wanted = item.get("arguments") or f"what shows {item['shows']}"
            return _fail("wrong argument", f"called {item['tool']}, but not for {_words(wanted)}")
    return None


def _is_evidence(item: Any, call: Call) -> bool:
    if call.is_error:
        return False
    if "shows" in item:
        return item["shows"] in re.findall(r"\w+", call.result)
    return all(str(call.arguments.get(name)) == str(value) for name, value in item["arguments"].items())


def _too_little_done(expected: Any, placed: list[Order], cancelled: list[str], calls: list[Call]) -> Reward | None:
    missing_orders = _expected_orders(expected) - _orders(placed)
    missing_cancelled = set(expected["cancelled"]) - set(cancelled)
    for tool, missing in (("place", missing_orders), ("cancel", missing_cancelled)):
        if not missing:
            continue
        if any(call.tool == tool for call in calls):
            return _fail("wrong argument", f"called {tool}, but not as asked")
        return _fail("gave up", f"never called {tool}")
    return None


def _wrong_answer(expected: Any, given: list[str], placed: list[Order]) -> Reward | None:
    for turn, answer in zip(expected["turns"], given, strict=False):
        if missing := [fact for fact in turn["facts"] if not any(_says(answer, word) for word in fact)]:
            return _fail("wrong answer", f'"{answer}" does not say {" or ".join(missing[0])}')
        if wrong := [word for word in turn["wrong"] if _says(answer, word)]:
            return _fail("wrong answer", f'"{answer}" says {wrong[0]}, which is another product\'s')
    last = given[-1]
    if expected["refuse"] and not REFUSING.search(last):
        return _fail("wrong answer", f'"{last}" does not say that it refused')
    told = [order.id for order in placed] + [str(order.total) for order in placed if len(placed) == 1]
    if untold := [word for word in told if not _says(last, word)]:
        return _fail("wrong answer", f'"{last}" does not say {untold[0]}')
    return None


def _says(answer: str, word: str) -> bool:
    """Whether the word stands there whole: 18 in "$18.00" and "costs 18.", not in "118", "P18" or "18.50"."""
    return re.search(rf"(?<![\w.]){re.escape(word)}(?!\w|[.,]\d*[1-9])", answer, re.IGNORECASE) is not None


def _orders(placed: list[Order]) -> Counter[tuple[str, int, str]]:
    return Counter((order.product, order.quantity, order.customer) for order in placed)


def _expected_orders(expected: Any) -> Counter[tuple[str, int, str]]:
    return Counter((order["product"], order["quantity"], order["customer"]) for order in expected["orders"])


def _words(wanted: Mapping[str, Any] | str) -> str:
    return wanted if isinstance(wanted, str) else ", ".join(f"{name} {value}" for name, value in wanted.items())


def _list(value: Any) -> list[Any]:
    return list(value)


def _fail(category: str, reason: str) -> Reward:
    return Reward(0.0, reason, category)
