"""Session files of Codex ("rollouts"): a line an event, of which the items of the Responses API are the conversation.

Where Codex compacted its context, the file holds what the history was replaced by: the conversation before it ends
there and another one begins. Turns that were rolled back are left out. What the model saw and the file does not show
(the results of the server's own searches, encrypted summaries) is a gap, after which nothing is taught. A session file
does not hold the tools' schemas. The kinds of lines and items: codex-rs/rollout/src/policy.rs in Codex' repository.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tutelage.collect.formats.common import Entry, Format, SessionTranscript, between, failing, values
from tutelage.collect.record import BadRecord, Record
from tutelage.dialect.responses import read_items
from tutelage.trace import Message

LINES = ("session_meta", "response_item", "turn_context", "compacted", "event_msg")
# Items that hold nothing which the model was told: settings, snapshots of the working tree, tools' schemas.
SILENT = ("configuration_update", "ghost_snapshot", "additional_tools", "compaction_trigger", "other")
ENCRYPTED = ("compaction", "compaction_summary", "context_compaction")
# How texts begin that Codex itself says in the user's or the developer's name, before what the user asks.
TAGS = (
    *("additional_context", "agent_message_board_notification", "codex_internal_context", "environment_context"),
    *("goal_context", "hook_prompt", "recommended_plugins", "skill", "subagent_notification", "turn_aborted"),
    *("user_instructions", "user_shell_command"),
    *("apps_instructions", "collaboration_mode", "context_window", "context_window_guidance"),
    *("environments_instructions", "model_switch", "multi_agent_mode", "permissions", "personality_spec"),
    *("plugins_instructions", "realtime_conversation", "rollout_budget", "skills_instructions", "token_budget"),
)
CONTEXT = re.compile(rf"\s*(# AGENTS\.md instructions|<({'|'.join(TAGS)})[ >])", re.IGNORECASE)


class Item(NamedTuple):
    where: str
    data: dict[str, Any]


def _matches(first: Any) -> bool:
    return isinstance(first, dict) and first.get("type") in LINES and isinstance(first.get("payload"), dict)


def _read(path: Path) -> Iterator[Entry]:
    history: list[Item] = []
    told: dict[str, Any] = {}
    name = "imported"
    for where, parse in values(path):
        try:
            line = parse()
            if not isinstance(line, dict):
                raise BadRecord("", f"it is no line of a session: {str(line)[:40]!r}")
        except BadRecord as error:
            yield Entry(where, failing(error))
            continue
        kind, payload = line.get("type"), line.get("payload")
        if not isinstance(payload, dict):
            continue
        told.setdefault("timestamp", line.get("timestamp"))
        if kind == "session_meta":  # that of a fork is followed by that of the session it came from
            told = {"session": payload.get("id"), "instructions": _instructions(payload), **told}
        elif kind == "turn_context":
            told["model"] = payload.get("model") or told.get("model")
        elif kind == "response_item":
            history.append(Item(where, payload))
        elif kind == "inter_agent_communication":
            history.append(Item(where, {**payload, "type": "agent_message"}))
        elif kind == "event_msg" and payload.get("type") == "thread_rolled_back":
            history = _rolled_back(history, payload.get("num_turns"))
        elif kind == "compacted":
            yield from _entry(history, dict(told), name)
            name, told["timestamp"] = "compacted", line.get("timestamp")
            replacement = payload.get("replacement_history")
            items = replacement if isinstance(replacement, list) else [_summary(payload)]
            history = [Item(where, item if isinstance(item, dict) else {}) for item in items]
    yield from _entry(history, told, name)


def _entry(history: list[Item], told: dict[str, Any], kind: str) -> Iterator[Entry]:
    if history:
        yield Entry(between(history[0].where, history[-1].where), partial(_record, history, told, kind))


def _rolled_back(history: list[Item], turns: Any) -> list[Item]:
    """Without the last turns, and without what Codex said before them in the user's name, as Codex itself cuts it."""
    starts = [index for index, item in enumerate(history) if _begins_turn(item.data)]
    if not isinstance(turns, int) or turns <= 0 or not starts:
        return history
    cut = starts[-turns] if turns < len(starts) else starts[0]
    while cut > starts[0] and _is_context(history[cut - 1].data):
        cut -= 1
    return history[:cut]


def _begins_turn(data: dict[str, Any]) -> bool:
    asks = data.get("type", "message") == "message" and data.get("role") == "user"
    return data.get("type") == "agent_message" or (asks and not _is_context(data))


def _is_context(data: dict[str, Any]) -> bool:
    if data.get("type", "message") != "message" or data.get("role") not in ("user", "developer"):
        return False
    content = data.get("content")
    texts = [part.get("text") for part in content if isinstance(part, dict)] if isinstance(content, list) else [content]
    return any(isinstance(text, str) and CONTEXT.match(text) for text in texts)


def _record(history: Sequence[Item], told: dict[str, Any], kind: str) -> Record:
    transcript = SessionTranscript()
    if told.get("instructions"):
        transcript.add(Message(role="system", content=told["instructions"]))
    run: list[dict[str, Any]] = []
    for _, data in history:
        if data.get("type") in ENCRYPTED:
            read_items(run, transcript)
            run = []
            transcript.leave_out(str(data["type"]))
        elif data.get("type") not in SILENT:
            run.append(_as_responses(data))
    read_items(run, transcript)
    return transcript.record(
        model=told.get("model"), timestamp=told.get("timestamp"), kind=kind, session=told.get("session")
    )


def _as_responses(data: dict[str, Any]) -> dict[str, Any]:
    """Codex' own items as those of the Responses API that say the same."""
    kind = data.get("type")
    if kind == "tool_search_call" and data.get("call_id"):
        arguments = json.dumps(data.get("arguments"), ensure_ascii=False)
        return {"type": "function_call", "name": "tool_search", "arguments": arguments, "call_id": data["call_id"]}
    if kind == "tool_search_output" and data.get("call_id"):
        output = json.dumps(data.get("tools"), ensure_ascii=False)
        return {"type": "function_call_output", "call_id": data["call_id"], "output": output}
    if str(kind).endswith("_output") and not data.get("call_id"):
        return {"type": "tool_output"}  # of no call: what it answers is not known
    if kind == "agent_message":  # another agent's
        return {"type": "message", "role": "user", "content": data.get("content")}
    return data


def _instructions(payload: dict[str, Any]) -> str | None:
    found = payload.get("base_instructions", payload.get("instructions"))
    text = found.get("text") if isinstance(found, dict) else found
    return text if isinstance(text, str) else None


def _summary(payload: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": str(payload.get("message") or "")}


FORMAT = Format("codex", "session files of Codex", _matches, _read)
