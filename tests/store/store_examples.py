"""Small traces for the tests of the store and of what reads it."""

from collections.abc import Sequence

from tutelage.store import Recording, TraceStore
from tutelage.trace import Message, Step, StopReason, Task, Tool, ToolCall, now
from tutelage.world import Reward

TOOL = Tool(name="look", definition='{"type": "function", "function": {"name": "look", "z": 1, "a": 2}}', server="shop")


def record_trace(
    store: TraceStore,
    task: str = "t1",
    *,
    attempt: int = 0,
    run: str = "r",
    kind: str = "price",
    tool: str = "look",
    said: str = "12 EUR.",
    reasoning: str = "I look.",
    reward: float | None = 1.0,
    stop_reason: StopReason = StopReason.ANSWER,
    error: bool = False,
    steps: int = 2,
    finish: bool = True,
    tools: Sequence[Tool] = (TOOL,),
) -> Recording:
    """A trace of `steps` steps: calls of `tool`, then an answer."""
    asked = Task(id=task, turns=(f"What does lamp {task} cost?",), kind=kind)
    recording = store.begin(run=run, task=asked, attempt=attempt, model="m", tools=tools)
    recording.message(Message(role="system", content="You run a shop."))
    recording.message(Message(role="user", content=asked.turns[0]))
    for number in range(steps - 1):
        call = ToolCall(id=f"c{number}", name=tool, arguments='{"b": 1}')
        seen = 2 + 2 * number
        message = Message(role="assistant", reasoning_content=reasoning, tool_calls=(call,))
        recording.step(Step(seen=seen, started=now(), seconds=0.5, completion_tokens=7), message)
        recording.message(Message(role="tool", content="12 EUR", tool_call_id=call.id, is_error=error))
    step = Step(seen=2 * steps, started=now(), seconds=0.25)
    recording.step(step, Message(role="assistant", content=said))
    if finish:
        recording.finish(stop_reason, None if reward is None else Reward(reward, "because"))
    return recording
