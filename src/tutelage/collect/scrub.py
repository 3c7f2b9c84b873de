"""Credentials that stand beside a trace in what another program wrote."""

import re
from typing import Any

from tutelage.redact import HIDDEN
from tutelage.secrets import form_matches

NAMES = re.compile(
    r"(?i)authorization|api[-_]?key|secret|password|cookie|credential|bearer|^headers$|^key$|(access|auth|id)[-_]?token$"
)


def scrubbed(value: Any) -> Any:
    """`value` without the entries that are named as credentials, and without keys of known forms in its texts."""
    if isinstance(value, dict):
        return {key: scrubbed(item) for key, item in value.items() if not NAMES.search(key)}
    if isinstance(value, list):
        return [scrubbed(item) for item in value]
    if isinstance(value, str):
        for _, secret in list(form_matches(value, library=False)):
            value = value.replace(secret, HIDDEN)
    return value
