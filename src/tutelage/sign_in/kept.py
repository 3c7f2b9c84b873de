"""Where sign-ins are kept between runs: in the user's keyring (extra `keyring`), else in a file that only they read."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, OAuthToken, ProtectedResourceMetadata
from pydantic import BaseModel, ValidationError

from tutelage.redact import note_secret

SERVICE = "tutelage"  # the keyring's word for whose secrets they are


class SignIn(BaseModel):
    """What a server and its authorization server gave; the latter's addresses are needed to refresh."""

    server: str = ""  # the MCP server's URL, for people
    redirect: str = ""  # where the browser was sent back to; a server may insist on the same again
    tokens: OAuthToken | None = None
    expires: float | None = None  # of the access token, seconds since the epoch; None: not said
    client: OAuthClientInformationFull | None = None  # as whom we are registered
    authorization: OAuthMetadata | None = None
    resource: ProtectedResourceMetadata | None = None


class Kept:
    """The sign-in to the MCP server at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.file = folder() / f"{hashlib.sha256(url.encode()).hexdigest()[:20]}.json"

    def load(self) -> SignIn:
        """An empty one where there is none, or none that can be read."""
        text = self._from_keyring()
        if text is None and self.file.exists():
            text = self.file.read_text(encoding="utf-8")
        try:
            found = SignIn.model_validate_json(text or "{}")
        except ValidationError:
            found = SignIn()
        _note_secrets(found)
        return found

    def save(self, sign_in: SignIn) -> None:
        _note_secrets(sign_in)
        text = sign_in.model_dump_json(exclude_none=True, indent=1)
        if self._into_keyring(text):
            self.file.unlink(missing_ok=True)
            return
        _private(self.file.parent)
        new = self.file.with_suffix(f".{os.getpid()}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 (a descriptor)
            file.write(text)
        new.replace(self.file)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Held by one of all rollouts of all processes; waiting for it blocks."""
        _private(self.file.parent)
        with self.file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _from_keyring(self) -> str | None:
        keyring = _keyring()
        try:
            return keyring.get_password(SERVICE, self.url) if keyring else None
        except keyring.errors.KeyringError:  # locked, or its service is gone
            return None

    def _into_keyring(self, text: str) -> bool:
        keyring = _keyring()
        try:
            if keyring:
                keyring.set_password(SERVICE, self.url, text)
        except keyring.errors.KeyringError:
            return False
        return keyring is not None


def folder() -> Path:
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "tutelage" / "sign-ins"


def _private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _keyring() -> Any:
    """The library, where it is installed and has found a keyring; a machine without a desktop has none."""
    try:
        import keyring
        import keyring.errors
    except ImportError:
        return None
    return keyring if keyring.get_keyring().priority > 0 else None


def _note_secrets(sign_in: SignIn) -> None:
    tokens, client = sign_in.tokens, sign_in.client
    for secret in (tokens and tokens.access_token, tokens and tokens.refresh_token, client and client.client_secret):
        if secret:
            note_secret(secret)
