"""Credentials that stand beside a trace in what another program wrote."""

import re
from typing import Any

NAMES = re.compile(
    r"(?i)authorization|api[-_]?key|secret|password|cookie|credential|bearer|^headers$|^key$|(access|auth|id)[-_]?token$"
)
VALUES = re.compile(r"(?i)\bbearer\s+[\w.~+/=-]{8,}|\bsk-[\w-]{16,}")
HIDDEN = "[key]"


def scrubbed(value: Any) -> Any:
    """`value` without the entries that are named as credentials, and without bearer tokens and keys in its texts."""
    if isinstance(value, dict):
        return {key: scrubbed(item) for key, item in value.items() if not NAMES.search(key)}
    if isinstance(value, list):
        return [scrubbed(item) for item in value]
    return VALUES.sub(HIDDEN, value) if isinstance(value, str) else value
