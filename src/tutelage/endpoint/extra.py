"""More fields of a request's body than every OpenAI-style server knows."""

from collections.abc import Mapping
from typing import Any

TEMPLATE_FIELDS = "chat_template_kwargs"  # what llama.cpp and vLLM tell the template beside messages and tools


def with_extra(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with the fields of `extra`, which wins; what each of them tells the chat template stays, key by key."""
    told = {**_told(body), **_told(extra)}
    return {**body, **extra, **({TEMPLATE_FIELDS: told} if told else {})}


def _told(body: Mapping[str, Any]) -> dict[str, Any]:
    told = body.get(TEMPLATE_FIELDS)
    return dict(told) if isinstance(told, dict) else {}
