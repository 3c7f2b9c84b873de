"""Secrets in text: keys whose form their issuers fixed, what stands beside a label such as "password", and values that
are known to be secret.

The forms are detect-secrets' own, where they name the whole secret, and those of more issuers (forms.py); the labels
are ours (labels.py). A random string without form or label is no sign: hashes, ids and images are such strings.
"""

from tutelage.secrets.finder import Secret, SecretFinder
from tutelage.secrets.forms import FORMS, form_matches
from tutelage.secrets.known import known_secrets
from tutelage.secrets.texts import plain_texts

__all__ = ["FORMS", "Secret", "SecretFinder", "form_matches", "known_secrets", "plain_texts"]
