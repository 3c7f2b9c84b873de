"""`tutelage record` killed with SIGKILL at random instants, or without its store, while an agent goes on asking."""

import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai
from postgresql_server import PostgreSQL

from tutelage.trace import Trace

QUESTION = re.compile(r"Question (\d+)\.")


@dataclass
class Proxy:
    """`tutelage record` on a project folder, always on the same port."""

    project: Path
    upstream: str
    port: int = 0
    process: subprocess.Popen[str] | None = None
    said: str = ""

    def start(self) -> str:
        """Start it and wait until it answers; its URL."""
        self.port = self.port or _free_port()
        command = [sys.executable, "-m", "tutelage", "record", "--upstream", self.upstream]
        self.process = subprocess.Popen(
            [*command, "-p", str(self.project), "--port", str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdout
        lines = iter(self.process.stdout.readline, "")
        for line in lines:
            self.said += line
            if "OPENAI_BASE_URL" in line:
                break
        else:
            raise RuntimeError(f"it did not start: {self.said}")
        url = f"http://127.0.0.1:{self.port}/v1"
        _await(self.port)
        return url

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.communicate()

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it as a user does; its exit code. What it said is in `said`."""
        assert self.process
        self.process.send_signal(number)
        self.said += self.process.communicate()[0]
        return self.process.returncode


@dataclass
class Asking:
    """An agent that asks numbered questions, streamed, one conversation of `length` turns after the other."""

    url: str
    length: int = 3
    finished: dict[int, str] = field(default_factory=dict)  # question -> the answer whose end the agent saw
    failures: list[float] = field(default_factory=list)  # when a request failed, by the monotonic clock
    up: threading.Event = field(default_factory=threading.Event)  # the proxy can be asked
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        number = 0
        with openai.OpenAI(base_url=self.url, api_key="none", max_retries=0, timeout=120) as client:
            while not self.ended.is_set():
                messages: list[Any] = []
                for _ in range(self.length):
                    messages.append({"role": "user", "content": f"Question {number}."})
                    while not self.ended.is_set():
                        self.up.wait()
                        answer = self._ask(client, messages)
                        if answer is not None:
                            self.finished[number] = answer
                            messages.append({"role": "assistant", "content": answer})
                            break
                    number += 1

    def _ask(self, client: openai.OpenAI, messages: list[Any]) -> str | None:
        answer = ""
        try:
            for chunk in client.chat.completions.create(model="m", messages=messages, stream=True):
                answer += chunk.choices[0].delta.content or ""
        except (openai.APIError, httpx2.HTTPError):  # the second one from a stream that breaks off
            self.failures.append(time.monotonic())
            self.up.clear()
            return None
        return answer


@dataclass
class Outcome:
    kills: int
    finished: int
    failures: int
    most_failures_a_kill: int


def kill_at_random(proxy: Proxy, asking: Asking, kills: int, seed: int, longest: float) -> Outcome:
    """Kill the proxy `kills` times, each up to `longest` seconds after an answer came; then end it as a user does."""
    chance = random.Random(seed)
    agent = threading.Thread(target=asking.run, daemon=True)
    agent.start()
    most = 0
    for _ in range(kills):
        before = len(asking.failures)
        asking.up.set()
        _await_another(asking)
        time.sleep(chance.uniform(0, longest))
        proxy.kill()
        proxy.start()
        most = max(most, len(asking.failures) - before)
    asking.up.set()
    _await_another(asking)
    asking.ended.set()
    asking.up.set()
    agent.join()
    proxy.stop()
    return Outcome(kills, len(asking.finished), len(asking.failures), most)


def ask_without_store(server: PostgreSQL, asking: Asking, seconds: float, least: int) -> int:
    """Stop the store while the agent asks, for `seconds` and `least` answers; how many it got meanwhile."""
    agent = threading.Thread(target=asking.run, daemon=True)
    agent.start()
    asking.up.set()
    _await_another(asking)
    server.stop()
    try:
        before, end = len(asking.finished), time.monotonic() + seconds
        while len(asking.finished) < before + least or time.monotonic() < end:
            _await_another(asking)
        got = len(asking.finished) - before
    finally:
        server.start()
    _await_another(asking)
    asking.ended.set()
    agent.join()
    return got


def missing(asking: Asking, traces: list[Trace]) -> list[int]:
    """The questions whose answers the agent saw whole and that no trace teaches."""
    recorded = set()
    for trace in traces:
        asked = -1
        for message in trace.messages:
            if message.role == "user" and (found := QUESTION.search(message.content or "")):
                asked = int(found[1])
            elif message.role == "assistant" and message.weight > 0:
                recorded.add((asked, message.content))
    return [number for number, answer in asking.finished.items() if (number, answer) not in recorded]


def _await_another(asking: Asking) -> None:
    count = len(asking.finished)
    while len(asking.finished) == count:
        time.sleep(0.001)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _await(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 60).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
