"""Signing in to a real MCP server behind OAuth; the person in front of the browser is played."""

import asyncio
import json
import os
import pty
import re
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.null import Keyring as NoKeyring

from tutelage.agent.servers import Servers, connect_servers
from tutelage.errors import TutelageError
from tutelage.redact import redact
from tutelage.settings import McpServer, OAuthClient
from tutelage.sign_in.kept import Kept
from tutelage.sign_in.provider import OpenPage
from tutelage.world import World

SERVER = Path(__file__).parents[1] / "agent" / "guarded_server.py"


class MemoryKeyring(KeyringBackend):
    """A test double of a desktop's."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())
    yield tmp_path
    keyring.set_keyring(before)


@contextmanager
def guarded(seconds: int = 3600) -> Iterator[str]:
    """The server, whose access tokens are good for `seconds`; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/mcp"
    process = subprocess.Popen([sys.executable, SERVER, str(port), str(seconds)], stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                assert httpx2.get(url, trust_env=False).status_code == 401
                break
            except httpx2.TransportError:
                assert process.poll() is None
                time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


async def agree(page: str) -> None:
    async with httpx2.AsyncClient(follow_redirects=True, trust_env=False) as browser:
        assert "You are signed in" in (await browser.get(page)).text


async def never(page: str) -> None:
    raise AssertionError("nobody is to be asked again")


async def refuse(page: str) -> None:
    back = httpx2.URL(page).params["redirect_uri"]
    async with httpx2.AsyncClient(trust_env=False) as browser:
        await browser.get(back, params={"error": "access_denied", "error_description": "not today"})


def use(url: str, act: Callable[[Servers], Awaitable[Any]], folder: Path, open_page: OpenPage | None = None) -> Any:
    async def run() -> Any:
        async with connect_servers({"s": McpServer(url=url)}, World("w", folder), open_page=open_page) as servers:
            return await act(servers)

    return asyncio.run(run())


async def refreshed(servers: Servers) -> str:
    return (await servers.call("refreshed", {})).text


def test_a_person_signs_in_once_and_rollouts_use_what_is_kept(home: Path) -> None:
    with guarded() as url:
        with pytest.raises(TutelageError, match=r'"s" at \S+ wants somebody to sign in. Run `tutelage tools`'):
            use(url, refreshed, home)
        assert use(url, refreshed, home, agree) == "0"
        assert use(url, refreshed, home) == "0"
        assert use(url, refreshed, home, never) == "0"
    kept = Kept(url)
    assert kept.file.stat().st_mode & 0o777 == 0o600
    tokens = kept.load().tokens
    assert tokens
    assert redact(f"it is {tokens.access_token}") == "it is …"


def test_a_token_that_runs_out_is_refreshed_once_for_all_rollouts(home: Path) -> None:
    with guarded(seconds=11) as url:  # a second, then it is too old to be sent
        use(url, refreshed, home, agree)
        while Kept(url).load().expires - 10 > time.time():  # type: ignore[operator]
            time.sleep(0.05)

        async def at_once(first: Servers) -> list[str]:
            others = [connect_servers({"s": McpServer(url=url)}, World("w", home)) for _ in range(4)]

            async def one(connecting: Any) -> str:
                async with connecting as servers:
                    return await refreshed(servers)

            return list(await asyncio.gather(*map(one, others)))

        assert "0" not in use(url, at_once, home)  # a refresh token is good once: a second use of it would fail


def test_a_token_that_the_server_forgot_is_refreshed(home: Path) -> None:
    async def act(servers: Servers) -> tuple[str, str]:
        return (await servers.call("forget", {})).text, await refreshed(servers)

    with guarded() as url:
        use(url, refreshed, home, agree)
        assert use(url, act, home) == ("forgotten", "1")


def test_a_sign_in_that_ends_during_a_run_is_said(home: Path) -> None:
    async def act(servers: Servers) -> None:
        await servers.call("forget", {"everything": True})
        await refreshed(servers)

    with guarded() as url:
        use(url, refreshed, home, agree)
        with pytest.raises(TutelageError, match=r'"s" at \S+ wants somebody to sign in. Run `tutelage tools`'):
            use(url, act, home)


def test_a_refusal_is_said(home: Path) -> None:
    with guarded() as url, pytest.raises(TutelageError, match=r"The sign-in was refused: not today"):
        use(url, refreshed, home, refuse)


def test_a_client_that_signs_in_as_itself_says_whom_it_may_tell(home: Path) -> None:
    server = McpServer(url="http://127.0.0.1:9/mcp", oauth=OAuthClient(grant="client_credentials", client_id="me"))

    async def run() -> None:
        async with connect_servers({"s": server}, World("w", home)):
            pass

    with pytest.raises(TutelageError, match='needs "clientId", "clientSecret" and "issuer"'):
        asyncio.run(run())


def test_a_desktops_keyring_is_used_instead_of_a_file(home: Path) -> None:
    keyring.set_keyring(MemoryKeyring())
    with guarded() as url:
        use(url, refreshed, home, agree)
        assert use(url, refreshed, home) == "0"
    assert not Kept(url).file.exists()
    assert Kept(url).load().tokens


def test_the_command_shows_the_page_and_keeps_the_sign_in(home: Path) -> None:
    with guarded() as url:
        (home / "tutelage.toml").write_text('student = {model = "none", url = "http://127.0.0.1:9/v1"}')
        (home / "tasks").mkdir()
        (home / "tasks" / "train.jsonl").write_text('{"id": "1", "prompt": "hello"}\n')
        (home / "mcp.json").write_text(json.dumps({"mcpServers": {"s": {"url": url}}}))
        command = [sys.executable, "-m", "tutelage", "tools", "-p", str(home), "--json"]
        alone = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
        assert (alone.returncode, "wants somebody to sign in" in alone.stderr) == (2, True)

        ours, theirs = pty.openpty()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment())
        os.close(theirs)
        said = b""
        while not (page := re.search(rb"(http://\S+)\r\n", said)):
            said += os.read(ours, 4096)
        asyncio.run(agree(page[1].decode()))
        assert process.stdout
        assert b'"refreshed"' in process.stdout.read()
        assert process.wait() == 0
        os.close(ours)
        assert Kept(url).load().tokens


def environment() -> dict[str, str]:
    hidden = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return {**hidden, "HF_HUB_OFFLINE": "1", "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
