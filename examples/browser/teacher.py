"""A scripted teacher behind an OpenAI-style endpoint: `python teacher.py PORT`. It is no model, and its name says so.

It knows the site and reads what it needs, the refs of links and fields included, from the page snapshots. It keeps
nothing between requests and reports no tokens, since it has no tokenizer.
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "scripted-browser-expert"
Reply = tuple[str, dict[str, Any]] | str  # a call, or the answer
SNAPSHOT: Reply = ("browser_snapshot", {})


def reply(messages: list[dict[str, Any]]) -> tuple[str, Reply]:
    """What the expert thinks, and does next."""
    prompt = next(message["content"] for message in messages if message["role"] == "user")
    page = messages[-1]["content"] if messages[-1]["role"] == "tool" else ""
    step = sum(message["role"] == "assistant" for message in messages)
    if step == 0:
        return "I open the site.", ("browser_navigate", {"url": "http://rooms.test/"})
    if step in (1, 3, 6):
        return "I look at the page.", SNAPSHOT
    if step == 2:
        room = chosen(prompt, rooms_of(page))
        if "how many seats" in prompt:
            return f"The table says it: {room['seats']}.", f"The {room['name']} room has {room['seats']} seats."
        return f"I open the page of {room['name']}.", ("browser_click", {"target": ref(page, "link", room["name"])})
    if step == 4:
        who = re.search(r" for (\w+ \w+) on ([\d-]+)", prompt)
        assert who
        fields = [
            {"target": ref(page, "textbox", name), "name": name, "type": "textbox", "value": value}
            for name, value in (("Name", who[1]), ("Day", who[2]))
        ]
        return "I fill in the form.", ("browser_fill_form", {"fields": fields})
    if step == 5:
        earlier = [message["content"] for message in messages if message["role"] == "tool"][3]
        return "Now I book.", ("browser_click", {"target": ref(earlier, "button", "Book")})
    number = re.search(r"Booking number: (B-\d+)", page)
    if not number:
        return "It did not work.", "The room was not booked."
    return "It is booked.", f"The room is booked. The booking number is {number[1]}."


def rooms_of(page: str) -> list[dict[str, Any]]:
    rows = re.findall(r'link "(\w+)".*?cell "(\d+)".*?cell "(\d+)"', page, re.DOTALL)
    return [{"name": name, "seats": int(seats), "price": int(price)} for name, seats, price in rows]


def chosen(prompt: str, rooms: list[dict[str, Any]]) -> dict[str, Any]:
    least = re.search(r"at least (\d+) seats", prompt)
    if least:
        return min((one for one in rooms if one["seats"] >= int(least[1])), key=lambda one: one["price"])
    return next(one for one in rooms if f"the {one['name']} room" in prompt)


def ref(page: str, role: str, name: str) -> str:
    """The name by which the page snapshot calls an element."""
    found = re.search(rf'{role} "{name}".*?\[ref=(\w+)\]', page)
    assert found, f"no {role} {name} in: {page}"
    return found[1]


class Endpoint(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(
            {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "tutelage"}]}
        )

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        thought, next_ = reply(asked["messages"])
        message: dict[str, Any] = {"role": "assistant", "content": None, "reasoning_content": thought}
        if isinstance(next_, str):
            message["content"] = next_
        else:
            call = {"name": next_[0], "arguments": json.dumps(next_[1])}
            message["tool_calls"] = [{"id": f"call_{len(asked['messages'])}", "type": "function", "function": call}]
        choice = {"index": 0, "message": message, "finish_reason": "stop" if isinstance(next_, str) else "tool_calls"}
        self._answer(
            {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": MODEL, "choices": [choice]}
        )

    def _answer(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Endpoint).serve_forever()
