"""Hand-made traces and projects that the dataset's tests use."""

from collections.abc import Callable
from pathlib import Path

from tutelage.project import Project
from tutelage.trace import Message, Tool, ToolCall

PRICE = Tool(
    name="price",
    definition='{"type": "function", "function": {"name": "price", "description": "A product\'s price", "parameters": '
    '{"type": "object", "properties": {"product": {"type": "string"}}, "required": ["product"]}}}',
)
SETTINGS = 'name = "small"\n[dataset]\nvalidation = 0.1\n'

Record = Callable[..., str]


def conversation(product: str) -> list[Message]:
    call = ToolCall(id=f"call_{product}", name="price", arguments=f'{{"product": "{product}"}}')
    return [
        Message(role="user", content=f"What does {product} cost?"),
        Message(role="assistant", content="", reasoning_content="I look it up.", tool_calls=(call,)),
        Message(role="tool", content=f"{product}: 12.50", tool_call_id=call.id),
        Message(role="assistant", content=f"{product} costs 12.50.", reasoning_content="Found."),
    ]


def make_project(folder: Path, settings: str) -> Project:
    (folder / "tutelage.toml").write_text(settings)
    return Project.open(folder)
