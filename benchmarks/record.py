"""What `tutelage record` adds to an agent's traffic, against the same upstream without it.

    python benchmarks/record.py [--short] [--pace 20]

The upstream, a process of its own, streams answers of 20 to 60 tokens, each token with the moment it was sent. The
client holds conversations of four turns over it, directly and through `tutelage record` on a SQLite store, in turns,
one and then 64 at a time. Prints one `figure: value` line each:

    chunk_ms            median of sent-to-received through the proxy, less the same directly; one at a time
    first_token_ms      the same from the request to the first token
    chunk_ms_at_64, first_token_ms_at_64
    throughput_ratio    requests a second at 64 at a time, through the proxy over directly
    throughput_ratio_unpaced, requests_a_second_unpaced    the same of an upstream that never waits
    proxy_cpu_ms_a_chunk, recorder_cpu_ms_a_request    processor time, which another load on the machine leaves alone
    lost                exchanges that the client saw the end of and that no trace holds

An endpoint is a model, and a model has a pace: by default 20 tokens a second and stream, 1,280 in all at 64, a large
model under load. The bar is held against that. Without a pace nothing is measured but processor time: upstream, client
and proxy share this machine's cores, and the ratio says how much dearer a token is through the proxy than made by a
scripted upstream and read by a client of a few lines. It tells what the proxy carries at the most.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# The proxy as a process, and its upstream.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "record"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "doubles"))

from killing import Proxy

from tutelage.store import TraceStore

AT_ONCE = 64
TOKENS = 20, 60  # of an answer, at least and at most: agents do not keep step
TURNS = 4  # of a conversation
PROMPT = "The shop has lamps, chairs and tables in many colours, and each has a price and a shelf. " * 40
PACE = re.compile(rb'"pace": ([\d.]+)')
SENT = re.compile(rb'"content": "(\d+) "')
END = b"0\r\n\r\n"
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="one round of a few seconds")
    parser.add_argument("--pace", type=float, default=20.0, help="tokens a second of each stream")
    arguments = parser.parse_args()
    rounds, seconds = (1, 4.0) if arguments.short else (3, 8.0)
    ready: Any = multiprocessing.Queue()
    upstream = multiprocessing.Process(target=serve_upstream, args=(ready,), daemon=True)
    upstream.start()
    direct = f"http://127.0.0.1:{ready.get()}/v1"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tutelage.toml").write_text("")
        proxy = Proxy(Path(folder), direct)
        through = proxy.start()
        assert proxy.process
        pid, pace = proxy.process.pid, arguments.pace
        alone = alternate(direct, through, 1, rounds, seconds, pace)
        before = cpu(pid)
        loaded = alternate(direct, through, AT_ONCE, rounds, seconds, pace)
        spent = [now - then for now, then in zip(cpu(pid), before, strict=True)]
        unpaced = alternate(direct, through, AT_ONCE, rounds, seconds, 0.0)
        proxy.stop()
        finished = sum(measured[1].requests for measured in (alone, loaded, unpaced))
        with TraceStore(f"sqlite:///{Path(folder) / 'traces.db'}") as store:
            recorded = sum(len(trace.steps) for trace in store.traces(run="record"))
    upstream.kill()
    figures = {
        "chunk_ms": alone[1].chunk() - alone[0].chunk(),
        "first_token_ms": alone[1].first() - alone[0].first(),
        "chunk_ms_at_64": loaded[1].chunk() - loaded[0].chunk(),
        "first_token_ms_at_64": loaded[1].first() - loaded[0].first(),
        "throughput_ratio": loaded[1].rate() / loaded[0].rate(),
        "requests_a_second": loaded[1].rate(),
        "requests_a_second_directly": loaded[0].rate(),
        "throughput_ratio_unpaced": unpaced[1].rate() / unpaced[0].rate(),
        "requests_a_second_unpaced": unpaced[1].rate(),
        "proxy_cpu_ms_a_chunk": 1000 * spent[0] / (len(loaded[1].chunks) + loaded[1].requests),
        "recorder_cpu_ms_a_request": 1000 * spent[1] / loaded[1].requests,
    }
    for name, value in figures.items():
        print(f"{name}: {value:.3g}")
    print(f"requests: {finished}\nlost: {finished - recorded}")


@dataclass
class Measured:
    requests: int = 0
    seconds: float = 0.0
    chunks: list[float] = field(default_factory=list)  # ms from sent to received
    firsts: list[float] = field(default_factory=list)  # ms from the request to the first token

    def chunk(self) -> float:
        return statistics.median(self.chunks)

    def first(self) -> float:
        return statistics.median(self.firsts)

    def rate(self) -> float:
        return self.requests / self.seconds


def alternate(
    direct: str, through: str, at_once: int, rounds: int, seconds: float, pace: float
) -> tuple[Measured, Measured]:
    """Ask directly and through the proxy in turns."""
    measured = Measured(), Measured()
    for _ in range(rounds):
        for url, into in zip((direct, through), measured, strict=True):
            asyncio.run(load(url, at_once, seconds, pace, into))
    return measured


async def load(url: str, at_once: int, seconds: float, pace: float, into: Measured) -> None:
    """Conversations, `at_once` of them, for `seconds`; each ends its last request."""
    start = time.monotonic()
    await asyncio.gather(*(converse(url, start + seconds, pace, into) for _ in range(at_once)))
    into.seconds += time.monotonic() - start


async def converse(url: str, end: float, pace: float, into: Measured) -> None:
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    while time.monotonic() < end:
        messages: list[dict[str, str]] = []
        for _ in range(TURNS):
            messages.append({"role": "user", "content": f"{id(reader)} {time.monotonic_ns()}: {PROMPT}"})
            messages.append({"role": "assistant", "content": await ask(reader, writer, messages, pace, into)})
            if time.monotonic() >= end:
                break
    writer.close()


async def ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    messages: list[dict[str, str]],
    pace: float,
    into: Measured,
) -> str:
    """One streamed request over a connection that stays open; the answer."""
    body = json.dumps({"model": "m", "stream": True, "pace": pace, "messages": messages}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-benchmark-key\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    asked = time.monotonic_ns()
    answer, rest, first = "", b"", True
    while True:
        part = await reader.read(65536)
        received = time.monotonic_ns()
        if not part:
            raise ConnectionError("the answer broke off")
        rest += part
        *events, rest = rest.split(b"\n\n") if not rest.endswith(END) else [*rest.split(b"\n\n")]
        for event in events:
            if found := SENT.search(event):
                if first:
                    into.firsts.append((received - asked) / 1e6)
                    first = False
                else:
                    into.chunks.append((received - int(found[1])) / 1e6)
                answer += f"{found[1].decode()} "
        if rest.endswith(END):
            into.requests += 1
            return answer


def serve_upstream(ready: Any) -> None:
    """Answers whose tokens are each the moment at which it is sent, at the pace that the request asks for."""
    chance = random.Random(0)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                asked = PACE.search(body)
                pace = float(asked[1]) if asked else 0.0
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
                for _ in range(chance.randint(*TOKENS)):
                    send(writer, {"content": f"{time.monotonic_ns()} "}, None)
                    await asyncio.sleep(1 / pace if pace else 0)
                send(writer, {}, "stop")
                writer.write(b"e\r\ndata: [DONE]\n\n\r\n" + END)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1024)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def send(writer: asyncio.StreamWriter, delta: dict[str, str], finish: str | None) -> None:
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    data = json.dumps({**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    event = f"data: {data}\n\n".encode()
    writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")


def cpu(pid: int) -> tuple[float, float]:
    """Seconds of processor time of the proxy and of its children (the recorder), so far."""

    def of(process: int) -> float:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return of(pid), sum(of(int(child)) for child in children)


if __name__ == "__main__":
    main()
