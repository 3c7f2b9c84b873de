"""Whole nodes of a text that is a tree: JSON, or an indented list as accessibility snapshots are.

An outline keeps what is near the root, since that is the page, and gives up what lies deep in it. JSON keeps the first
items of a list and the smaller members of an object, since items are alike and members are not. Either says where it
leaves out how much.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ITEM = re.compile(r"\s*- ")
SHARE = 0.5  # of a text's lines that begin as items of a list: it is an outline
LEAST_LINES = 4
SHRINK = 0.9  # of the room given to JSON whose notices did not fit
TRIES = 20
ELLIPSIS = "…"
SHARES = 4  # of the room that is left: a member of an object may take the largest of so many
SEPARATOR = 2  # of a text's size: ", " or ": "

Size = Callable[[str], int]


def keep_nodes(text: str, limit: int, size: Size) -> str | None:
    """As much of the tree as fits `limit`, notices included; None where `text` is none, or nothing of it fits."""
    try:
        return _keep_json(json.loads(text), limit, size, indent=2 if "\n" in text.strip() else None)
    except (ValueError, RecursionError):
        return _keep_outline(text, limit, size)


@dataclass
class _Line:
    text: str
    indent: int
    depth: int
    parent: int  # the line's, -1 at the top


def _keep_outline(text: str, limit: int, size: Size) -> str | None:
    texts = text.split("\n")
    items = sum(ITEM.match(line) is not None for line in texts)
    if len(texts) < LEAST_LINES or items < SHARE * len(texts):
        return None
    lines = _lines(texts)
    order = sorted(range(len(lines)), key=lambda number: (lines[number].depth, number))

    def shown(count: int) -> str:
        return _with_notices(lines, set(order[:count]))

    most = bisect_left(range(1, len(lines) + 1), True, key=lambda count: size(shown(count)) > limit)
    while most and size(shown(most)) > limit:  # one line more may need a notice less
        most -= 1
    return shown(most) if most else None


def _lines(texts: list[str]) -> list[_Line]:
    """A line belongs to the nearest one before it that is indented less."""
    lines: list[_Line] = []
    open_lines: list[int] = []
    for number, text in enumerate(texts):
        indent = len(text) - len(text.lstrip()) if text.strip() else 0
        while open_lines and lines[open_lines[-1]].indent >= indent:
            open_lines.pop()
        lines.append(_Line(text, indent, len(open_lines), open_lines[-1] if open_lines else -1))
        open_lines.append(number)
    return lines


def _with_notices(lines: list[_Line], kept: set[int]) -> str:
    """The kept lines; in the place of others that follow each other, a notice how many they are."""
    shown: list[str] = []
    left_out, indent = 0, 0

    def notice() -> None:
        if left_out:
            shown.append(f"{' ' * indent}{ELLIPSIS} [cut: {left_out} line{'s' if left_out > 1 else ''}]")

    for number, line in enumerate(lines):
        if number in kept:
            notice()
            left_out = 0
            shown.append(line.text)
        else:
            indent = line.indent if not left_out else min(indent, line.indent)
            left_out += 1
    notice()
    return "\n".join(shown)


def _keep_json(value: Any, limit: int, size: Size, indent: int | None) -> str | None:
    def written(part: Any) -> str:
        return json.dumps(part, ensure_ascii=False, indent=indent)

    room = float(limit)
    for _ in range(TRIES):
        text = written(_shrunk(value, room, lambda part: size(written(part))))
        found = size(text)
        if found <= limit:
            return text
        room *= SHRINK * limit / found
    return None


def _shrunk(value: Any, room: float, size: Callable[[Any], int]) -> Any:
    """As much of `value` as takes about `room`."""
    whole = size(value)
    if whole <= room:
        return value
    if isinstance(value, list):
        return _shrunk_list(value, room, size)
    if isinstance(value, dict):
        return _shrunk_object(value, room, size)
    return f"{ELLIPSIS} [cut: {len(value) if isinstance(value, str) else whole} characters]"


def _shrunk_list(items: list[Any], room: float, size: Callable[[Any], int]) -> list[Any]:
    if not items:
        return items
    kept: list[Any] = []
    room -= size(_items_left_out(len(items), len(items)))
    for item in items:
        needed = size(item) + SEPARATOR
        if needed > room:
            break
        kept.append(item)
        room -= needed
    if not kept and isinstance(items[0], (list, dict)):
        kept.append(_shrunk(items[0], room, size))
    left = len(items) - len(kept)
    return [*kept, _items_left_out(left, len(items))] if left else kept


def _items_left_out(count: int, among: int) -> str:
    return f"{ELLIPSIS} [cut: {count} of {among} items]"


def _shrunk_object(members: dict[str, Any], room: float, size: Callable[[Any], int]) -> dict[str, Any]:
    """Small members first, each large one with a share of what they leave."""
    sizes = {key: size(value) + size(key) + 2 * SEPARATOR for key, value in members.items()}
    room -= size(_members_left_out(len(members), len(members)))
    kept: dict[str, Any] = {}
    for number, key in enumerate(sorted(members, key=lambda key: sizes[key])):
        share = room / min(len(members) - number, SHARES)
        found, needed = members[key], sizes[key]
        if needed > share:
            beside = size(key) + 2 * SEPARATOR
            found = _shrunk(members[key], share - beside, size)
            needed = size(found) + beside
        if needed <= share:
            kept[key] = found
            room -= needed
    left = len(members) - len(kept)
    shown = {key: kept[key] for key in members if key in kept}
    return {**shown, **_members_left_out(left, len(members))} if left else shown


def _members_left_out(count: int, among: int) -> dict[str, str]:
    return {ELLIPSIS: f"[cut: {count} of {among} members]"}
