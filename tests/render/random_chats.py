"""Random conversations, tools and JSON, with all that a rendering may trip over."""

import json
from dataclasses import dataclass

from hypothesis import strategies as st

from tutelage.trace import Message, Tool, ToolCall

PIECES = [
    *("a", "word", "12", "é", "漢", "😀", "\n", " ", "\t", '"', "\\", "/", "<", "&", "'", "{", "}", "\u2028", "\ufffe"),
    *("\x00", "\x01", "\x7f", "\b", "\f", "\x1f", "<|im_start|>", "<think>", "<tool_response>", "</tool_response>"),
]
NUMBERS = [
    *("0", "-0", "1", "-1", "12345678", "9223372036854775807", "9223372036854775808", "-9223372036854775808"),
    *("-9223372036854775809", "18446744073709551615", "18446744073709551616"),
    *("0.5", "1.0", "-0.0", "2.50", "0.1", "99999.95", "999999.5", "123456.789", "1000000.0", "1e5", "1E+2", "1e-7"),
    *("1e22", "1e15", "1e308", "5e-324", "1e-400", "3.14159265"),
]
NAMES = ("first", "second")

texts = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
plain_texts = texts.filter(lambda text: "<|im_" not in text)


@st.composite
def json_texts(draw: st.DrawFn, depth: int = 0) -> str:
    """JSON as somebody else would write it: other spacing, escapes, numbers, keys that stand there twice."""
    kind = draw(st.sampled_from(["number", "string", "word", "list", "object"] if depth < 3 else ["number", "string"]))
    if kind == "number":
        return draw(st.sampled_from(NUMBERS))
    if kind == "string":
        return json.dumps(draw(texts), ensure_ascii=draw(st.booleans()))
    if kind == "word":
        return draw(st.sampled_from(["true", "false", "null"]))
    if kind == "object":
        return draw(objects(depth=depth + 1))
    comma = draw(st.sampled_from([",", ", ", " ,\n "]))
    return "[" + comma.join(draw(st.lists(json_texts(depth=depth + 1), max_size=3))) + "]"


@st.composite
def objects(draw: st.DrawFn, depth: int = 0) -> str:
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")]))
    keys = draw(st.lists(st.sampled_from(["a", "b", "z", "é", "", 'q"\n']), max_size=3))
    return "{" + comma.join(json.dumps(key) + colon + draw(json_texts(depth=depth)) for key in keys) + "}"


@st.composite
def tools(draw: st.DrawFn, name: str) -> Tool:
    """A tool with its keys in any order, some of them missing, some that no engine knows."""
    described, default, more = json.dumps(draw(texts)), draw(json_texts()), draw(objects())
    properties = f'{{"z": {{"type": "string", "description": {described}, "default": {default}}}, "a": {{}}}}'
    parameters = f'{{"type": "object", "properties": {properties}, "x": {more}}}'
    fields = {"name": json.dumps(name), "description": json.dumps(draw(texts)), "parameters": parameters}
    fields["strict"] = "true"
    for key in ("description", "parameters", "strict"):
        if draw(st.booleans()):
            del fields[key]
    function = "{" + ",".join(f'"{key}": {fields[key]}' for key in draw(st.permutations(list(fields)))) + "}"
    halves = draw(st.permutations(['"type": "function"', f'"function": {function}']))
    return Tool(name=name, definition="{" + ", ".join(halves) + "}")


@dataclass(frozen=True)
class Chat:
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]

    def steps(self) -> list[int]:
        """Where the assistant's messages are."""
        return [index for index, message in enumerate(self.messages) if message.role == "assistant"]


@st.composite
def chats(draw: st.DrawFn, contents: st.SearchStrategy[str] = texts) -> Chat:
    messages = [Message(role="system", content=draw(texts))] if draw(st.booleans()) else []
    optional = st.none() | contents
    for turn in range(draw(st.integers(1, 2))):
        messages.append(Message(role="user", content=draw(texts)))
        for step in range(draw(st.integers(0, 2))):
            calls = tuple(
                ToolCall(id=f"c{turn}{step}{number}", name=draw(st.sampled_from(NAMES)), arguments=draw(objects()))
                for number in range(draw(st.integers(1, 2)))
            )
            content, reasoning = draw(optional), draw(optional)
            messages.append(Message(role="assistant", content=content, reasoning_content=reasoning, tool_calls=calls))
            messages += [Message(role="tool", content=draw(texts), tool_call_id=call.id) for call in calls]
        messages.append(Message(role="assistant", content=draw(contents), reasoning_content=draw(optional)))
    return Chat(tuple(messages), tuple(draw(tools(name)) for name in NAMES))
