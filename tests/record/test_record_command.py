"""`tutelage record` as its users run it: stopped, killed, and without its store."""

import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from killing import Asking, Proxy, ask_without_store, kill_at_random, missing
from postgresql_server import PostgreSQL
from scripted_endpoint import Said, ScriptedEndpoint, scripted_endpoint

from tutelage.cli.main import app
from tutelage.errors import TutelageError
from tutelage.record.spool import Spool
from tutelage.store import TraceStore
from tutelage.trace import StopReason, Trace


def echo(results: int, asked: str) -> Said:
    return Said(f"You asked: {asked}")


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with scripted_endpoint(script=echo) as double:
        yield double


@pytest.fixture
def proxy(tmp_path: Path, endpoint: ScriptedEndpoint) -> Iterator[Proxy]:
    (tmp_path / "tutelage.toml").write_text("")
    made = Proxy(tmp_path, endpoint.url)
    yield made
    if made.process and made.process.poll() is None:
        made.kill()


def traces(place: Path | str) -> list[Trace]:
    """Of the store at a URL, or of the SQLite file in a folder."""
    with TraceStore(place if isinstance(place, str) else f"sqlite:///{place / 'traces.db'}") as store:
        return list(store.traces(run="record"))


def ask(url: str, text: str, history: list[Any] | None = None) -> list[Any]:
    messages = [*(history or []), {"role": "user", "content": text}]
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(model="m", messages=messages)
    return [*messages, {"role": "assistant", "content": answer.choices[0].message.content}]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_it_finishes_the_traces(proxy: Proxy, tmp_path: Path, number: int) -> None:
    history = ask(proxy.start(), "One.")
    ask(f"http://127.0.0.1:{proxy.port}/v1", "Two.", history)
    assert proxy.stop(number) == 130
    assert "Recorded 2 exchanges; 1 traces were finished." in proxy.said
    (trace,) = traces(tmp_path)
    assert (trace.task.turns, trace.stop_reason) == (("One.", "Two."), StopReason.ANSWER)


def test_killed_at_random_it_loses_no_finished_exchange(proxy: Proxy, tmp_path: Path) -> None:
    asking = Asking(proxy.start())
    outcome = kill_at_random(proxy, asking, kills=3, seed=0, longest=1.0)
    assert missing(asking, traces(tmp_path)) == []
    assert outcome.finished > 3 and outcome.most_failures_a_kill <= 1


def test_while_the_store_fails_the_traffic_goes_on_and_nothing_is_lost(proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "tutelage.toml").write_text('store = "stores/traces.db"\n')  # a disk that is not mounted yet
    url = proxy.start()
    history = ask(url, "One.")
    ask(url, "Two.", history)
    assert proxy.stop() == 130
    assert "The store" in proxy.said and "2 exchanges wait in" in proxy.said
    assert len(Spool(tmp_path / "recordings").waiting()) == 2
    (tmp_path / "stores").mkdir()
    ask(proxy.start(), "Three.", history)
    assert proxy.stop() == 130
    assert sorted(trace.task.turns for trace in traces(tmp_path / "stores")) == [("One.", "Three."), ("One.", "Two.")]


def test_a_store_that_is_locked_for_a_while_gets_everything_later(proxy: Proxy, tmp_path: Path) -> None:
    url = proxy.start()
    ask(url, "One.")
    with sqlite3.connect(tmp_path / "traces.db", isolation_level=None) as other:
        other.execute("PRAGMA busy_timeout=60000")
        other.execute("BEGIN IMMEDIATE")
        for number in range(5):
            ask(url, f"Question {number}.")
        other.execute("ROLLBACK")
    assert proxy.stop() == 130
    assert len(traces(tmp_path)) == 6


def test_a_database_that_is_stopped_for_a_while_gets_everything_later(
    proxy: Proxy, postgresql: PostgreSQL, tmp_path: Path
) -> None:
    url = postgresql.new_database()
    (tmp_path / "tutelage.toml").write_text(f'store = "{url}"\n')
    asking = Asking(proxy.start())
    assert ask_without_store(postgresql, asking, seconds=3.0, least=20) >= 20
    assert proxy.stop() == 130
    assert "The store failed" in proxy.said and "The store answers again." in proxy.said
    assert (missing(asking, traces(url)), asking.failures) == ([], [])


def test_an_exchange_of_which_no_trace_can_be_made_is_set_aside_and_named(proxy: Proxy, tmp_path: Path) -> None:
    url = proxy.start()
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        tool: Any = {"type": "function"}  # the double does not mind
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi."}], tools=[tool])
    ask(url, "One.")
    assert proxy.stop() == 130
    assert "No trace can be made of" in proxy.said and "a tool is no function" in proxy.said
    assert len(list((tmp_path / "recordings" / "unreadable").iterdir())) == 1
    assert len(traces(tmp_path)) == 1


def test_a_second_proxy_of_a_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tutelage.toml").write_text("")
    with Spool(tmp_path / "recordings").locked("proxy", wait=False), pytest.raises(TutelageError, match="Another"):
        app(["record", "-p", str(tmp_path), "--upstream", "http://127.0.0.1:9/v1"], standalone_mode=False)


@pytest.mark.parametrize("upstream", ["localhost:8000", "ftp://x/v1", "http:///v1"])
def test_a_url_that_is_none_is_one_sentence(tmp_path: Path, upstream: str) -> None:
    with pytest.raises(TutelageError, match="is no URL of an endpoint"):
        app(["record", "-p", str(tmp_path), "--upstream", upstream], standalone_mode=False)
