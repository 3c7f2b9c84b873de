"""Random conversations: chats with all that a rendering may trip over, conversations as agents have them."""

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
# llama.cpp's parser takes a last "<" for the beginning of a tool call, and drops it.
plain_texts = texts.filter(lambda text: "<|im_" not in text and not text.rstrip().endswith("<"))


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
            content, reasoning = draw(optional | st.just("\n\n")), draw(optional)  # parsers leave white space there
            messages.append(Message(role="assistant", content=content, reasoning_content=reasoning, tool_calls=calls))
            messages += [Message(role="tool", content=draw(texts), tool_call_id=call.id) for call in calls]
        messages.append(Message(role="assistant", content=draw(contents), reasoning_content=draw(optional)))
    return Chat(tuple(messages), tuple(draw(tools(name)) for name in NAMES))


SEARCH = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "description": "what to look for"},
        "limit": {"type": "integer"},
        "price": {"type": "number"},
        "exact": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "place": {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "integer"}}},
        "after": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["query"],
}
NOTE = {"type": "object", "properties": {"text": {"type": "string"}, "file-name": {"type": "string"}}}
WORDS = [
    *(
        "the",
        "cup",
        "is",
        "blue.",
        "It's",
        "12",
        "€3.50",
        "“quoted”",
        '"quoted"',
        "a\\b",
        "<b>bold</b>",
        "漢字",
        "né",
        "😀",
    ),
    *("{x}", "[1]", "true", "100%", "\n", "\n\n- item", "\tcode()", "http://a.example/?q=1&b=2", "null", "C:\\temp"),
]
sentences = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(lambda words: " ".join(words).rstrip() or "so")
lines = st.lists(st.sampled_from([word for word in WORDS if word.isprintable()]), min_size=1, max_size=4).map(" ".join)


@st.composite
def searches(draw: st.DrawFn) -> str:
    """Arguments that fit SEARCH, as a model writes them."""
    values: dict[str, st.SearchStrategy[object]] = {
        "query": lines,
        "limit": st.integers(-5, 10**6),
        "price": st.floats(-1e4, 1e4).map(lambda price: round(price, 2)),
        "exact": st.booleans(),
        "tags": st.lists(lines, max_size=2),
        "place": st.fixed_dictionaries({"city": lines}, optional={"zip": st.integers(0, 99999)}),
        "after": st.none() | st.just("yesterday"),
    }
    more = draw(st.lists(st.sampled_from(sorted(values)[:-1]), unique=True, max_size=2))
    return json.dumps({key: draw(values[key]) for key in ["query", *(key for key in more if key != "query")]})


@st.composite
def conversations(draw: st.DrawFn) -> Chat:
    """A conversation as agents have them: a teacher that reasons or does not, calls in parallel or does not."""
    with_tools, reasons, parallel = (
        draw(st.sampled_from([True, True, True, False])),
        draw(st.booleans()),
        draw(st.booleans()),
    )
    speaks = draw(st.booleans())  # beside its calls
    names = {"search": searches(), "take_note": st.fixed_dictionaries({"text": sentences}).map(json.dumps)}
    reasoning = sentences if reasons else st.none()
    messages = [Message(role="system", content=draw(sentences))] if draw(st.booleans()) else []
    for turn in range(draw(st.integers(1, 3))):
        messages.append(Message(role="user", content=draw(sentences)))
        for step in range(draw(st.integers(0, 3)) if with_tools else 0):
            calls = []
            for number in range(draw(st.integers(1, 3)) if parallel else 1):
                name = draw(st.sampled_from(sorted(names)))
                calls.append(ToolCall(id=f"call{turn}{step}{number}", name=name, arguments=draw(names[name])))
            content = draw(sentences) if speaks else None
            messages.append(
                Message(role="assistant", content=content, reasoning_content=draw(reasoning), tool_calls=tuple(calls))
            )
            messages += [Message(role="tool", content=draw(sentences), tool_call_id=call.id) for call in calls]
        messages.append(Message(role="assistant", content=draw(sentences), reasoning_content=draw(reasoning)))
    return Chat(tuple(messages), TOOLS if with_tools else ())


TOOLS = tuple(
    Tool(
        name=name,
        definition=json.dumps(
            {"type": "function", "function": {"name": name, "description": text, "parameters": schema}}
        ),
    )
    for name, text, schema in (("search", "Find a product.", SEARCH), ("take_note", "Write it down.", NOTE))
)
