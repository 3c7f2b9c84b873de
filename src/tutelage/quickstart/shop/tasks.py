"""The shop's tasks: eight kinds, drawn from a seed.

What a task expects stands in `setup["expected"]`, which only the verifier reads:

- `turns`: for each user turn, `facts` (each a list of which one must stand in the answer) and `wrong` (none may);
- `orders` and `cancelled`: what must have changed in the database, and nothing else may have;
- `evidence`: calls that must have been made: a tool with these arguments, or one whose result `shows` a word;
- `refuse`: whether the last turn is to be declined.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from pydantic import JsonValue

from tutelage.quickstart.shop.vocabulary import (
    CLOSED_STATUSES,
    OPEN_STATUSES,
    ORIGINS,
    WARRANTIES,
    Split,
    Vocabulary,
    vocabulary,
)
from tutelage.quickstart.shop.wording import phrase
from tutelage.trace import Task

SYSTEM_PROMPT = "You run a shop. Only place drafts with verdict ok. Never cancel shipped or delivered orders."

Json = dict[str, JsonValue]


def make_tasks(split: Split, count: int, seed: int) -> list[Task]:
    """`count` tasks, the kinds evenly mixed; the same arguments give the same tasks.

    No product name, product id, order id or customer of one split occurs in the other, whatever the seeds.
    """
    random = Random(f"{split} {seed}")
    tasks: list[Task] = []
    seen: set[tuple[str, ...]] = set()
    while len(tasks) < count:
        for kind in random.sample(list(KINDS), len(KINDS)):
            draft = _fresh_draft(kind, split, random, seen)
            tasks.append(
                Task(
                    id=f"shop-{split}-{seed}-{len(tasks):04d}", turns=tuple(draft.turns), kind=kind, setup=draft.setup()
                )
            )
    return tasks[:count]


@dataclass
class Draft:
    """A task in the making: a shop of five products around the one that matters."""

    words: Vocabulary
    random: Random
    turns: list[str] = field(default_factory=list)
    answers: list[JsonValue] = field(default_factory=list)
    placed: list[JsonValue] = field(default_factory=list)
    cancelled: list[JsonValue] = field(default_factory=list)
    evidence: list[JsonValue] = field(default_factory=list)
    refuse: bool = False

    def __post_init__(self) -> None:
        random, words = self.random, self.words
        self.nouns = random.sample(words.nouns, 2)
        ids = random.sample(words.product_ids, 5)
        adjectives = random.sample(words.adjectives, 5)
        # Prices and stocks differ: an answer that names another product's can be told.
        prices = random.sample(range(7, 100), 5)
        stocks = random.sample(range(10, 60), 5)
        self.products: list[dict[str, str | int]] = [
            {
                "id": ids[index],
                "name": f"{adjectives[index]} {self.nouns[index % 2]}",
                "price": prices[index],
                "stock": stocks[index],
                "warranty": random.choice(WARRANTIES),
                "origin": random.choice(ORIGINS),
            }
            for index in range(5)
        ]
        self.product, self.rival = self.products[1], self.products[3]  # of one noun; the other three of another
        self.customer, self.other_customer = random.sample(words.customers, 2)
        self.budget = 1000
        self.order_ids = random.sample(words.order_ids, 4)
        self.status = random.choice(OPEN_STATUSES)

    def ask(self, wish: str, facts: list[list[str]], wrong: tuple[str, ...] = (), **fields: str | int) -> None:
        """Add a user turn; facts and wrong are of the answer to it."""
        self.turns.append(phrase(wish, self.random, **fields))
        self.answers.append({"facts": [list(fact) for fact in facts], "wrong": list(wrong)})

    def expect_order(self, product: dict[str, str | int], quantity: int) -> None:
        order: Json = {"product": product["id"], "quantity": quantity, "customer": self.customer}
        self.placed.append(order)
        self.expect_call("draft", **order)

    def expect_call(self, tool: str, **arguments: JsonValue) -> None:
        self.evidence.append({"tool": tool, "arguments": arguments})

    def expect_search(self) -> None:
        self.evidence.append({"tool": "search", "shows": self.product["id"]})

    def setup(self) -> Json:
        order, other = self.order_ids[:2]
        total = int(self.product["price"]) * 2
        return {
            "products": [dict(product) for product in self.random.sample(self.products, 5)],
            "customers": [
                {"name": self.customer, "budget": self.budget},
                {"name": self.other_customer, "budget": 1000},
            ],
            "orders": [
                _order(order, self.customer, self.product, total, self.status),
                _order(other, self.other_customer, self.product, total, "paid"),
            ],
            "order_ids": list(self.order_ids[2:]),
            "expected": {
                "turns": self.answers,
                "orders": self.placed,
                "cancelled": self.cancelled,
                "evidence": self.evidence,
                "refuse": self.refuse,
            },
        }


def _order(id: str, customer: str, product: dict[str, str | int], total: int, status: str) -> Json:
    return {
        "id": id,
        "customer": customer,
        "product": product["id"],
        "quantity": 2,
        "total": total,
        "status": status,
    }


def _look_up(draft: Draft) -> None:
    """A price (one call), or a fact that search does not tell (two)."""
    wish = draft.random.choice(("price", "warranty", "origin", "stock"))
    if wish == "price":
        return _ask_price(draft)
    value = str(draft.product[wish])
    wrong = tuple({str(draft.rival[wish])} - {value})
    draft.ask(wish, [[value]], wrong, name=draft.product["name"])
    draft.expect_call("show", id=draft.product["id"])
    return None


def _ask_price(draft: Draft) -> None:
    draft.ask("price", [[str(draft.product["price"])]], (str(draft.rival["price"]),), name=draft.product["name"])
    draft.expect_search()


def _order_one(draft: Draft) -> None:
    quantity = draft.random.randint(2, 9)
    draft.ask("order", [], quantity=quantity, name=draft.product["name"], customer=draft.customer)
    draft.expect_order(draft.product, quantity)


def _order_cheapest(draft: Draft) -> None:
    draft.product = min(draft.products[::2], key=lambda product: product["price"])
    quantity = draft.random.randint(2, 9)
    draft.ask("cheapest", [], quantity=quantity, noun=draft.nouns[0], customer=draft.customer)
    draft.expect_search()
    draft.expect_order(draft.product, quantity)


def _order_two(draft: Draft) -> None:
    """Two products that the user names by their ids: two drafts, both placed."""
    first, second = draft.products[0], draft.products[1]
    quantity, quantity2 = draft.random.sample(range(2, 10), 2)
    draft.budget = 2000
    draft.ask(
        "two_products",
        [],
        quantity=quantity,
        product=first["id"],
        quantity2=quantity2,
        product2=second["id"],
        customer=draft.customer,
    )
    draft.expect_order(first, quantity)
    draft.expect_order(second, quantity2)


def _refuse_order(draft: Draft) -> None:
    """Worded as an order that can be placed; only the draft tells that this one cannot."""
    quantity = draft.random.randint(2, 9)
    facts = _spoil(draft, quantity)
    draft.ask("order", facts, quantity=quantity, name=draft.product["name"], customer=draft.customer)
    draft.expect_call("draft", product=draft.product["id"], quantity=quantity, customer=draft.customer)
    draft.refuse = True


def _spoil(draft: Draft, quantity: int) -> list[list[str]]:
    """Leave too little stock or too small a budget for the order; the facts that a refusal has to name."""
    if draft.random.random() < 0.5:
        draft.product["stock"] = stock = draft.random.randint(0, quantity - 1)
        amounts = [str(stock)] if stock else ["0", "no", "none", "sold out", "out of stock"]
        return [["stock", "available", "left", "sold out"], amounts]
    total = int(draft.product["price"]) * quantity
    draft.budget = draft.random.randint(max(total // 2, 5), total - 1)
    return [["budget"], [str(total), str(draft.budget)]]


def _cancel(draft: Draft) -> None:
    _ask_to_cancel(draft, [["cancelled", "canceled"]])
    draft.cancelled.append(draft.order_ids[0])


def _refuse_cancel(draft: Draft) -> None:
    draft.status = draft.random.choice(CLOSED_STATUSES)
    _ask_to_cancel(draft, [[draft.status]])
    draft.refuse = True


def _ask_to_cancel(draft: Draft, facts: list[list[str]]) -> None:
    """At once, or in a second turn after the status."""
    order = draft.order_ids[0]
    if draft.random.random() < 0.5:
        draft.ask("cancel", [[order], *facts], order=order)
    else:
        draft.ask("status", [[draft.status]], order=order)
        draft.ask("then_cancel", facts)
    draft.expect_call("show", id=order)


def _price_then_order(draft: Draft) -> None:
    _ask_price(draft)
    quantity = draft.random.randint(2, 9)
    draft.ask("then_order", [], quantity=quantity, customer=draft.customer)
    draft.expect_order(draft.product, quantity)


KINDS: dict[str, Callable[[Draft], None]] = {
    "look up": _look_up,
    "order": _order_one,
    "order the cheapest": _order_cheapest,
    "order two products": _order_two,
    "refuse to order": _refuse_order,
    "cancel": _cancel,
    "refuse to cancel": _refuse_cancel,
    "price, then order": _price_then_order,
}


def _fresh_draft(kind: str, split: Split, random: Random, seen: set[tuple[str, ...]]) -> Draft:
    """A draft whose wording no earlier task has, where a hundred tries find one."""
    for _ in range(100):
        draft = Draft(vocabulary(split), random)
        KINDS[kind](draft)
        if tuple(draft.turns) not in seen:
            break
    seen.add(tuple(draft.turns))
    return draft
