"""Wherever the bytes of a streamed answer are cut, its end is handed on only once the exchange is on disk."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_endpoint import scripted_endpoint

from tutelage.record.events import EventReader
from tutelage.record.proxy import Copy, recorded
from tutelage.record.spool import Spool, read

ASKED: dict[str, tuple[str, dict[str, Any]]] = {  # dialect -> path, request
    "chat": ("chat/completions", {"messages": [{"role": "user", "content": "Wo ist die Lampe, 💡?"}]}),
    "responses": ("responses", {"input": "Wo ist die Lampe, 💡?"}),
    "anthropic": ("messages", {"messages": [{"role": "user", "content": "Wo ist die Lampe, 💡?"}]}),
}


def streamed(path: str, body: dict[str, Any]) -> bytes:
    import urllib.request

    data = json.dumps({"model": "m", "stream": True, "max_tokens": 9, **body}).encode()
    with scripted_endpoint() as double:
        asked = urllib.request.Request(f"{double.url}/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked) as answer:
            return bytes(answer.read())


class Cut:
    """An answer whose bytes come in pieces."""

    def __init__(self, parts: list[bytes]) -> None:
        self.content = self
        self._parts = parts

    async def iter_any(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


def through(spool: Spool, dialect: str, body: bytes, parts: list[bytes]) -> list[tuple[bytes, int]]:
    """What a client is given, piece by piece, and how many exchanges are on disk by then."""

    async def run() -> list[tuple[bytes, int]]:
        copy = Copy(spool, dialect, body, {})
        answer: Any = Cut(parts)
        return [(part, len(spool.waiting())) async for part in recorded(answer, copy)]

    return asyncio.run(run())


@pytest.fixture(scope="module", params=ASKED)
def stream(request: pytest.FixtureRequest) -> tuple[str, bytes, bytes]:
    """Dialect, request, and the bytes of the answer."""
    path, asked = ASKED[request.param]
    return request.param, json.dumps(asked).encode(), streamed(path, asked)


def check(folder: Path, stream: tuple[str, bytes, bytes], parts: list[bytes]) -> None:
    dialect, body, whole = stream
    spool = Spool(folder / uuid4().hex)
    given = through(spool, dialect, body, parts)
    assert b"".join(part for part, _ in given) == whole
    reader, events = EventReader(), len(EventReader().feed(whole))
    for end in range(1, len(whole) + 1):  # with which a client has all events
        events -= len(reader.feed(whole[end - 1 : end]))
        if not events:
            break
    handed_on = 0
    for part, on_disk in given:
        handed_on += len(part)
        assert on_disk == 1 or handed_on < end
    (waiting,) = spool.waiting()
    found = read(waiting)
    reference = Spool(folder / uuid4().hex)
    through(reference, dialect, body, [whole])
    assert found["response"] == read(reference.waiting()[0])["response"]


def test_byte_by_byte(tmp_path: Path, stream: tuple[str, bytes, bytes]) -> None:
    check(tmp_path, stream, [stream[2][n : n + 1] for n in range(len(stream[2]))])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cut_anywhere(tmp_path: Path, stream: tuple[str, bytes, bytes], data: st.DataObject) -> None:
    whole = stream[2].replace(b"\n", data.draw(st.sampled_from([b"\n", b"\r\n", b"\n: a comment\n"])))
    places = sorted({0, len(whole), *data.draw(st.lists(st.integers(0, len(whole)), max_size=8))})
    parts = [whole[start:end] for start, end in pairwise(places)]
    check(tmp_path, (*stream[:2], whole), parts)


def test_of_several_answers_each_comes_as_it_is_given(tmp_path: Path) -> None:
    """Also where the first one ends before the second one begins."""
    deltas = [(0, "heads", None), (0, "", "stop"), (1, "ta", None), (1, "ils", None), (1, "", "stop")]
    parts = [
        b"data: %s\n\n" % json.dumps({"choices": [{"index": n, "delta": {"content": t}, "finish_reason": f}]}).encode()
        for n, t, f in deltas
    ]
    parts.append(b"data: [DONE]\n\n")
    spool = Spool(tmp_path / "recordings")
    given = through(spool, "chat", json.dumps({"n": 2, **ASKED["chat"][1]}).encode(), parts)
    first, second = parts[1:3]
    assert given == [
        (parts[0], 0),
        (first + second, 0),
        (parts[3], 0),
        (parts[4] + parts[5], 1),
    ]
    choices = read(spool.waiting()[0])["response"]["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["heads", "tails"]
