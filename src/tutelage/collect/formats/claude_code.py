"""Session files of Claude Code: a line an event, each linked to the one before it.

An assistant message stands there in several lines, a content block each; between messages stand lines of other kinds
(hooks, attachments, timings), which are links of the same chain. Where a message makes several calls at once, each
result is linked to the line of its own call: the lines are a tree, in which a message with all its blocks is one node,
and the results of all its calls are the next. Side chains are the conversations of sub-agents; where the context was
compacted a chain of its own begins, with the summary. Errors of the API stand there as if the model had said them:
they are left out. A session file does not hold the tools' schemas, nor the system prompt.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tutelage.collect.formats.common import Entry, Format, SessionTranscript, between, failing, values
from tutelage.collect.record import BadRecord, Record
from tutelage.dialect import anthropic
from tutelage.dialect.exchange import Unreadable

SAID = ("user", "assistant")
SYNTHETIC = "<synthetic>"  # the model of what Claude Code itself puts into the assistant's mouth
Node = tuple[str, ...]  # its kind, and what tells it from others


class Line(NamedTuple):
    where: str
    data: dict[str, Any]


def _matches(first: Any) -> bool:
    return isinstance(first, dict) and "type" in first and ("sessionId" in first or "leafUuid" in first)


def _read(path: Path) -> Iterator[Entry]:
    lines: dict[str, Line] = {}
    for where, parse in values(path):
        try:
            data = _link(parse())
        except BadRecord as error:
            yield Entry(where, failing(error))
            continue
        if data:
            lines[data["uuid"]] = Line(where, data)
    for uuid in _in_circles(lines):
        yield _circle(lines.pop(uuid).where)
    yield from _conversations(lines)


def _link(value: Any) -> dict[str, Any] | None:
    """A line that is a link of the chain. Raises BadRecord."""
    if not isinstance(value, dict):
        raise BadRecord("", "it is no line of a session")
    for key in ("uuid", "parentUuid"):
        if not isinstance(value.get(key), str | None):
            raise BadRecord(key, "not a text")
    return value if value.get("uuid") else None


def _in_circles(lines: Mapping[str, Line]) -> list[str]:
    """The lines whose links lead into a circle."""
    leads: dict[str, bool] = {}
    for start in lines:
        path: dict[str, None] = {}
        uuid: Any = start
        while uuid in lines and uuid not in leads and uuid not in path:
            path[uuid] = None
            uuid = lines[uuid].data.get("parentUuid")
        leads |= dict.fromkeys(path, uuid in path or leads.get(uuid, False))
    return [uuid for uuid, circle in leads.items() if circle]


def _conversations(lines: Mapping[str, Line]) -> Iterator[Entry]:
    """Each way from a beginning to an end; that to the newest end first, which so teaches what it shares."""
    nodes, parents = _tree(lines)
    gone_on = set(parents.values())
    reached: set[Node] = set()
    for node in reversed(nodes):
        if node in gone_on:
            continue
        path: dict[Node, None] = {}
        each: Node | None = node
        while each and each not in path:
            path[each] = None
            each = parents.get(each)
        reached.update(path)
        told = [nodes[found] for found in reversed(path)]
        where = between(told[0][0].where, told[-1][-1].where)
        if each:
            yield _circle(where)
        elif any(line.data["type"] == "assistant" for found in told for line in found):
            before = lines.get(str(told[0][0].data.get("parentUuid")))
            yield Entry(where, partial(_record, told, _kind(told[0][0].data, before)))
    for node, found in nodes.items():
        if node not in reached:
            yield _circle(found[0].where)


def _circle(where: str) -> Entry:
    return Entry(where, failing(BadRecord("parentUuid", "the lines are linked in a circle")))


def _kind(first: dict[str, Any], before: Line | None) -> str:
    if first.get("isSidechain"):
        return "sub-agent"
    compacted = first.get("isCompactSummary") or (before and before.data.get("subtype") == "compact_boundary")
    return "compacted" if compacted else "imported"


def _tree(lines: Mapping[str, Line]) -> tuple[dict[Node, list[Line]], dict[Node, Node]]:
    """The lines of each node, in the order of the file, and the node that each follows."""
    nodes: dict[Node, list[Line]] = {}
    parents: dict[Node, Node] = {}
    for line in lines.values():
        if not _is_message(line.data):
            continue
        before = _before(line.data, lines)
        node = _node(line.data, before)
        if node not in nodes and before:
            parent = _node(before, _before(before, lines))
            if parent != node:
                parents[node] = parent
        nodes.setdefault(node, []).append(line)
    return nodes, parents


def _node(data: dict[str, Any], before: dict[str, Any] | None) -> Node:
    """What a line is a part of."""
    if data["type"] == "assistant" and data["message"].get("id"):
        return "message", str(data["message"]["id"]), str(data.get("isSidechain")), str(data.get("agentId"))
    if before and before["type"] == "assistant" and _holds_results(data):
        return "results", *_node(before, None)
    return "line", data["uuid"]


def _holds_results(data: dict[str, Any]) -> bool:
    content = data["message"].get("content")
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in content
    )


def _is_message(data: dict[str, Any]) -> bool:
    if data.get("type") not in SAID or not isinstance(data.get("message"), dict):
        return False
    return not data.get("isApiErrorMessage") and data["message"].get("model") != SYNTHETIC


def _before(data: dict[str, Any], lines: Mapping[str, Line]) -> dict[str, Any] | None:
    """The message that a line follows; None for the first one."""
    while found := lines.get(str(data.get("parentUuid"))):
        data = found.data
        if _is_message(data):
            return data
    return None


def _record(told: Sequence[Sequence[Line]], kind: str) -> Record:
    """`told` holds the lines of each node of a conversation."""
    lines = [line for found in told for line in found]
    transcript = SessionTranscript()
    for role, content in _messages(lines):
        anthropic.read_message(role, content, transcript)
    models = [line.data["message"].get("model") for line in lines if line.data["type"] == "assistant"]
    return transcript.record(
        model=next((model for model in models if model), None),
        timestamp=lines[0].data.get("timestamp"),
        kind=kind,
        session=lines[-1].data.get("sessionId"),
    )


def _messages(lines: Sequence[Line]) -> Iterator[tuple[str, Any]]:
    """Roles and contents; the lines that hold one message's blocks are put together again."""
    blocks: list[Any] = []
    current: Any = None
    for where, line in lines:
        message = line["message"]
        role, content = message.get("role"), message.get("content")
        if role not in SAID:
            raise Unreadable(f"{where}: {role!r} is no role")
        content = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(content, list):
            raise BadRecord("message.content", f"neither text nor a list, in {where}")
        key = message.get("id") if role == "assistant" else None
        # Results of calls made at once come in a line each: they answer one message.
        if blocks and ((key is not None and key == current) or (role == "user" and current == "user")):
            blocks += content
            continue
        if blocks:
            yield ("user" if current == "user" else "assistant"), blocks
        blocks, current = list(content), "user" if role == "user" else key
    if blocks:
        yield ("user" if current == "user" else "assistant"), blocks


FORMAT = Format("claude-code", "session files of Claude Code", _matches, _read)
