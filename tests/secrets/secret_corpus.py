# ruff: noqa: E501 (a text a line)
"""Seeded corpora for the scrubber: texts with one planted secret each, and texts that only look as if they held one.

The formats are written down from the issuers' documentation, apart from the detector's own patterns.
"""

import base64
import hashlib
import json
import random
import string
import uuid
from collections.abc import Callable
from typing import NamedTuple

UPPER, LOWER, DIGITS, HEX = string.ascii_uppercase, string.ascii_lowercase, string.digits, "0123456789abcdef"
ALNUM = UPPER + LOWER + DIGITS
URLSAFE = ALNUM + "-_"


class Planted(NamedTuple):
    kind: str
    secret: str  # what must not be left
    text: str


class Draw:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def chars(self, alphabet: str, count: int) -> str:
        return "".join(self.random.choices(alphabet, k=count))

    def one(self, *choices: str) -> str:
        return self.random.choice(choices)

    def bytes(self, count: int) -> bytes:
        return self.random.randbytes(count)

    def base64(self, count: int) -> str:
        return base64.b64encode(self.bytes(count)).decode()

    def urlsafe(self, count: int) -> str:
        return base64.urlsafe_b64encode(self.bytes(count)).decode().rstrip("=")

    def password(self) -> str:
        """As people and generators make them."""
        word = self.one("Summer", "dragon", "Winter", "correct", "Falcon", "monkey", "Blue")
        return self.one(
            word + self.chars(DIGITS, 4),
            word + self.one("!", "#", "$", "?") + self.chars(DIGITS, 3),
            self.chars(ALNUM, 12) + self.chars(DIGITS, 1) + self.chars(LOWER, 1),
            self.chars(LOWER + DIGITS, 9) + self.chars(DIGITS, 1) + self.chars(LOWER, 1),
            self.chars(ALNUM, 8) + self.one("!", "%", "+", "~", "^") + self.chars(ALNUM, 5) + "7q",
        )


def private_key(draw: Draw) -> str:
    name = draw.one("RSA ", "EC ", "OPENSSH ", "", "ENCRYPTED ", "DSA ")
    body = draw.base64(draw.random.choice([96, 300, 600]))
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join([f"-----BEGIN {name}PRIVATE KEY-----", *lines, f"-----END {name}PRIVATE KEY-----"])


