"""Edits that were acknowledged stay: with two reviewers at once, and when the server is killed."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

import httpx2
from pages_helpers import post
from postgresql_server import postgresql_databases
from starlette.testclient import TestClient
from store_examples import record_trace

from tutelage.project import Project
from tutelage.review.app import create_app
from tutelage.store import TraceStore

__all__ = ["postgresql_databases"]
ROUNDS = 10


def test_of_two_reviewers_on_one_postgresql_store_neither_loses_an_edit(
    project: Project, postgresql_databases: Callable[[], str]
) -> None:
    url = postgresql_databases()
    with TraceStore(url) as store:
        id = record_trace(store).id

    def review(name: str) -> list[str]:
        """Edit the answer again and again; what was acknowledged. A conflict shows both versions and is saved again."""
        said = []
        with TraceStore(url) as store:
            client = TestClient(create_app(project, store, name), base_url="http://127.0.0.1", follow_redirects=False)
            for number in range(ROUNDS):
                base = str(store.load(id).revision)
                together.wait()
                sentence = f"Sentence {number} of {name}."
                while True:
                    fields = {"do": "rewrite", "index": "4", "reasoning": "", "content": sentence, "base": base}
                    answer = post(client, f"/trace/{id}/change", **fields)
                    if answer.status_code == 303:
                        break
                    assert answer.status_code == 409
                    assert "edited meanwhile" in answer.text
                    assert sentence in answer.text
                    found = re.search(r'name="do" value="rewrite">.*?name="base" value="(\d+)"', answer.text)
                    assert found
                    base = found[1]
                    conflicts.append(name)
                said.append(sentence)
        return said

    together, conflicts = threading.Barrier(2), list[str]()
    with ThreadPoolExecutor(2) as pool:
        said = [sentence for done in pool.map(review, ("Ada", "Ben")) for sentence in done]
    with TraceStore(url) as store:
        revisions = store.reviews.revisions(id)
        kept = [store.load(id, revision.number).answer() for revision in revisions[1:]]
    assert sorted(kept) == sorted(said)
    assert [revision.base for revision in revisions[1:]] == list(range(2 * ROUNDS))
    assert len(conflicts) >= ROUNDS // 2  # they did meet


def test_a_server_that_is_killed_has_kept_every_edit_that_it_acknowledged(project: Project) -> None:
    with TraceStore(project.store_url) as store:
        ids = [record_trace(store, f"t{number}").id for number in range(4)]
    acknowledged: list[tuple[str, int, str]] = []
    for life in range(2):
        with served(project.folder) as (process, client, token):

            def edit(id: str, life: int = life, client: httpx2.Client = client, token: str = token) -> None:
                with TraceStore(project.store_url) as store:
                    base = store.load(id).revision
                with suppress(httpx2.HTTPError):  # it is killed meanwhile
                    while True:
                        sentence = f"Life {life}, after {base}."
                        form = {"token": token, "do": "rewrite", "index": 4, "base": base, "content": sentence}
                        answer = client.post(f"/trace/{id}/change", content=urlencode(form), headers=FORM)
                        assert answer.status_code == 303, answer.text
                        base += 1
                        acknowledged.append((id, base, sentence))

            with ThreadPoolExecutor(len(ids)) as pool:
                edits = [pool.submit(edit, id) for id in ids]
                while len(acknowledged) < 20 * (life + 1) and not any(one.done() for one in edits):
                    time.sleep(0.01)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                for one in edits:
                    one.result()
    assert len(acknowledged) >= 40
    with TraceStore(project.store_url) as store:
        for id, revision, sentence in acknowledged:
            assert store.load(id, revision).answer() == sentence
        for id in ids:  # and nothing is half written
            assert [one.number for one in store.reviews.revisions(id)] == list(range(store.load(id).revision + 1))


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class served:
    """`tutelage review` as a process of its own, and a client of it."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tutelage", "review", "-p", str(folder), "--port", "0", "--no-browser"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "tuple[subprocess.Popen[str], httpx2.Client, str]":
        assert self.process.stdout
        url = self.process.stdout.readline().split()[2]
        self.client = httpx2.Client(base_url=url, trust_env=False, timeout=60)
        found = re.search(r'data-token="([^"]+)"', self.client.get("/").text)
        assert found
        return self.process, self.client, found[1]

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
