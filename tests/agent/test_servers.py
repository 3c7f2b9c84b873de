import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp_types import ElicitRequestParams, ElicitResult

from tutelage.agent.offer import Audience, Offer
from tutelage.agent.results import ToolResult
from tutelage.agent.servers import Elicit, ServerDied, Servers, connect_servers
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.settings import McpServer, ToolRules
from tutelage.world import World
from tutelage.world.reaper import processes

SERVER = str(Path(__file__).with_name("misbehaving_server.py"))
SDK = McpServer(command=sys.executable, args=(str(Path(__file__).with_name("sdk_server.py")),))
ASKING = McpServer(command=sys.executable, args=(str(Path(__file__).with_name("asking_server.py")),))


def server(mode: str = "ordinary", **more: Any) -> McpServer:
    return McpServer(command=sys.executable, args=(SERVER, mode), **more)


def use(
    servers: dict[str, McpServer],
    folder: Path,
    act: Callable[[Servers], Awaitable[Any]],
    seconds: float = 30,
    offer: Offer | None = None,
    elicit: Elicit | None = None,
) -> Any:
    async def run() -> Any:
        world = World("w1", folder)
        async with connect_servers(servers, world, offer=offer, tool_seconds=seconds, elicit=elicit) as opened:
            return await act(opened)

    return asyncio.run(run())


def call(folder: Path, name: str, seconds: float = 30, **arguments: str) -> ToolResult:
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


def test_what_a_text_cannot_show_is_named_in_it_and_attached_whole(tmp_path: Path) -> None:
    async def both(opened: Servers) -> Any:
        return await opened.call("everything", {}), await opened.call("weather", {})

    result, weather = use({"s": SDK}, tmp_path, both)
    assert result.text.splitlines() == [
        "look",
        "[image/png, 3 bytes]",
        "[audio/wav, 2 bytes]",
        "[resource file:///notes.txt: text/plain, notes]",
        "a memo",
        "[memo://2, application/pdf, 2 bytes]",
    ]
    attached = [(one.part.mime_type, one.part.name, one.data) for one in result.attachments]
    assert attached == [
        ("image/png", "", b"\0\1\2"),
        ("audio/wav", "", b"\3\4"),
        ("application/pdf", "memo://2", b"\5\6"),
    ]
    assert (json.loads(weather.text), weather.attachments) == ({"degrees": 21.5}, ())  # said once


def test_five_megabytes_arrive(tmp_path: Path) -> None:
    result = use({"s": SDK}, tmp_path, lambda opened: opened.call("big", {"megabytes": 5}))
    assert len(result.text) == 5 * 2**20


def test_a_call_has_time_as_long_as_it_reports_progress_and_is_cancelled_then(tmp_path: Path) -> None:
    async def act(opened: Servers) -> Any:
        slowly = await opened.call("slowly", {"reports": 8})
        forever = await opened.call("forever", {})
        return slowly, forever, await opened.call("cancelled", {})

    slowly, forever, cancelled = use({"s": SDK}, tmp_path, act, seconds=2.5)
    assert slowly == ToolResult("done")
    assert forever == ToolResult('Error: "forever" did not answer within 2.5 s.', is_error=True)
    assert cancelled == ToolResult("true")


def test_tools_that_change_meanwhile_do_not_change_what_the_model_sees(tmp_path: Path) -> None:
    async def act(opened: Servers) -> Any:
        before = opened.tools
        await opened.call("learn", {})
        again = await opened.call("roots", {})
        return before == opened.tools, opened.tools_changed, again.is_error, await opened.call("later", {})

    same, changed, failed, later = use({"s": ASKING}, tmp_path, act)
    assert (same, changed, failed, later.is_error) == (True, True, False, True)


@pytest.mark.parametrize(
    ("tool", "said"), [("roots", '"file://{}"'), ("sampling", '"code": -32'), ("elicitation", '"action": "decline"')]
)
def test_a_server_that_asks_gets_a_sane_answer(tool: str, said: str, tmp_path: Path) -> None:
    result = use({"s": ASKING}, tmp_path, lambda opened: opened.call(tool, {}))
    assert said.format(tmp_path) in result.text


