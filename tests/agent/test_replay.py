import asyncio
import sys
from pathlib import Path

from tutelage.agent.replay import Decision, Question, Replay
from tutelage.agent.servers import connect_servers
from tutelage.settings import McpServer
from tutelage.trace import Message, ToolCall
from tutelage.world import World

SERVER = McpServer(command=sys.executable, args=(str(Path(__file__).with_name("misbehaving_server.py")), "ordinary"))


def step(text: str, result: str) -> list[Message]:
    """A call of echo, under the id that every step's first call has where the endpoint gives none."""
    call = ToolCall(id="call_0", name="echo", arguments=f'{{"text": "{text}"}}')
    return [
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content=result, tool_call_id="call_0"),
    ]


def test_each_call_is_held_against_the_result_of_its_own_step(tmp_path: Path) -> None:
    history = [Message(role="user", content="go"), *step("one", "one"), *step("two", "other"), *step("three", "three")]
    calls = [call for message in history for call in message.tool_calls]
    asked: list[Question] = []

    async def decide(question: Question) -> Decision:
        asked.append(question)
        return Decision.GO_ON

    async def run() -> list[Message]:
        async with connect_servers({"s": SERVER}, World("w", tmp_path)) as servers:
            return await Replay(servers, calls, lambda text: text[:1000], decide).run(history)

    replayed = asyncio.run(run())
    assert [message.content for message in replayed if message.role == "tool"] == ["one", "two", "three"]
    assert [(each.step, each.recorded, each.given) for each in asked if each.given] == [(2, "other", "two")]
