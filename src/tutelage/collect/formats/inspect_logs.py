"""inspect_ai's logs, as .json or .eval files: a sample a record, its score the reward.

Tools stand where the model was called with them, in the sample's events. Long texts may be kept apart, as attachments.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.collect.formats.common import Entry, Format, make_record, objects, values
from tutelage.collect.record import BadRecord, Record, parsed
from tutelage.dialect.exchange import Transcript, call, function_tool
from tutelage.dialect.reasoning import apart
from tutelage.trace import Message, Tool

SCORES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}  # inspect's own letters: correct, partial, incorrect, no answer
ATTACHMENT = "attachment://"


def _matches(first: Any) -> bool:
    return isinstance(first, dict) and isinstance(first.get("eval"), dict) and "version" in first


def _read(path: Path) -> Iterator[Entry]:
    if path.suffix == ".eval":
        yield from _read_zip(path)
        return
    for _, parse in values(path):
        log = parse()
        samples = log.get("samples") or []
        if not isinstance(samples, list):
            raise BadRecord("samples", "not a list")
        for number, sample in enumerate(samples, 1):
            yield Entry(f"sample {number}", partial(_record, sample, log["eval"]))


ZSTANDARD = 93  # a zip's compression method, which Python's own zipfile reads from 3.14 on
LOCAL_HEADER = 30  # bytes before an entry's name
# What reading a broken file of an archive raises; pyarrow's own errors are ValueErrors and OSErrors.
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """A file of an archive. Raises BadRecord."""
    try:
        info = archive.getinfo(name)
        return _unpacked(path, info) if info.compress_type == ZSTANDARD else archive.read(info)
    except BROKEN as error:
        raise BadRecord("", f"{name} in it is broken ({error})") from None


def _unpacked(path: Path, info: zipfile.ZipInfo) -> bytes:
    import pyarrow as pa

    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(LOCAL_HEADER)
        file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
        packed = file.read(info.compress_size)
    found: bytes = pa.Codec("zstd").decompress(packed, info.file_size, asbytes=True)
    return found


def _read_zip(path: Path) -> Iterator[Entry]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            head = next((name for name in ("header.json", "_journal/start.json") if name in names), None)
            if head is None:
                raise BadRecord("", "it is no log of inspect_ai: it has no header")
            told = parsed(_member(path, archive, head))["eval"]
            for name in sorted(names):
                if name.startswith("samples/") and name.endswith(".json"):
                    yield Entry(name, partial(_of_archive, path, archive, name, told))
    except zipfile.BadZipFile:
        raise BadRecord("", "it is no log of inspect_ai: not a zip file") from None


def _of_archive(path: Path, archive: zipfile.ZipFile, name: str, told: Mapping[str, Any]) -> Record:
    return _record(parsed(_member(path, archive, name)), told)


def _record(sample: Any, told: Mapping[str, Any]) -> Record:
    if not isinstance(sample, dict):
        raise BadRecord("", "it is no JSON object")
    sample = _with_attachments(sample, sample.get("attachments") or {})
    transcript = Transcript()
    for entry in objects(sample.get("messages"), "messages"):
        transcript.add(_message(entry, transcript))
    return make_record(
        transcript,
        tools=_tools(sample.get("events")),
        model=told.get("model"),
        timestamp=told.get("created"),
        reward=_reward(sample.get("scores")),
        more={"task": str(told.get("task")), "sample": str(sample.get("id")), "epoch": str(sample.get("epoch", 1))},
    )


def _with_attachments(value: Any, attachments: Mapping[str, str]) -> Any:
    if isinstance(value, str) and value.startswith(ATTACHMENT):
        return attachments.get(value.removeprefix(ATTACHMENT), value)
    if isinstance(value, dict):
        return {key: _with_attachments(item, attachments) for key, item in value.items()}
    return [_with_attachments(item, attachments) for item in value] if isinstance(value, list) else value


def _message(entry: dict[str, Any], transcript: Transcript) -> Message:
    role = entry.get("role")
    if role not in ("system", "user", "assistant", "tool"):
        raise BadRecord("messages.role", f"{role!r} is no role")
    content = entry.get("content")
    thoughts: list[str] = []
    if isinstance(content, list):
        thoughts = [str(part.get("reasoning") or "") for part in content if part.get("type") == "reasoning"]
        content = [part for part in content if part.get("type") != "reasoning"]
    text, reasoning = apart(transcript.text(content), "\n".join(thoughts))
    if role == "tool":
        error = entry.get("error") or {}
        return Message(
            role=role,
            content=text or error.get("message") or "",
            tool_call_id=str(entry.get("tool_call_id") or ""),
            is_error=bool(error),
        )
    calls = [
        call(each.get("id"), each.get("function"), each.get("arguments"))
        for each in objects(entry.get("tool_calls") or [], "tool_calls")
    ]
    return Message(role=role, content=text, reasoning_content=reasoning, tool_calls=tuple(calls))


def _tools(events: Any) -> tuple[Tool, ...]:
    """What the model was offered at its first call."""
    for event in events if isinstance(events, list) else ():
        if isinstance(event, dict) and event.get("event") == "model" and event.get("tools"):
            return tuple(
                function_tool(each.get("name"), each.get("description"), _schema(each.get("parameters")))
                for each in objects(event["tools"], "events.tools")
            )
    return ()


def _schema(value: Any) -> Any:
    """A JSON schema without the nulls that inspect writes for keywords that are not set."""
    if isinstance(value, dict):
        return {key: _schema(item) for key, item in value.items() if item is not None}
    return [_schema(item) for item in value] if isinstance(value, list) else value


def _reward(scores: Any) -> float | None:
    """The first score that is a number from 0 to 1, or one of inspect's letters."""
    for score in scores.values() if isinstance(scores, dict) else ():
        value = score.get("value") if isinstance(score, dict) else None
        value = SCORES.get(value) if isinstance(value, str) else value
        if isinstance(value, (int, float)) and 0 <= value <= 1:
            return float(value)
    return None


FORMAT = Format("inspect", "logs of inspect_ai, .json or .eval", _matches, _read)
