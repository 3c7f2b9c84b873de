import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.agent.servers import ServerDied, Servers, ToolResult, connect_servers
from tutelage.errors import TutelageError
from tutelage.project import McpServer, Project
from tutelage.world import World

SERVER = str(Path(__file__).with_name("misbehaving_server.py"))


def server(mode: str = "ordinary", **more: Any) -> McpServer:
    return McpServer(command=sys.executable, args=(SERVER, mode), **more)


def use(
    servers: dict[str, McpServer], folder: Path, act: Callable[[Servers], Awaitable[Any]], seconds: float = 5
) -> Any:
    async def run() -> Any:
        async with connect_servers(servers, World("w1", folder), tool_seconds=seconds) as opened:
            return await act(opened)

    return asyncio.run(run())


def call(folder: Path, name: str, seconds: float = 5, **arguments: str) -> ToolResult:
    return use({"s": server()}, folder, lambda opened: opened.call(name, arguments), seconds)


async def names(opened: Servers) -> list[str]:
    return [tool.name for tool in opened.tools]


def test_a_tool_is_shown_as_the_server_describes_it(tmp_path: Path) -> None:
    async def first(opened: Servers) -> Any:
        return opened.tools[0]

    tool = use({"s": server()}, tmp_path, first)
    assert (tool.name, tool.server) == ("echo", "s")
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    function = {"name": "echo", "description": "the tool echo", "parameters": schema}
    assert tool.definition == json.dumps({"type": "function", "function": function})


def test_all_pages_of_the_tool_list_are_read(tmp_path: Path) -> None:
    assert use({"s": server("pages")}, tmp_path, names) == ["first", "second"]


def test_a_server_that_repeats_its_cursor_does_not_hold_up_the_rollout(tmp_path: Path) -> None:
    assert use({"s": server("same-cursor")}, tmp_path, names) == ["first"]


def test_a_tool_without_a_schema_is_left_out_with_a_notice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def both(opened: Servers) -> Any:
        return await names(opened), await opened.call("echo", {"text": "hi"})

    assert use({"s": server("no-schema")}, tmp_path, both) == (["echo"], ToolResult("hi"))
    assert 'the tool "bare" is left out' in caplog.text


def test_junk_on_standard_output_is_skipped(tmp_path: Path) -> None:
    assert "echo" in use({"s": server("junk")}, tmp_path, names)


def test_a_stdio_server_works_in_its_world(tmp_path: Path) -> None:
    result = use({"s": server(env={"MINE": "yes"})}, tmp_path, lambda opened: opened.call("where", {}))
    assert result == ToolResult(f"{tmp_path} {tmp_path} yes")


def test_text_is_given_and_pictures_are_named(tmp_path: Path) -> None:
    assert call(tmp_path, "picture") == ToolResult("look\n[image/png, 3 bytes]")


def test_what_goes_wrong_with_a_call_is_a_result(tmp_path: Path) -> None:
    assert call(tmp_path, "fail", text="no stock") == ToolResult("no stock", is_error=True)
    assert call(tmp_path, "hang", seconds=0.5) == ToolResult(
        'Error: "hang" did not answer within 0.5 s.', is_error=True
    )
    unknown = call(tmp_path, "ecko")
    assert unknown.is_error
    assert unknown.text.startswith('There is no tool "ecko". The tools are: die, echo')


def test_a_server_that_dies_during_a_call_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ServerDied, match=r"(?s)\"s\" ended during a call.*I am dying"):
        call(tmp_path, "die")


def test_a_tool_that_speaks_of_something_closed_is_still_there(tmp_path: Path) -> None:
    assert call(tmp_path, "shop") == ToolResult("Error: 'the shop is closed'", is_error=True)


def test_a_secret_of_the_environment_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "sesame-open")
    (tmp_path / "tutelage.toml").write_text("")
    entry = {"command": sys.executable, "args": [SERVER, "exit"], "env": {"TOKEN": "${MY_TOKEN}"}}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"s": entry}}))
    with pytest.raises(TutelageError, match="no licence found for …"):
        use(Project.open(tmp_path).mcp_servers({}), tmp_path, names)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (server("exit"), r"(?s)server \"s\" did not start: .*Its last lines:\nno licence found"),
        (McpServer(command="no-such-program"), r'did not start: "no-such-program" was not found'),
        (McpServer(url="http://127.0.0.1:9/mcp"), r'server "s" at http://127.0.0.1:9/mcp cannot be used'),
    ],
)
def test_a_server_that_does_not_start_says_why(entry: McpServer, words: str, tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match=words):
        use({"s": entry}, tmp_path, names)


def test_two_servers_may_not_offer_a_tool_of_the_same_name(tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match='"a" and "b" both offer a tool "echo"'):
        use({"a": server(), "b": server()}, tmp_path, names)