def jwt(draw: Draw) -> str:
    def part(data: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")

    head = part({"alg": draw.one("HS256", "RS256", "ES256"), "typ": "JWT"})
    claims = {"sub": draw.chars(DIGITS, 8), "exp": draw.random.randrange(10**9, 2 * 10**9), "role": "admin"}
    return f"{head}.{part(claims)}.{draw.urlsafe(draw.random.choice([32, 64, 256]))}"


# Keys that stand for themselves.
KEYS: dict[str, Callable[[Draw], str]] = {
    "AWS access key id": lambda d: d.one("AKIA", "ASIA") + d.chars(UPPER + "234567", 16),
    "GitHub classic": lambda d: d.one("ghp_", "gho_", "ghs_", "ghu_", "ghr_") + d.chars(ALNUM, 36),
    "GitHub fine-grained": lambda d: f"github_pat_{d.chars(ALNUM, 22)}_{d.chars(ALNUM, 59)}",
    "GitLab": lambda d: d.one("glpat-", "gldt-", "glptt-") + d.chars(URLSAFE, 19) + d.chars(ALNUM, 1),
    "Slack bot": lambda d: f"xoxb-{d.chars(DIGITS, 12)}-{d.chars(DIGITS, 13)}-{d.chars(ALNUM, 24)}",
    "Slack user": lambda d: "xoxp-" + "-".join(d.chars(DIGITS, 12) for _ in range(3)) + "-" + d.chars(HEX, 32),
    "Slack app": lambda d: f"xapp-1-A{d.chars(UPPER + DIGITS, 10)}-{d.chars(DIGITS, 13)}-{d.chars(HEX, 64)}",
    "Hugging Face": lambda d: "hf_" + d.chars(UPPER + LOWER, 34),
    "OpenAI project": lambda d: f"sk-proj-{d.chars(URLSAFE, 74)}T3BlbkFJ{d.chars(URLSAFE, 73)}{d.chars(ALNUM, 1)}",
    "OpenAI": lambda d: f"sk-{d.chars(ALNUM, 20)}T3BlbkFJ{d.chars(ALNUM, 20)}",
    "Anthropic": lambda d: f"sk-ant-api03-{d.chars(URLSAFE, 93)}AA",
    "OpenRouter": lambda d: f"sk-or-v1-{d.chars(HEX, 64)}",
    "Groq": lambda d: "gsk_" + d.chars(ALNUM, 52),
    "Google API": lambda d: "AIzaSy" + d.chars(URLSAFE, 32) + d.chars(ALNUM, 1),
    "Google OAuth secret": lambda d: "GOCSPX-" + d.chars(URLSAFE, 27) + d.chars(ALNUM, 1),
    "Stripe": lambda d: d.one("sk_live_", "rk_live_", "sk_test_") + d.chars(ALNUM, d.random.choice([24, 99])),
    "Stripe webhook": lambda d: "whsec_" + d.chars(ALNUM, 32),
    "Shopify": lambda d: d.one("shpat_", "shpss_", "shpca_") + d.chars(HEX, 32),
    "Square": lambda d: "sq0csp-" + d.chars(URLSAFE, 42) + d.chars(ALNUM, 1),
    "SendGrid": lambda d: f"SG.{d.chars(URLSAFE, 22)}.{d.chars(URLSAFE, 42)}{d.chars(ALNUM, 1)}",
    "Mailgun": lambda d: "key-" + d.chars(HEX, 32),
    "Mailchimp": lambda d: d.chars(HEX, 32) + "-us" + d.one("1", "5", "12", "21"),
    "Twilio": lambda d: "SK" + d.chars(HEX, 32),
    "Telegram bot": lambda d: f"{d.chars('123456789', 9)}:AA{d.chars(URLSAFE, 32)}{d.chars(ALNUM, 1)}",
    "Discord bot": lambda d: f"M{d.chars(ALNUM, 23)}.{d.chars(ALNUM, 6)}.{d.chars(ALNUM, 27)}",
    "npm": lambda d: "npm_" + d.chars(ALNUM, 36),
    "PyPI": lambda d: "pypi-AgEIcHlwaS5vcmc" + d.chars(ALNUM, 110),
    "RubyGems": lambda d: "rubygems_" + d.chars(HEX, 48),
    "Docker Hub": lambda d: "dckr_pat_" + d.chars(URLSAFE, 26) + d.chars(ALNUM, 1),
    "DigitalOcean": lambda d: "dop_v1_" + d.chars(HEX, 64),
    "Databricks": lambda d: "dapi" + d.chars(HEX, 32),
    "Vault": lambda d: "hvs.CAESI" + d.chars(URLSAFE, 86) + d.chars(ALNUM, 1),
    "Grafana": lambda d: f"glsa_{d.chars(ALNUM, 32)}_{d.chars(HEX, 8)}",
    "New Relic": lambda d: "NRAK-" + d.chars(UPPER + DIGITS, 27),
    "Doppler": lambda d: "dp.pt." + d.chars(ALNUM, 43),
    "Linear": lambda d: "lin_api_" + d.chars(ALNUM, 40),
    "Notion": lambda d: d.one("ntn_" + d.chars(ALNUM, 46), "secret_" + d.chars(ALNUM, 43)),
    "Airtable": lambda d: f"pat{d.chars(ALNUM, 14)}.{d.chars(HEX, 64)}",
    "Atlassian": lambda d: f"ATATT3xFfGF0{d.chars(URLSAFE, 170)}={d.chars('0123456789ABCDEF', 8)}",
    "Figma": lambda d: "figd_" + d.chars(URLSAFE, 39) + d.chars(ALNUM, 1),
    "age": lambda d: "AGE-SECRET-KEY-1" + d.chars("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58),
    "Azure client": lambda d: f"{d.chars(ALNUM, 3)}8Q~{d.chars(ALNUM + '_-.~', 33)}{d.chars(ALNUM, 1)}",
    "JSON web token": jwt,
    "private key": private_key,
}

# Secrets that only what stands around them gives away: each is given a password or key and says where it stands.
IN_PLACE: dict[str, Callable[[Draw, str], str]] = {
    "PostgreSQL URL": lambda d, s: f"postgresql://app:{s}@db-{d.chars(DIGITS, 2)}.internal:5432/shop",
    "Redis URL": lambda d, s: f"redis://:{s}@cache.internal:6379/0",
    "MongoDB URL": lambda d, s: f"mongodb+srv://reader:{s}@cluster0.{d.chars(LOWER, 5)}.mongodb.net/shop?w=majority",
    "AMQP URL": lambda d, s: f"amqp://worker:{s}@queue.internal//jobs",
    "HTTP URL": lambda d, s: f"git clone https://deploy:{s}@git.corp.internal/shop.git",
    "ADO.NET string": lambda d, s: f"Server=tcp:sql.internal,1433;Database=shop;User ID=sa;Password={s};Encrypt=true;",
    "ODBC string": lambda d, s: f"Driver={{ODBC Driver 18}};Server=sql.internal;Uid=app;Pwd={s};",
    "JDBC string": lambda d, s: f"jdbc:mysql://db.internal:3306/shop?user=app&password={s}",
    "environment": lambda d, s: f"export {d.one('DB_PASSWORD', 'PGPASSWORD', 'SMTP_PASSWORD')}='{s}'",
    "dotenv": lambda d, s: f"# production\nADMIN_PASSWORD={s}\nDEBUG=false",
    "YAML": lambda d, s: f"database:\n  user: app\n  password: {s}\n  port: 5432",
    "command": lambda d, s: f"mysqldump --user root --password={s} shop > shop.sql",
    "flag": lambda d, s: f"deploy --user ops --password {s} --host web-1",
    "sentence": lambda d, s: f"Use the admin account; the password is {s} until Friday.",
    "line": lambda d, s: f"User: admin\nPassword: {s}\nRole: owner",
}


def _library_secrets(draw: Draw) -> tuple[str, str, str]:
    """A secret of a service that gives it no form, beside its label: kind, secret, text."""
    aws, azure, hexadecimal = draw.base64(30), draw.base64(64), draw.chars(HEX, 32)
    number = draw.random.randrange(8)
    basic = base64.b64encode(f"ops:{draw.password()}".encode()).decode()
    opaque = draw.chars(ALNUM, 39) + "7"
    return (
        ("AWS secret", aws, f"aws_access_key_id = (rotated)\naws_secret_access_key = {aws}"),
        ("AWS secret in JSON", aws, json.dumps({"SecretAccessKey": aws, "Expiration": "2026-11-05T12:00:00Z"})),
        (
            "Azure storage",
            azure,
            f"DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={azure};EndpointSuffix=core.windows.net",
        ),
        ("basic credentials", basic, f"curl -H 'Authorization: Basic {basic}' https://api.internal/orders"),
        ("bearer token", opaque, f"GET /v1/orders\nAuthorization: Bearer {opaque}\nAccept: application/json"),
        ("API key in JSON", hexadecimal, json.dumps({"region": "eu", "api_key": hexadecimal})),
        ("API key header", opaque, f"X-Api-Key: {opaque}\nHost: api.internal"),
        ("client secret", opaque, json.dumps({"client_id": "shop-web", "client_secret": opaque, "scope": "orders"})),
    )[number]


def planted(seed: int, count: int) -> list[Planted]:
    """`count` texts, of every kind in turn, in carriers as traces have them."""
    draw = Draw(seed)
    makers: list[Callable[[], Planted]] = []
    makers += [lambda kind=kind, make=make: _carried(draw, kind, make(draw)) for kind, make in KEYS.items()]
    makers += [lambda kind=kind, place=place: _in_place(draw, kind, place) for kind, place in IN_PLACE.items()]
    makers += [lambda: _in_json(draw), lambda: Planted(*_library_secrets(draw))] * 6
    return [makers[number % len(makers)]() for number in range(count)]


def _carried(draw: Draw, kind: str, secret: str) -> Planted:
    carriers: list[Callable[[], str]] = [
        lambda: f"The key for the new account is {secret} and it is valid from today.",
        lambda: f"2026-11-05T10:11:12Z INFO auth: using {secret}",
        lambda: json.dumps({"status": "created", "credential": {"id": 17, "value": secret}}),
        lambda: json.dumps({"command": f"curl -s https://api.internal/v1 --header 'x-auth: {secret}'"}),
        lambda: json.dumps([{"type": "text", "text": json.dumps({"out": [secret, "ok"]})}]),
        lambda: f"```\nTOKEN={secret}\n```",
        lambda: f"| service | key |\n| --- | --- |\n| {kind} | {secret} |",
    ]
    return Planted(kind, secret, draw.random.choice(carriers)())


def _in_place(draw: Draw, kind: str, place: Callable[[Draw, str], str]) -> Planted:
    password = draw.password()
    text = place(draw, password)
    if draw.random.random() < 0.4:  # as an argument or a result in JSON
        text = json.dumps({"output": text, "exit_code": 0})
    return Planted(kind, password, text)


def _in_json(draw: Draw) -> Planted:
    password = draw.password() + draw.one("", "", '"x', "\\n1", "ü")
    name = draw.one("password", "passwd", "userPassword", "db_password", "new_password", "passphrase")
    data = {"user": "anna", name: password, "remember": True}
    return Planted("JSON field", password, json.dumps(data, ensure_ascii=draw.random.random() < 0.5))


def look_alikes(seed: int, count: int) -> list[str]:
    """`count` texts that hold no secret, of every kind in turn."""
    draw = Draw(seed)
    return [_LOOK_ALIKES[number % len(_LOOK_ALIKES)](draw) for number in range(count)]


def _uuid(draw: Draw) -> str:
    return str(uuid.UUID(bytes=draw.bytes(16), version=4))


def _sha(draw: Draw, name: str = "sha256") -> str:
    return hashlib.new(name, draw.bytes(16)).hexdigest()


_LOOK_ALIKES: list[Callable[[Draw], str]] = [
    lambda d: json.dumps({"id": _uuid(d), "request_id": _uuid(d), "session": _uuid(d)}),
    lambda d: f"commit {_sha(d, 'sha1')}\nAuthor: Ada <ada@example.com>\n\n    Passwords are hashed",
    lambda d: f"{_sha(d)}  shop-{d.chars(DIGITS, 2)}.tar.gz\n{_sha(d)}  shop.sig",
    lambda d: json.dumps({"image": f"data:image/png;base64,iVBORw0KGgo{d.base64(600)}"}),
    lambda d: d.base64(900),
    lambda d: f"Product {d.chars(UPPER, 2)}-{d.chars(DIGITS, 5)}-{d.chars(UPPER, 3)}, EAN {d.chars(DIGITS, 13)}, in stock: 4",
    lambda d: json.dumps({"order_id": f"ORD-{d.chars(UPPER + DIGITS, 10)}", "tracking": f"1Z{d.chars(UPPER + DIGITS, 16)}"}),
    lambda d: d.one(
        "export OPENAI_API_KEY=sk-your-key-goes-here-0123456789",
        "api_key: <YOUR_API_KEY>",
        "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "token: ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "password: ${DB_PASSWORD}",
        "postgresql://user:password@localhost/db",
        'password = os.environ["DB_PASSWORD"]',
        "PASSWORD={{ vault.db_password }}",
        "Authorization: Bearer <token>",
        '{"password": "********"}',
        "mysql -u root -p",
    ),
    lambda d: json.dumps(
        {"name": "login", "parameters": {"password": {"type": "string", "description": "at least 12 characters, 1 digit"}}}
    ),
    lambda d: json.dumps({"items": [1, 2], "next_page_token": d.urlsafe(30), "page_token": d.urlsafe(24)}),
    lambda d: f'ETag: "{_sha(d, "md5")}"\nCache-Control: max-age=600\nX-Request-Id: {_uuid(d)}',
    lambda d: f"ssh-ed25519 {d.base64(51)} ada@laptop",
    lambda d: f"-----BEGIN CERTIFICATE-----\n{d.base64(300)}\n-----END CERTIFICATE-----",
    lambda d: f"-----BEGIN PUBLIC KEY-----\n{d.base64(91)}\n-----END PUBLIC KEY-----",
    lambda d: f"pk_{d.one('live', 'test')}_{d.chars(ALNUM, 24)} is the publishable key of the page",
    lambda d: f"sha512-{d.base64(64)}",
    lambda d: json.dumps({"integrity": f"sha512-{d.base64(64)}", "resolved": "https://registry.internal/a/-/a-1.2.3.tgz"}),
    lambda d: f"https://cdn.internal/assets/{_sha(d, 'md5')}/app.{d.chars(HEX, 8)}.js?v={d.chars(DIGITS, 10)}",
    lambda d: f"arn:aws:iam::{d.chars(DIGITS, 12)}:role/reader-{d.chars(LOWER, 6)} and vpc-{d.chars(HEX, 17)}",
    lambda d: f"docker pull registry.internal:5000/shop@sha256:{_sha(d)}",
    lambda d: json.dumps({"max_tokens": 4096, "token_type": "Bearer", "tokens_used": d.random.randrange(9999)}),
    lambda d: d.one(
        "Your password must have at least 8 characters, one digit and one sign.",
        "The password was changed on 2026-11-05 at 10:22.",
        "Password: required. Secret: optional. Token: see the manual.",
        "The secret is in the sauce, said the cook at 12:30.",
        "Reset your password: https://shop.internal/reset",
        "Error: wrong password for user anna (attempt 3 of 5)",
        "The keyboard key: F12; the primary key: order_id",
        "See http://localhost:8080/a@b and git@git.internal:me/x.git",
    ),
    lambda d: f"call_{d.chars(ALNUM, 24)} chatcmpl-{d.chars(ALNUM, 29)} toolu_{d.chars(ALNUM, 24)}",
    lambda d: f"{d.chars('0123456789ABCDEF', 2)}" + "".join(f":{d.chars('0123456789ABCDEF', 2)}" for _ in range(19)),
    lambda d: f"IBAN DE{d.chars(DIGITS, 20)}, invoice {d.chars(DIGITS, 10)}, VAT DE{d.chars(DIGITS, 9)}",
    lambda d: f"<svg><path d='M{d.chars(DIGITS, 3)}.{d.chars(DIGITS, 2)} {d.chars(DIGITS, 3)}l-4.2,7.1z'/></svg>",
    lambda d: f"[ref=e{d.chars(DIGITS, 3)}] button \"Show password\" [cursor=pointer] textbox \"Password\" [ref=s1e{d.chars(DIGITS, 2)}]",
    lambda d: f"password_hash: $2b$12${d.chars(ALNUM + './', 53)}",
    lambda d: f"trace {d.chars(HEX, 32)} span {d.chars(HEX, 16)} traceparent: 00-{d.chars(HEX, 32)}-{d.chars(HEX, 16)}-01",
    lambda d: json.dumps({"public_key": d.base64(32), "fingerprint": f"SHA256:{d.base64(32).rstrip('=')}"}),
    lambda d: f"https://shop.internal/s?q=lamp&sort=price&cursor={d.urlsafe(40)}",
]  # fmt: skip
