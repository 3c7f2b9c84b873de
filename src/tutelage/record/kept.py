"""What a server of the Responses API keeps, so that a request need only name it: responses, conversations, items."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.dialect import Exchange
from tutelage.record.lineages import Lineage
from tutelage.trace import Message

REFERENCE = "item_reference"


@dataclass(frozen=True)
class Point:
    """A place in a lineage that a request may go on from."""

    lineage: Lineage
    count: int  # of the messages up to it
    instructed: bool  # the first of them were the instructions of one request, which are not kept
    known: bool  # these messages are all that the model was shown


class Kept:
    """What the servers keep of the open lineages."""

    def __init__(self) -> None:
        self._points: dict[str, Point] = {}  # by the name of a response, or of a conversation as it stands now
        self._items: dict[str, tuple[Lineage, Any]] = {}

    def note(self, exchange: Exchange, lineage: Lineage, *, known: bool) -> None:
        """`exchange` was recorded as the end of `lineage`."""
        self.restore(told(exchange), lineage, known=known)
        self._items |= {name: (lineage, item) for name, item in exchange.items.items()}

    def restore(self, notes: Mapping[str, Any], lineage: Lineage, *, known: bool) -> None:
        """The same of what `told` gave of the exchange with which an earlier recorder left the lineage."""
        point = Point(lineage, len(lineage.messages), bool(notes.get("instructed")), known)
        self._points |= {str(notes[key]): point for key in ("response", "conversation") if key in notes}

    def whole(self, request: Any) -> Any:
        """A request with the items that it only refers to, as far as they are known."""
        given = request.get("input") if isinstance(request, dict) else None
        if not isinstance(given, list):
            return request
        return {**request, "input": [self._items[item["id"]][1] if self._refers(item) else item for item in given]}

    def seen(self, exchange: Exchange) -> tuple[tuple[Message, ...], bool]:
        """All that the model was shown, and whether that is known.

        The API carries the instructions of an earlier request over to no later one: each comes with its own or none.
        """
        name = exchange.previous or exchange.conversation
        if not name:
            return exchange.messages, True
        point = self._points.get(name)
        if point is None:  # also a conversation that is new here: it may have begun with items of its own
            return exchange.messages, False
        kept = point.lineage.messages[int(point.instructed) : point.count]
        own = int(exchange.instructed)
        return (*exchange.messages[:own], *kept, *exchange.messages[own:]), point.known

    def forget(self, lineage: Lineage) -> None:
        self._points = {name: point for name, point in self._points.items() if point.lineage is not lineage}
        self._items = {name: found for name, found in self._items.items() if found[0] is not lineage}

    def _refers(self, item: Any) -> bool:
        """Whether an item stands for a known one; a reference may leave its type out."""
        if not isinstance(item, dict) or item.get("type") not in (None, REFERENCE) or "role" in item:
            return False
        return isinstance(item.get("id"), str) and item["id"] in self._items


def told(exchange: Exchange) -> dict[str, Any]:
    """The names under which the server keeps what is now said, for a trace's metadata."""
    named = {"response": exchange.id, "conversation": exchange.conversation, "instructed": exchange.instructed}
    return {key: value for key, value in named.items() if value}
