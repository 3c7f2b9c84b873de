"""Credentials that stand beside a trace in what another program wrote."""

from typing import Any

from tutelage.redact import CREDENTIAL_NAME, HIDDEN
from tutelage.secrets import form_matches


def scrubbed(value: Any) -> Any:
    """`value` without the entries that are named as credentials, and without keys of known forms in its texts."""
    if isinstance(value, dict):
        return {key: scrubbed(item) for key, item in value.items() if not CREDENTIAL_NAME.search(key)}
    if isinstance(value, list):
        return [scrubbed(item) for item in value]
    if isinstance(value, str):
        for _, secret in list(form_matches(value, library=False)):
            value = value.replace(secret, HIDDEN)
    return value
