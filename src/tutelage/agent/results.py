"""What an MCP tool gave back: as the text that a model reads, and whole."""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mcp_types import CallToolResult

from tutelage.redact import redact, redact_bytes
from tutelage.trace import Part

STRUCTURED = "structured content"  # the name of the part that holds it
UNKNOWN_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Attachment:
    """What a result's text only names."""

    part: Part
    data: bytes


@dataclass(frozen=True)
class ToolResult:
    text: str
    is_error: bool = False
    attachments: tuple[Attachment, ...] = ()


def tool_result(result: CallToolResult) -> ToolResult:
    """Text parts joined by newlines, a short placeholder for each other part; structured content if there is no text.

    Servers that give structured content repeat it as text, so that showing both would show it twice; where the text
    is another one, the structured content is attached.
    """
    texts, attachments = [], []
    for part in result.content:
        text, attachment = _part(part)
        texts.append(redact(text))
        attachments += [attachment] if attachment else []
    structured = result.structured_content
    if structured is not None:
        as_text = redact(json.dumps(structured, ensure_ascii=False))
        if not any(part.type in ("text", "resource") for part in result.content):
            texts.insert(0, as_text)
        elif not any(_same(text, structured) for text in texts):
            attachments.append(attach(as_text.encode(errors="replace"), "application/json", STRUCTURED))
    return ToolResult(_joined(texts), bool(result.is_error), tuple(attachments))


def attach(data: bytes, mime_type: str, name: str = "") -> Attachment:
    sha256 = hashlib.sha256(data).hexdigest()
    return Attachment(Part(sha256=sha256, mime_type=mime_type, bytes=len(data), name=name), data)


def _joined(parts: Iterable[str]) -> str:
    return "\n".join(part for part in parts if part)


def _same(text: str, structured: dict[str, Any]) -> bool:
    """Whether a text is the structured content; servers wrap what is no object into {"result": …}."""
    try:
        return bool(json.loads(text) in (structured, structured.get("result")))
    except ValueError:
        return text == structured.get("result")


def _part(part: Any) -> tuple[str, Attachment | None]:
    match part.type:
        case "text":
            return str(part.text), None
        case "image" | "audio":
            return _named(part.data, part.mime_type, "")
        case "resource_link":
            about = ", ".join(word for word in (part.mime_type, part.title or part.name) if word)
            return f"[resource {part.uri}{f': {about}' if about else ''}]", None
        case "resource":
            resource = part.resource
            text = getattr(resource, "text", None)
            if text is not None:
                return str(text), None
            return _named(resource.blob, resource.mime_type or UNKNOWN_TYPE, str(resource.uri))
        case other:
            return f"[{other}]", None


def _named(encoded: str, mime_type: str, name: str) -> tuple[str, Attachment | None]:
    """The placeholder of bytes that arrived as base64, and the bytes."""
    where = f"{name}, " if name else ""
    try:
        data = redact_bytes(base64.b64decode(encoded))
    except binascii.Error:
        return f"[{where}{mime_type}, not readable]", None
    return f"[{where}{mime_type}, {len(data)} bytes]", attach(data, mime_type, name)
