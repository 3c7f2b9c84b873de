"""The `openai` SDK through the proxy: chat completions and Responses, streamed and not. Only its base URL differs."""

import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from agent_clients import KEY, TOOL, Talk, openai_messages
from aiohttp import web
from record_helpers import drained, recording, shape
from scripted_endpoint import ScriptedEndpoint, scripted_endpoint
from serving import serving

from tutelage.record.spool import Spool
from tutelage.store import TraceStore
from tutelage.trace import StopReason

CUTS = [0, 1, 5, 100_000]


def chat(url: str, question: str, *, stream: bool, turns: int = 1) -> list[Any]:
    questions = tuple(f"{question} {turn}" for turn in range(turns))
    return openai_messages(url, Talk(questions=questions), stream=stream)


@pytest.mark.parametrize(("stream", "cut"), [(False, 0), *((True, cut) for cut in CUTS)])
def test_a_conversation_of_several_turns_is_one_trace_that_equals_what_the_client_saw(
    spool: Spool, store: TraceStore, stream: bool, cut: int
) -> None:
    with scripted_endpoint(cut=cut) as double, recording(double.url, spool) as url:
        saw = chat(url, "What does the lamp cost?", stream=stream, turns=2)
    (trace,) = drained(spool, store)
    assert len(trace.messages) == len(saw) == 15
    for message, seen in zip(trace.messages, saw, strict=True):
        assert (message.role, message.content or "") == (seen["role"], seen.get("content") or "")
        calls = [
            (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in seen.get("tool_calls", ())
        ]
        assert [(call.id, call.name, call.arguments) for call in message.tool_calls] == calls
        assert message.tool_call_id == seen.get("tool_call_id")
    thoughts = [message.reasoning_content for message in trace.messages if message.role == "assistant"]
    assert thoughts == ["Where is the lamp?\n", "Not here.", "That is all."] * 2
    assert [step.seen for step in trace.steps] == [2, 4, 7, 9, 11, 14]
    assert (trace.stop_reason, trace.model, trace.task.kind) == (StopReason.ANSWER, "scripted", "recorded")
    assert trace.task.turns == ("What does the lamp cost? 0", "What does the lamp cost? 1")
    assert [tool.to_openai() for tool in trace.tools] == [TOOL]
    assert all(message.weight == 1 for message in trace.messages)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "think"])
@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_stands_apart_wherever_the_server_put_it(
    spool: Spool, store: TraceStore, stream: bool, name: str
) -> None:
    with scripted_endpoint(reasoning_field=name) as double, recording(double.url, spool) as url:
        chat(url, "Look!", stream=stream)
    (trace,) = drained(spool, store)
    given = [message for message in trace.messages if message.role == "assistant"]
    assert [message.reasoning_content for message in given] == ["Where is the lamp?\n", "Not here.", "That is all."]
    assert [message.content or "" for message in given][:2] == ["", "One more look."]


def test_the_key_goes_to_the_endpoint_and_nowhere_else(spool: Spool, store: TraceStore, tmp_path: Path) -> None:
    with scripted_endpoint() as double, recording(double.url, spool) as url:
        chat(url, f"My key is {KEY}, is it?", stream=True)
    assert {found["authorization"] for found in double.headers} == {f"Bearer {KEY}"}
    waiting = [path.read_bytes() for path in spool.folder.glob("*.json")]
    assert waiting and not any(KEY.encode() in data for data in waiting)
    (trace,) = drained(spool, store)
    assert trace.task.turns == ("My key is [key], is it? 0",)
    with sqlite3.connect(tmp_path / "traces.db") as database:
        assert KEY not in "".join(database.iterdump())


def test_an_error_arrives_as_it_is_and_is_not_recorded(spool: Spool, store: TraceStore) -> None:
    with scripted_endpoint(failures=[429]) as double, recording(double.url, spool) as url:
        with pytest.raises(openai.RateLimitError, match="scripted failure"):
            chat(url, "Look.", stream=True)
        chat(url, "Look.", stream=False)
    (trace,) = drained(spool, store)
    assert len(trace.steps) == 3


def test_an_endpoint_that_is_gone_is_said_and_others_paths_go_through(spool: Spool) -> None:
    with (
        recording("http://127.0.0.1:9/v1", spool) as url,
        openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client,
        pytest.raises(openai.InternalServerError, match=r"127\.0\.0\.1:9/v1 cannot be reached"),
    ):
        client.models.list()
    with (
        scripted_endpoint() as double,
        recording(double.url, spool) as url,
        openai.OpenAI(base_url=url, api_key=KEY) as client,
    ):
        assert [model.id for model in client.models.list()] == ["scripted"]


def test_the_bytes_of_a_stream_arrive_as_they_were_sent(spool: Spool) -> None:
    import urllib.request

    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "Look."}]}).encode()

    def ask(url: str) -> bytes:
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{url}/chat/completions", body, headers)) as answer:
            return bytes(answer.read())

    with scripted_endpoint() as double, recording(double.url, spool) as url:
        double.script = lambda results, asked: ScriptedEndpoint.script(3, asked)
        assert ask(url) == ask(double.url)
    assert len(spool.waiting()) == 1


def test_a_request_that_is_compressed_goes_through_as_it_is_and_is_recorded(spool: Spool, store: TraceStore) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": f"My key is {KEY}."}]}).encode()
    answered: list[bytes] = []

    async def answer(request: web.Request) -> web.Response:
        answered.append(await request.read())  # as it came: the server does not unpack it
        return web.json_response({"choices": [{"message": {"role": "assistant", "content": "So?"}}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    with serving(app) as upstream, recording(upstream, spool) as url:
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        for encoding, packed in (("gzip", gzip.compress(body)), ("zstd", b"(what nobody here can read)")):
            httpx2.post(f"{url}/chat/completions", content=packed, headers={**headers, "content-encoding": encoding})
    assert [gzip.decompress(answered[0]), answered[1]] == [body, b"(what nobody here can read)"]
    (trace,) = drained(spool, store)
    assert [message.content for message in trace.messages] == ["My key is [key].", "So?"]


def test_several_answers_to_one_request_are_a_trace_each(spool: Spool, store: TraceStore) -> None:
    request = {"model": "m", "n": 2, "messages": [{"role": "user", "content": "Toss."}]}
    choices = [
        {"message": {"role": "assistant", "content": side}, "finish_reason": "stop"} for side in ("heads", "tails")
    ]
    from tutelage.trace import now

    spool.write("chat", now(), 1.0, json.dumps(request).encode(), {"choices": choices}, [])
    traces = drained(spool, store)
    assert [shape(trace) for trace in traces] == [["u: Toss.", "a: heads"], ["u: Toss.", "a: tails"]]
    assert [trace.attempt for trace in traces] == [0, 1]
