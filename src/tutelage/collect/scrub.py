"""Credentials that stand beside a trace in what another program wrote."""

import re
from typing import Any

from tutelage.redact import HIDDEN
from tutelage.secrets import form_matches

# Narrower than redact.SECRET_NAME: counts of tokens, ids of sessions and authors are no credentials.
NAMES = re.compile(r"(?i)authorization|passw|pwd|secret|cookie|credential|bearer|api[-_]?key|(key|token|^headers)$")


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
