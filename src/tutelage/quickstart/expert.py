"""The scripted expert: what to do next in the shop, worked out from the conversation alone.

It is no model. It keeps nothing between calls: the user's words and the tool results so far tell it the next step.
Its reasoning repeats what was asked and names what decides before it decides: a small student copies from its own
words of a moment ago more surely than it remembers the question. A number is repeated as the result has it
("stock=30"), but what has to be judged is said in plain words ("R78 is delivered, too late"), which it understands.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.quickstart.shop.wording import Wish, understand

UNKNOWN = "I am a scripted expert for the example shop and know only its tasks. I do not understand this one."


@dataclass(frozen=True)
class Reply:
    """One assistant message: a tool call or an answer, and the reasoning before it."""

    reasoning: str
    content: str = ""
    tool: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)


def next_reply(messages: Sequence[dict[str, Any]]) -> Reply:
    """The expert's reply to a conversation in OpenAI's format that ends with a user message or a tool result."""
    turns = [index for index, message in enumerate(messages) if message["role"] == "user"]
    if not turns:
        return Reply("Nobody has asked anything yet.", UNKNOWN)
    wish = understand(_text(messages[turns[-1]]))
    results = [_text(message) for message in messages[turns[-1] + 1 :] if message["role"] == "tool"]
    if wish is None:
        return Reply("This is none of the shop's tasks.", UNKNOWN)
    if wish.kind == "then_order":
        wish, results = _order_of_it(wish, messages, turns, results)
    elif wish.kind == "then_cancel":
        wish, results = _cancel_it(wish, messages, turns, results)
    try:
        return STEPS[wish.kind](wish, results)
    except (LookupError, ValueError):  # an error result, or nothing found: no next step
        said = results[-1] if results else "nothing"
        return Reply("The shop does not give what I need.", f"I could not do it. The shop said: {said}")


def _look_up(wish: Wish, results: list[str]) -> Reply:
    name = wish.fields["name"]
    if not results:
        return _search(name, f"for its {wish.kind}")
    product = _find(results[0], name)
    if wish.kind == "price":
        return Reply(
            f"The {name} is {product['id']} at ${product['price']}.",
            f"The {name} ({product['id']}) costs ${product['price']}.",
        )
    if len(results) == 1:
        return Reply(
            f"The {name} is {product['id']}: I show it for its {wish.kind}.",
            tool="show",
            arguments={"id": product["id"]},
        )
    value = _values(results[1])[wish.kind]
    answer = {
        "warranty": f"has a warranty of {value}",
        "origin": f"comes from {value}",
        "stock": f"has {value} in stock",
    }
    return Reply(f"It says {wish.kind}={value}.", f"The {name} ({product['id']}) {answer[wish.kind]}.")


def _order(wish: Wish, results: list[str]) -> Reply:
    if not results:
        return _search(wish.fields["name"], "to order it")
    product = _find(results[0], wish.fields["name"])["id"]
    return _draft_and_place(f"The {wish.fields['name']} is {product}", product, wish, results[1:])


def _cheapest(wish: Wish, results: list[str]) -> Reply:
    noun = wish.fields["noun"]
    if not results:
        return Reply(f"I search {noun}, cheapest first.", tool="search", arguments={"query": noun})
    product = _products(results[0])[0]["id"]
    return _draft_and_place(f"The cheapest {noun} is {product}", product, wish, results[1:])


def _draft_and_place(found: str, product: str, wish: Wish, results: list[str]) -> Reply:
    """The part that all orders of one product share; `results` are those after the product is known."""
    quantity, customer = int(wish.fields["quantity"]), wish.fields["customer"]
    if len(results) < 2:
        return _next_of_order(f"{found}: I draft {quantity}.", product, quantity, customer, results)
    order = _placed(results[1])
    return Reply("It is placed.", f"Order {order} is placed, total {_values(results[0])['total']}.")


def _two_products(wish: Wish, results: list[str]) -> Reply:
    """Draft and place the first, then the second; `results` come in that order."""
    fields = wish.fields
    pairs = [("First", fields["product"], fields["quantity"]), ("Next", fields["product2"], fields["quantity2"])]
    for index, (word, product, quantity) in enumerate(pairs):
        own = results[2 * index : 2 * index + 2]
        if len(own) < 2:
            start = f"{word} I draft {quantity} of {product}."
            return _next_of_order(start, product, int(quantity), fields["customer"], own)
    return Reply("Both are placed.", f"Orders {_placed(results[1])} and {_placed(results[3])} are placed.")


def _next_of_order(start: str, product: str, quantity: int, customer: str, results: list[str]) -> Reply:
    """Draft first; with the draft's result, place it or refuse."""
    if not results:
        arguments = {"product": product, "quantity": quantity, "customer": customer}
        return Reply(start, tool="draft", arguments=arguments)
    draft = _values(results[0])
    verdict = draft["verdict"]
    if verdict == "ok":
        id = results[0].split()[0]
        return Reply(f"Verdict ok: I place {id}.", tool="place", arguments={"order": id})
    if verdict == "not enough stock":
        why = f"not enough stock, only {draft['stock']} left"
    else:
        why = f"the total {draft['total']} is over the budget of {draft['budget']}"
    return Reply(f"Verdict {verdict}: I refuse.", f"I did not order: {why}.")


