"""The server before the student's endpoint."""

import json
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from endpoint_double import EndpointDouble, endpoint_double, fails, says
from serving import serving

from tutelage.agent.front import front, serve_front, shown
from tutelage.agent.student import StudentView
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.render.fit import CutResults
from tutelage.render.serving import Serving
from tutelage.settings import Settings, ToolResults

TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def view(folder: Path, tokens: int | None = 400, **more: Any) -> StudentView:
    cut = CutResults(prompt_tokens=tokens) if tokens else None
    given = {"thinking": True, "send_reasoning": True, "tool_results": ToolResults(), **more}
    return StudentView(Project(folder, Settings()), Serving(over_length=cut, **given))


def conversation(steps: int = 3, words: int = 100, beside: str | None = None) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": "Look."}]}]
    for number in range(steps):
        call = {"id": f"c{number}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        messages.append({"role": "assistant", "content": beside, "tool_calls": [call], "reasoning_content": "Hm."})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": "word " * words})
    return messages


def running(double: EndpointDouble, of: StudentView) -> AbstractContextManager[str]:
    return serving(front(double.url, of))


@contextmanager
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as made:
        yield made


def test_the_students_endpoint_gets_old_results_cut_and_all_else_as_it_was(tmp_path: Path) -> None:
    sent: Any = conversation()
    with (
        endpoint_double(says("Done.", reasoning="Yes.")) as double,
        running(double, view(tmp_path)) as url,
        client(url) as ours,
    ):
        answer = ours.chat.completions.create(model="student", messages=sent, tools=[TOOL], temperature=0.5)
    assert answer.choices[0].message.content == "Done."
    (got,) = double.requests
    contents = [message["content"] for message in got["messages"] if message["role"] == "tool"]
    assert "no longer shown" in contents[0] and contents[-1] == "word " * 100
    assert [message for message in got["messages"] if message["role"] != "tool"] == [
        message for message in sent if message["role"] != "tool"
    ]
    assert (got["tools"], got["temperature"]) == ([TOOL], 0.5)
    assert got["chat_template_kwargs"] == {"enable_thinking": True}


def test_an_error_of_the_endpoint_arrives_as_it_is(tmp_path: Path) -> None:
    sent: Any = conversation()
    with (
        endpoint_double(fails(400, "too long")) as double,
        running(double, view(tmp_path)) as url,
        client(url) as ours,
        pytest.raises(openai.BadRequestError, match="too long"),
    ):
        ours.chat.completions.create(model="student", messages=sent)


def test_an_endpoint_that_is_gone_is_said(tmp_path: Path) -> None:
    with (
        running(EndpointDouble([], url="http://127.0.0.1:9/v1"), view(tmp_path)) as url,
        client(url) as ours,
        pytest.raises(openai.InternalServerError, match=r"127\.0\.0\.1:9/v1 cannot be reached"),
    ):
        ours.models.list()


def test_what_the_adapter_says_is_done_to_a_request(tmp_path: Path) -> None:
    told = {"enable_thinking": True, "language": "en"}
    body = json.dumps(
        {"messages": conversation(1, beside="\n\n"), "tools": [TOOL], "chat_template_kwargs": told}
    ).encode()
    of = view(tmp_path, None, thinking=False, send_reasoning=False, tool_results=ToolResults(limit=50))
    got = json.loads(shown(body, of))
    assert got["chat_template_kwargs"] == {"enable_thinking": False, "language": "en"}
    assert "reasoning_content" not in got["messages"][1]
    assert got["messages"][2]["content"].endswith("… [cut: 50 of 500 characters shown]")
    assert got["messages"][1]["content"] == ""
    again = json.loads(shown(json.dumps(got).encode(), of))
    assert again["messages"] == got["messages"]  # our own agent cuts before it sends


def test_a_clients_developer_message_goes_through_and_hinders_nothing(tmp_path: Path) -> None:
    told = {"role": "developer", "content": "Be brief."}
    body = json.dumps({"messages": [told, *conversation(1)], "tools": [TOOL]}).encode()
    got = json.loads(shown(body, view(tmp_path, None, tool_results=ToolResults(limit=50))))
    assert got["messages"][0] == told
    assert got["messages"][3]["content"].endswith("… [cut: 50 of 500 characters shown]")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"messages": 5}', b'{"messages": [{"role": "robot"}]}'])
def test_what_is_no_conversation_is_left_to_the_engine(body: bytes, tmp_path: Path) -> None:
    assert shown(body, view(tmp_path)) == body


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(TutelageError, match="cannot be used"):
        serve_front("http://127.0.0.1:9/v1", view(tmp_path), "127.0.0.1", taken.getsockname()[1])
