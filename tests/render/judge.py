"""The judge of every rendering: what the serving engine itself says of a request."""

import json
import urllib.error
import urllib.request
from typing import Any

from tutelage.render.renderer import Renderer
from tutelage.trace import Message, Tool

END_OF_TURN = "<|im_end|>"


class JudgeRefuses(Exception):
    """The engine answered with an error."""


class Judge:
    """What the engine itself says of a request."""

    def __init__(self, url: str) -> None:
        self.url = url.removesuffix("/v1")

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            raise JudgeRefuses(error.read().decode()) from None

    def tokens(self, text: str) -> list[int]:
        body = {"content": text, "add_special": False, "parse_special": True}
        return list(self.post("/tokenize", body)["tokens"])

    def prompt(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], **more: Any) -> str:
        return str(self.post("/apply-template", body(messages, tools, **more))["prompt"])

    def complete(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        more = {"temperature": 0, "verbose": True, "return_tokens": True, **more}
        return self.post("/v1/chat/completions", body(messages, tools, **more))


def body(messages: list[dict[str, Any]], tools: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"messages": messages, **({"tools": tools} if tools else {}), **more}


def check_parsed_back(judge: Judge, renderer: Renderer, messages: tuple[Message, ...], tools: tuple[Tool, ...]) -> None:
    """Put the row's own text in the model's mouth, let it end there, and have the engine parse it.

    The engine says what prompt it made of this: prompt and completion of the row, to the token.
    """
    row = renderer.row(messages, tools)
    completion = renderer.tokenizer.decode(row.input_ids[row.prompt_length :])
    assert completion.endswith(END_OF_TURN)
    text = completion.removesuffix(END_OF_TURN)
    definitions = [json.loads(tool.definition) for tool in tools]
    sent = [message.to_openai(reasoning=renderer.thinking) for message in messages[:-1]]
    more: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": renderer.thinking}}
    assert renderer.tokenizer.encode(judge.prompt(sent, definitions, **more)) == row.input_ids[: row.prompt_length]
    spoken = {"role": "assistant", "content": text}
    if renderer.thinking:
        thought, _, rest = text.removeprefix("<think>\n").partition("\n</think>\n\n")
        spoken = {"role": "assistant", "reasoning_content": thought, "content": rest}
    (end,) = renderer.tokenizer.encode(END_OF_TURN)
    response = judge.complete([*sent, spoken], definitions, max_tokens=3, logit_bias=[[end, 1e6]], **more)
    prompt = renderer.tokenizer.decode(row.input_ids).removesuffix(END_OF_TURN)
    assert response["__verbose"]["prompt"] == prompt
    assert response["__verbose"]["content"].strip() in ("", text.strip())  # nothing was added to the row's own text
    assert_same(Message.from_openai(response["choices"][0]["message"]), messages[-1], renderer.thinking)


def assert_same(parsed: Message, message: Message, thinking: bool) -> None:
    """Equal but for newlines around reasoning and content, which the template sets or takes."""
    assert (parsed.content or "").strip("\n") == (message.content or "").strip("\n")
    if thinking:
        assert (parsed.reasoning_content or "").strip("\n") == (message.reasoning_content or "").strip("\n")
    assert [call.name for call in parsed.tool_calls] == [call.name for call in message.tool_calls]
    assert [json.loads(call.arguments) for call in parsed.tool_calls] == [
        json.loads(call.arguments) for call in message.tool_calls
    ]