def _placed(result: str) -> str:
    """The id in "R482 placed". Raises ValueError for another result."""
    id, placed = result.split()
    if placed != "placed":
        raise ValueError(result)
    return id


def _status(wish: Wish, results: list[str]) -> Reply:
    order = wish.fields["order"]
    if not results:
        return _look_at(order, "for its status")
    status = _values(results[0])["status"]
    return Reply(f"The status is {status}.", f"Order {order} is {status}.")


def _cancel(wish: Wish, results: list[str]) -> Reply:
    order = wish.fields["order"]
    if not results:
        return _look_at(order, "to cancel it")
    status = _values(results[0])["status"]
    if status in ("shipped", "delivered"):
        return Reply(
            f"{order} is {status}, too late: I refuse.", f"I did not cancel order {order}: it is already {status}."
        )
    if len(results) == 1:
        return Reply(f"{order} is {status}, in time: I cancel it.", tool="cancel", arguments={"order": order})
    if results[1] != f"{order} cancelled":
        raise ValueError(results[1])
    return Reply("It is cancelled.", f"Order {order} is cancelled.")


def _order_of_it(
    wish: Wish, messages: Sequence[dict[str, Any]], turns: list[int], results: list[str]
) -> tuple[Wish, list[str]]:
    """ "Order 2 of it": the product is the one of the turn before, found there."""
    earlier, found = _turn_before(messages, turns)
    return Wish("order", {**wish.fields, "name": earlier.fields.get("name", "")}), [*found[:1], *results]


def _cancel_it(
    wish: Wish, messages: Sequence[dict[str, Any]], turns: list[int], results: list[str]
) -> tuple[Wish, list[str]]:
    earlier, found = _turn_before(messages, turns)
    return Wish("cancel", {"order": earlier.fields.get("order", "")}), [*found[:1], *results]


def _turn_before(messages: Sequence[dict[str, Any]], turns: list[int]) -> tuple[Wish, list[str]]:
    """What the user wished in the turn before the last, and that turn's tool results."""
    if len(turns) < 2:
        return Wish("", {}), []
    start, end = turns[-2], turns[-1]
    earlier = understand(_text(messages[start])) or Wish("", {})
    return earlier, [_text(message) for message in messages[start:end] if message["role"] == "tool"]


def _search(name: str, why: str) -> Reply:
    return Reply(f"I search the {name} {why}.", tool="search", arguments={"query": name})


def _look_at(order: str, why: str) -> Reply:
    return Reply(f"I look at {order} {why}.", tool="show", arguments={"id": order})


def _products(result: str) -> list[dict[str, str]]:
    """The lines of a search result, such as "P47 amber chair $18". Raises LookupError where there is none."""
    lines = [re.fullmatch(r"(?P<id>P\d+) (?P<name>.+) \$(?P<price>\d+)", line) for line in result.splitlines()]
    found = [line.groupdict() for line in lines if line]
    if not found:
        raise LookupError(result)
    return found


def _find(result: str, name: str) -> dict[str, str]:
    for product in _products(result):
        if product["name"] == name:
            return product
    raise LookupError(name)


def _values(result: str) -> dict[str, str]:
    """The `key=value`s of a result line; a value may hold spaces."""
    found = dict(re.findall(r"(\w+)=(.+?)(?= \w+=|$)", result))
    if not found:
        raise LookupError(result)
    return found


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return json.dumps(content) if not isinstance(content, list) else "".join(part.get("text", "") for part in content)


STEPS = {
    "price": _look_up,
    "warranty": _look_up,
    "origin": _look_up,
    "stock": _look_up,
    "order": _order,
    "cheapest": _cheapest,
    "two_products": _two_products,
    "status": _status,
    "cancel": _cancel,
}