def test_a_person_answers_a_server_and_may_take_longer_than_a_call(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    async def person(server: str, question: ElicitRequestParams) -> ElicitResult:
        asked.append((server, question.message))
        await asyncio.sleep(1)
        return ElicitResult(action="accept", content={"sure": True})

    result = use({"s": ASKING}, tmp_path, lambda opened: opened.call("elicitation", {}), seconds=0.5, elicit=person)
    assert asked == [("s", "Sure?")]
    assert json.loads(result.text) == {"action": "accept", "content": {"sure": True}}


def test_names_that_apis_refuse_are_mapped_and_both_are_kept(tmp_path: Path) -> None:
    async def act(opened: Servers) -> Any:
        return opened.tools, await opened.call("draw_line_now", {"line": {"start": {"x": 1}, "end": {"x": 2}}})

    tools, result = use({"s": SDK}, tmp_path, act)
    (tool,) = [tool for tool in tools if tool.original]
    assert (tool.name, tool.original, result.text) == ("draw_line_now", "draw.line/now", "1 to 2")
    assert "$ref" not in tool.definition


def test_a_name_of_two_servers_gets_the_servers_before_it(tmp_path: Path) -> None:
    async def act(opened: Servers) -> Any:
        return [tool.name for tool in opened.tools][:2], await opened.call("b_echo", {"text": "hi"})

    both = {"a": server("no-schema"), "b": server("no-schema")}
    assert use(both, tmp_path, act) == (["a_echo", "b_echo"], ToolResult("hi"))


RULES = ToolRules(exclude=("big",), deny=("@destructive",), ask=("fo*",), student=("@read-only",))


@pytest.mark.parametrize(
    ("audience", "shown", "hidden"),
    [
        (Audience.TEACHER, {"token", "weather"}, {"big", "background", "forever", "cancelled"}),
        (Audience.PERSON, {"token", "weather", "forever"}, {"big", "background", "cancelled"}),
        (Audience.STUDENT, {"token"}, {"weather", "big", "background", "forever", "cancelled"}),
    ],
)
def test_who_must_not_call_a_tool_is_not_offered_it(
    audience: Audience, shown: set[str], hidden: set[str], tmp_path: Path
) -> None:
    async def act(opened: Servers) -> Any:
        return await names(opened), await opened.call("background", {})

    offered, refused = use({"s": SDK}, tmp_path, act, offer=Offer({"s": RULES}, audience))
    assert shown <= set(offered)
    assert not hidden & set(offered)
    assert "There is no tool" in refused.text


def test_more_tools_than_a_small_model_bears_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match=r"offer 7 tools, more than \[rollout\] max_tools \(5\)"):
        use({"s": server()}, tmp_path, names, offer=Offer(max_tools=5))


def test_what_a_server_left_running_is_ended_with_its_world(tmp_path: Path) -> None:
    async def act(opened: Servers) -> Any:
        text = (await opened.call("background", {})).text
        return int(text), processes(tmp_path)

    pid, while_open = use({"s": SDK}, tmp_path, act)
    assert pid in while_open
    assert processes(tmp_path) == []


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


@pytest.mark.parametrize("secret", ["sesame-open", "sesame-" * 100], ids=["short", "longer than a path may be"])
def test_a_secret_of_the_environment_is_not_repeated(
    secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", secret)
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


def test_secrets_of_the_servers_entry_are_not_repeated_to_the_model(tmp_path: Path) -> None:
    (tmp_path / "tutelage.toml").write_text("")
    entry = {"command": sys.executable, "args": list(SDK.args), "env": {"API_TOKEN": "sesame-open-7"}}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"s": entry}}))
    servers = Project.open(tmp_path).mcp_servers({})
    assert use(servers, tmp_path, lambda opened: opened.call("token", {})) == ToolResult("the token is …")
