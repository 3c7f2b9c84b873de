"""The judge of every rendering: what the serving engine itself says of a request."""

import json
import urllib.error
import urllib.request
from typing import Any


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
