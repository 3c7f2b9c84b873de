"""What an MCP tool gave back, as the text that a model reads."""

import json
from collections.abc import Iterable
from typing import Any

from mcp_types import CallToolResult


def result_text(result: CallToolResult) -> str:
    """Text parts joined by newlines, a short placeholder for each other part; structured content if there is no text.

    Servers that give structured content repeat it as text, so that showing both would show it twice.
    """
    parts = [_part(part) for part in result.content]
    has_text = any(part.type in ("text", "resource") for part in result.content)
    if not has_text and result.structured_content is not None:
        parts.insert(0, json.dumps(result.structured_content, ensure_ascii=False))
    return _joined(parts)


def _joined(parts: Iterable[str]) -> str:
    return "\n".join(part for part in parts if part)


def _part(part: Any) -> str:
    match part.type:
        case "text":
            return str(part.text)
        case "image" | "audio":
            return f"[{part.mime_type}, {_decoded_bytes(part.data)} bytes]"
        case "resource_link":
            return f"[resource {part.uri}]"
        case "resource":
            resource = part.resource
            text = getattr(resource, "text", None)
            if text is not None:
                return str(text)
            kind = resource.mime_type or "application/octet-stream"
            return f"[{resource.uri}, {kind}, {_decoded_bytes(resource.blob)} bytes]"
        case other:
            return f"[{other}]"


def _decoded_bytes(base64: str) -> int:
    return len(base64) * 3 // 4 - base64[-2:].count("=")
