"""Invariant 1: rows are what the serving engine itself renders and parses; the engine is the judge."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judge import END_OF_TURN, Judge, JudgeRefuses, check_parsed_back
from random_chats import PIECES, Chat, chats, plain_texts, texts

from tutelage.render.engine import CannotExpress
from tutelage.render.renderer import Renderer
from tutelage.trace import Message, Tool, ToolCall

random_test = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@settings(random_test, max_examples=400)
@given(
    text=texts | st.text() | st.lists(st.sampled_from([*"0123456789 \n\t", "  ", *PIECES]), max_size=40).map("".join)
)
def test_any_text_has_the_engines_tokens(judge: Judge, renderer: Renderer, text: str) -> None:
    assert renderer.tokenizer.encode(text) == judge.tokens(text)


def test_every_character_has_the_engines_tokens(judge: Judge, renderer: Renderer) -> None:
    characters = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(characters), 4096):
        text = "".join(f"a{character}b {character}1 " for character in characters[start : start + 4096])
        assert renderer.tokenizer.encode(text) == judge.tokens(text), hex(ord(characters[start]))


@settings(random_test, max_examples=60)
@given(chat=chats(), with_tools=st.booleans(), send_reasoning=st.booleans())
def test_any_prompt_is_the_engines(
    judge: Judge, renderer: Renderer, chat: Chat, with_tools: bool, send_reasoning: bool
) -> None:
    tools = chat.tools if with_tools else ()
    ours = Renderer(renderer.tokenizer, renderer.template.source, send_reasoning=send_reasoning)
    for step in chat.steps():
        history = chat.messages[:step]
        sent = [message.to_openai(reasoning=send_reasoning) for message in history]
        theirs = judge.prompt(sent, [json.loads(tool.definition) for tool in tools])
        assert ours.prompt_text(history, tools) == theirs


@pytest.mark.parametrize("arguments", ["", "{", "no", '{"a": NaN}', '{"a": 1e400}', r'{"a": "\ud800"}', '{"a": 01}'])
def test_arguments_that_the_engine_refuses_are_refused(judge: Judge, renderer: Renderer, arguments: str) -> None:
    messages = [
        Message(role="user", content="hello"),
        Message(role="assistant", tool_calls=(ToolCall(id="c", name="first", arguments=arguments),)),
        Message(role="tool", content="result", tool_call_id="c"),
    ]
    with pytest.raises(JudgeRefuses):
        judge.prompt([message.to_openai() for message in messages], [])
    with pytest.raises(CannotExpress):
        renderer.prompt_text(messages, [])


@pytest.mark.slow
@settings(random_test, max_examples=5)
@given(chat=chats(plain_texts))
def test_what_is_learnt_is_parsed_back_into_the_message(judge: Judge, renderer: Renderer, chat: Chat) -> None:
    for step in chat.steps():
        try:
            check_parsed_back(judge, renderer, chat.messages[: step + 1], chat.tools)
        except CannotExpress as refusal:
            assert refusal.reason in REFUSALS


REFUSALS = (
    "the answer is empty",
    "JSON with a number that is none or too large",
    "the answer's text holds the format's own markup",
    "the answer's text holds a special token",
)

CALL = ToolCall(id="c", name="first", arguments='{"a": 12345.678, "b": [1.0, 2e3], "c": {"d": "é \\u00e9 \\n"}}')


@pytest.mark.parametrize(
    ("answer", "thinking"),
    [
        (Message(role="assistant", content="Hello!"), True),
        (Message(role="assistant", content="Hello!", reasoning_content="dropped"), False),
        (Message(role="assistant", content=" Hello!\n", reasoning_content="I greet.\n"), True),
        (Message(role="assistant", content="I call:", reasoning_content="\nHm.\n\n", tool_calls=(CALL,)), True),
        (Message(role="assistant", content="I call:\n", reasoning_content="Hm.", tool_calls=(CALL, CALL)), True),
        (Message(role="assistant", tool_calls=(CALL,)), False),
        (Message(role="assistant", content="1 < 2 & <b>'\"", reasoning_content="<tool_call>?"), True),
    ],
)
def test_an_answer_is_parsed_back_into_the_message(
    judge: Judge, renderer: Renderer, answer: Message, thinking: bool
) -> None:
    tool = Tool(name="first", definition='{"type": "function", "function": {"name": "first", "parameters": {}}}')
    ours = Renderer(renderer.tokenizer, renderer.template.source, thinking)
    check_parsed_back(judge, ours, (Message(role="user", content="hello"), answer), (tool,))


@pytest.mark.parametrize(
    "answer",
    [
        Message(role="assistant", content="", reasoning_content="only this"),
        Message(role="assistant", content="a</think>b"),
        Message(role="assistant", content="ok", reasoning_content="a</think>b"),
        Message(role="assistant", content='<tool_call>\n{"name": "first"}\n</tool_call>'),
        Message(role="assistant", content="a<|im_end|>b"),
        Message(role="assistant", tool_calls=(ToolCall(id="c", name="unknown", arguments="{}"),)),
        Message(role="assistant", tool_calls=(ToolCall(id="c", name="first", arguments="[1]"),)),
    ],
)
def test_an_answer_that_would_be_read_otherwise_is_refused(renderer: Renderer, answer: Message) -> None:
    tool = Tool(name="first", definition='{"type": "function", "function": {"name": "first", "parameters": {}}}')
    with pytest.raises(CannotExpress):
        renderer.row((Message(role="user", content="hello"), answer), (tool,))


def test_what_the_model_itself_wrote_is_what_its_row_teaches(judge: Judge, renderer: Renderer) -> None:
    """Generated by the engine within a grammar that asks for reasoning and an answer, then parsed by it."""
    grammar = r'root ::= "<think>\n" [A-Za-z ,.]{10,60} "\n</think>\n\n" [A-Za-z][A-Za-z ,]{10,60} "."'
    messages = (Message(role="user", content="Which sea lies south of France?"),)
    sent = [message.to_openai() for message in messages]
    response = judge.complete(sent, [], grammar=grammar, max_tokens=60)
    row = renderer.row((*messages, Message.from_openai(response["choices"][0]["message"])), ())
    written = renderer.tokenizer.decode(response["__verbose"]["tokens"])
    assert response["usage"]["prompt_tokens"] == row.prompt_length
    taught = renderer.tokenizer.decode(row.input_ids[row.prompt_length :])
    assert taught.removesuffix(END_OF_TURN) == written.removesuffix(END_OF_TURN)
