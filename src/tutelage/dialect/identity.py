"""Whether two messages, or two histories, are the same, though a client wrote one of them anew."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from tutelage.trace import Message, canonical


def chain(messages: Sequence[Message], before: str = "") -> list[str]:
    """For each message, a digest of all up to and including it."""
    links = []
    for message in messages:
        before = digest_of([before, _essence(message)])
        links.append(before)
    return links


def digest(message: Message) -> str:
    return digest_of(_essence(message))


def digest_of(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _essence(message: Message) -> list[Any]:
    """What a client repeats of a message. It may drop reasoning, trim content and write arguments anew."""
    calls = [[call.id, call.name, canonical(call.arguments)] for call in message.tool_calls]
    return [message.role, (message.content or "").strip(), calls, message.tool_call_id]
