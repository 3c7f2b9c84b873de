"""Session files of Claude Code: a line an event, each linked to the one before it.

An assistant message stands there in several lines, a content block each; between messages stand lines of other kinds
(hooks, attachments, timings), which are links of the same chain. Where a message makes several calls at once, each
result is linked to the line of its own call: the lines are a tree, in which a message with all its blocks is one node,
and the results of all its calls are the next. Side chains are the conversations of sub-agents. A session file does not
hold the tools' schemas, nor the system prompt.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.collect.formats.common import Entry, Format, make_record, values
from tutelage.collect.record import BadRecord, Record
from tutelage.dialect import anthropic
from tutelage.dialect.exchange import Transcript, Unreadable

SAID = ("user", "assistant")
Node = tuple[Any, ...]  # its kind, and what tells it from others


def _matches(first: Any) -> bool:
    return isinstance(first, dict) and "type" in first and ("sessionId" in first or "leafUuid" in first)


def _read(path: Path) -> Iterator[Entry]:
    by_id: dict[Any, dict[str, Any]] = {}
    for where, parse in values(path):
        try:
            line = parse()
        except BadRecord:
            yield Entry(where, parse)
            continue
        if isinstance(line, dict) and line.get("uuid"):
            by_id[line["uuid"]] = line
    nodes, parents = _tree(by_id)
    gone_on = set(parents.values())
    for node, lines in nodes.items():
        if node not in gone_on:  # the end of a conversation
            yield Entry(f"conversation up to {lines[-1]['uuid']}", partial(_record, node, nodes, parents))


def _tree(by_id: dict[Any, dict[str, Any]]) -> tuple[dict[Node, list[dict[str, Any]]], dict[Node, Node]]:
    """The lines of each node, in the order of the file, and the node that each follows."""
    nodes: dict[Node, list[dict[str, Any]]] = {}
    parents: dict[Node, Node] = {}
    for line in by_id.values():
        if not _is_message(line):
            continue
        before = _before(line, by_id)
        node = _node(line, before)
        nodes.setdefault(node, []).append(line)
        if before:
            parent = _node(before, _before(before, by_id))
            if parent != node:
                parents.setdefault(node, parent)
    return nodes, parents


def _node(line: dict[str, Any], before: dict[str, Any] | None) -> Node:
    """What a line is a part of."""
    if line["type"] == "assistant" and line["message"].get("id"):
        return "message", line["message"]["id"], line.get("isSidechain"), line.get("agentId")
    if before and before["type"] == "assistant" and _holds_results(line):
        return "results", *_node(before, None)
    return "line", line["uuid"]


def _holds_results(line: dict[str, Any]) -> bool:
    content = line["message"].get("content")
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in content
    )


def _is_message(line: dict[str, Any]) -> bool:
    return line.get("type") in SAID and isinstance(line.get("message"), dict)


def _before(line: dict[str, Any], by_id: dict[Any, dict[str, Any]]) -> dict[str, Any] | None:
    """The line of the message that `line` follows; None for the first one."""
    for _ in by_id:
        found = by_id.get(line.get("parentUuid"))
        if found is None or _is_message(found):
            return found
        line = found
    raise BadRecord("parentUuid", "the lines are linked in a circle")


def _record(end: Node, nodes: dict[Node, list[dict[str, Any]]], parents: dict[Node, Node]) -> Record:
    path = [end]
    while path[-1] in parents:
        if len(path) > len(nodes):
            raise BadRecord("parentUuid", "the lines are linked in a circle")
        path.append(parents[path[-1]])
    lines = [line for node in reversed(path) for line in nodes[node]]
    transcript = Transcript()
    for role, content in _messages(lines):
        anthropic.read_message(role, content, transcript)
    while transcript.messages and transcript.messages[-1].role != "assistant":
        transcript.messages.pop()  # what was still to be answered
    models = [line["message"].get("model") for line in lines if line.get("type") == "assistant"]
    return make_record(
        transcript,
        model=next((model for model in models if model), None),
        timestamp=lines[0].get("timestamp"),
        kind="sub-agent" if lines[-1].get("isSidechain") else "imported",
        more={"session": str(lines[-1].get("sessionId"))},
    )


def _messages(lines: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Roles and contents; the lines that hold one message's blocks are put together again."""
    blocks: list[Any] = []
    current: Any = None
    for line in lines:
        message = line["message"]
        role, content = message.get("role"), message.get("content")
        if role not in SAID:
            raise Unreadable(f"{role!r} is no role")
        content = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(content, list):
            raise BadRecord("message.content", "neither text nor a list")
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
