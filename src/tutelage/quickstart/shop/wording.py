"""How users say what they want, and how to read it back.

A phrasing is a template; the scripted teacher knows a user's wish only by matching the same templates on the text.
"""

import re
from random import Random
from typing import NamedTuple

PHRASINGS: dict[str, tuple[str, ...]] = {
    "price": ("How much is the {name}?", "What does the {name} cost?", "Tell me the price of the {name}."),
    "warranty": ("What warranty does the {name} have?", "How long is the warranty of the {name}?"),
    "origin": ("Where does the {name} come from?", "What is the origin of the {name}?"),
    "stock": ("How many of the {name} are in stock?", "What is the stock of the {name}?"),
    "cheapest": (
        "Order {quantity} of the cheapest {noun} for {customer}.",
        "{customer} wants {quantity} of your cheapest {noun}.",
        "Please buy {quantity} of the cheapest {noun} for {customer}.",
    ),
    "order": (
        "Order {quantity} of the {name} for {customer}.",
        "{customer} wants {quantity} of the {name}.",
        "Please buy {quantity} of the {name} for {customer}.",
    ),
    "two_products": (
        "Order {quantity} of {product} and {quantity2} of {product2} for {customer}.",
        "{customer} wants {quantity} of {product} and {quantity2} of {product2}.",
        "Please buy {quantity} of {product} and {quantity2} of {product2} for {customer}.",
    ),
    "cancel": ("Cancel order {order}.", "Please cancel my order {order}.", "I no longer want order {order}."),
    "status": ("What is the status of order {order}?", "How far is order {order}?"),
    "then_order": (
        "Order {quantity} of it for {customer}.",
        "Good, {customer} takes {quantity} of it.",
        "Then buy {quantity} of it for {customer}.",
    ),
    "then_cancel": ("Then cancel it.", "Please cancel it.", "I no longer want it, cancel it."),
}

FIELDS = {
    "name": r"[a-z]+ [a-z]+",
    "noun": r"[a-z]+",
    "customer": r"[A-Z]\w*",
    "quantity": r"\d+",
    "quantity2": r"\d+",
    "product": r"P\d+",
    "product2": r"P\d+",
    "order": r"R\d+",
}


class Wish(NamedTuple):
    kind: str  # a key of PHRASINGS
    fields: dict[str, str]


def phrase(wish: str, random: Random, **fields: str | int) -> str:
    """One of the wish's phrasings, filled in."""
    return random.choice(PHRASINGS[wish]).format(**fields)


def understand(text: str) -> Wish | None:
    """The wish that `text` words, or None."""
    for kind, pattern in _PATTERNS:
        if match := pattern.fullmatch(text.strip()):
            return Wish(kind, match.groupdict())
    return None


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)  # literal, field, literal, …
    return re.compile(
        "".join(f"(?P<{part}>{FIELDS[part]})" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    )


# "of the cheapest hat" would also read as a product of the name "cheapest hat": "cheapest" stands before "order".
_PATTERNS = [(kind, _pattern(template)) for kind, templates in PHRASINGS.items() for template in templates]
