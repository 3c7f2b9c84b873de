"""The forms of keys, as their issuers document them for secret scanning.

Where a form has a group, the group is the secret and the rest is what it stands in.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tutelage.errors import MissingExtra


class Form(NamedTuple):
    sign: str  # a text without it holds no such key; "" where there is no sign
    pattern: str


FORMS = {
    "private key": Form(
        "PRIVATE KEY",
        # Up to its end or, where that was cut off, as far as it goes on; line ends may be those of JSON.
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"(?=[\s\S]{0,200}?[A-Za-z0-9+/=]{16})"
        r"(?:(?:\\+[nr]|[\sA-Za-z0-9+/=:,.()_-])*?-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"|(?:\\+[nr]|\s|[A-Za-z0-9+/=]{16,}|Proc-Type:[ \w,]+|DEK-Info:[ \w,-]+)*)",
    ),
    "AWS access key": Form("", r"(?<![A-Za-z0-9+/])(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}(?![A-Za-z0-9+/])"),
    "GitHub token": Form("", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,})"),
    "GitLab token": Form("gl", r"\bgl(?:pat|ptt|dt|rt|cbt|ft|soat|agent|imt|oas)-[\w.-]{20,}"),
    "Slack token": Form("xox", r"\bxox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}"),
    "Slack app token": Form("xapp-", r"\bxapp-\d-[A-Z0-9]+-\d+-[a-z0-9]{32,}"),
    "Slack webhook": Form(
        "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Z][A-Z0-9]+/[\w/-]{20,})"
    ),
    "Discord webhook": Form("api/webhooks", r"discord(?:app)?\.com/api/webhooks/(\d{15,20}/[\w-]{60,})"),
    "Teams webhook": Form(
        "webhook.office.com", r"webhook\.office\.com/webhookb2/([\w@-]{36,}/IncomingWebhook/[\w/-]+)"
    ),
    "Hugging Face token": Form("hf_", r"\bhf_[A-Za-z0-9]{30,}\b"),
    "OpenAI or Anthropic key": Form("sk-", r"\bsk-(?=[\w-]*\d)[\w-]{20,}"),
    "Groq key": Form("gsk_", r"\bgsk_[A-Za-z0-9]{40,}\b"),
    "xAI key": Form("xai-", r"\bxai-[A-Za-z0-9]{70,}\b"),
    "Perplexity key": Form("pplx-", r"\bpplx-[A-Za-z0-9]{40,}\b"),
    "Replicate token": Form("r8_", r"\br8_[A-Za-z0-9]{37}\b"),
    "Google API key": Form("AIza", r"\bAIza[\w-]{35}(?![\w-])"),
    "Google OAuth secret": Form("GOCSPX-", r"\bGOCSPX-[\w-]{28}"),
    "Google OAuth token": Form("ya29.", r"\bya29\.[\w-]{20,}"),
    "Stripe key": Form("k_", r"\b[sr]k_(?:live|test)_[0-9a-zA-Z]{20,}"),
    "Stripe webhook secret": Form("whsec_", r"\bwhsec_[A-Za-z0-9+/]{24,}={0,2}"),
    "Shopify token": Form("shp", r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b"),
    "Square token": Form("", r"\b(?:sq0[a-z]{3}-[\w-]{22,43}|EAAA[\w-]{60})(?![\w-])"),
    "SendGrid key": Form("SG.", r"\bSG\.[\w-]{16,32}\.[\w-]{32,64}"),
    "Mailgun key": Form("key-", r"\bkey-[0-9a-f]{32}\b"),
    "Postman key": Form("PMAK-", r"\bPMAK-[0-9a-f]{24}-[0-9a-f]{34}\b"),
    "npm token": Form("npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    "PyPI token": Form("pypi-AgE", r"\bpypi-AgE[\w-]{50,}"),
    "RubyGems key": Form("rubygems_", r"\brubygems_[0-9a-f]{48}\b"),
    "Docker token": Form("dckr_", r"\bdckr_[po]at_[\w-]{27,}"),
    "DigitalOcean token": Form("_v1_", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    "Databricks token": Form("dapi", r"\bdapi[a-f0-9]{32}(?:-\d)?\b"),
    "HashiCorp Vault token": Form("hv", r"\bhv[sbr]\.[\w-]{24,}"),
    "Terraform token": Form(".atlasv1.", r"\b[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60,}"),
    "Grafana token": Form("gl", r"\bgl(?:c_[A-Za-z0-9+/]{32,}={0,2}|sa_[A-Za-z0-9]{32}_[a-f0-9]{8}\b)"),
    "New Relic key": Form("NRAK-", r"\bNRAK-[A-Z0-9]{27}\b"),
    "Sentry token": Form("sntry", r"\bsntry[su]_[\w+/=-]{40,}"),
    "Doppler token": Form("dp.", r"\bdp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]+\.)?[A-Za-z0-9]{40,44}\b"),
    "Linear key": Form("lin_", r"\blin_(?:api|oauth)_[A-Za-z0-9]{32,}\b"),
    "Notion token": Form("", r"\b(?:ntn_[A-Za-z0-9]{43,}|secret_[A-Za-z0-9]{43})\b"),
    "Airtable token": Form("pat", r"\bpat[A-Za-z0-9]{14}\.[a-f0-9]{64}\b"),
    "Atlassian token": Form("ATATT3", r"\bATATT3[\w=-]{60,}"),
    "Figma token": Form("figd_", r"\bfigd_[\w-]{38,}"),
    "Supabase key": Form("sb", r"\b(?:sbp_[a-f0-9]{40}|sb_secret_[\w-]{20,})"),
    "PlanetScale key": Form("pscale_", r"\bpscale_(?:tkn|pw|oauth)_[\w.-]{32,}"),
    "Fly token": Form("FlyV1 ", r"\bFlyV1 (fm[12][\w+/=,-]{60,})"),
    "age key": Form("AGE-SECRET-KEY-", r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"),
    "Facebook token": Form("EAA", r"\bEAA[A-Za-z0-9]{90,}"),
    "Azure client secret": Form("Q~", r"(?<![\w~.-])[\w~.-]{3}\dQ~[\w~.-]{31,34}(?![\w~.-])"),
    "JSON web token": Form(
        "eyJ", r"\beyJ[\w-]{10,}\.(?:eyJ[\w-]{10,}\.[\w-]{10,}|[\w-]*\.[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"
    ),
    "bearer token": Form("earer", r"(?i:\bbearer)\s+(?=[\w.~+/-]*\d)([\w.~+/-]{20,}=*)"),
    "basic credentials": Form("asic ", r"(?i:\bbasic)\s+([A-Za-z0-9+/]{8,}={0,2})(?![\w+/=])"),
    "password in a URL": Form(
        "://", r"\b[a-z][a-z0-9+.-]{1,30}://[^\s/:@\"'<>\\]{0,99}:([^\s/\"'<>,\\]{1,200})@[\w\[]"
    ),
    "signed URL": Form("ig", r"[?&](?:sig|X-Amz-Signature|Signature|X-Goog-Signature)=([A-Za-z0-9%+/]{32,}=*)"),
}

# detect-secrets' patterns that name a whole secret. Left out: those that we have with more of the issuer's forms,
# those that match a part (GitHub's), and those that match ordinary ids (Artifactory's "AP" and nine characters).
LIBRARY = {
    "AWSKeyDetector": "aws",
    "AzureStorageKeyDetector": "AccountKey",
    "DiscordBotTokenDetector": ".",
    "MailchimpDetector": "-us",
    "SlackDetector": "slack",
    "SoftlayerDetector": "softlayer",
    "TelegramBotTokenDetector": ":",
    "TwilioKeyDetector": "",
}
PLACEHOLDERS = re.compile(
    r"(?i)example|placeholder|redacted|your[-_]|x{6,}|\*{3}|\$\{|\{\{|:password@|:pass@|<[a-z _0-9]+>"
)


def form_matches(text: str, *, library: bool = True) -> Iterator[tuple[str, str]]:
    """The kind and the secret of each match in `text`; without `library`, of our own forms, which need no extra."""
    lower = text.lower()
    for kind, sign, pattern in [*_own_patterns(), *(_library_patterns() if library else ())]:
        if sign not in text and sign not in lower:
            continue
        for match in pattern.finditer(text):
            secret = match[match.lastindex or 0]
            if not PLACEHOLDERS.search(match[0]) and (kind != "basic credentials" or _is_basic(secret)):
                yield kind, secret


@cache
def _own_patterns() -> list[tuple[str, str, re.Pattern[str]]]:
    return [(kind, form.sign, re.compile(form.pattern)) for kind, form in FORMS.items()]


@cache
def _library_patterns() -> list[tuple[str, str, re.Pattern[str]]]:
    try:
        from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    except ImportError as error:
        raise MissingExtra("detect_secrets", "curate") from error
    return [
        (kind, LIBRARY[plugin.__name__], pattern)
        for kind, plugin in get_mapping_from_secret_type_to_class().items()
        if plugin.__name__ in LIBRARY
        for pattern in plugin.denylist
    ]


def _is_basic(encoded: str) -> bool:
    """Whether it is name:password in base64."""
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return False
    return bool(name and colon and password) and (name + password).isprintable()
