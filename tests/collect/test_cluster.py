"""Rollouts over Ray: its own cluster of several nodes on this machine, and a real PostgreSQL."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from tutelage.collect import collect
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.store import TraceStore

SERVER = Path(__file__).parents[1] / "agent" / "misbehaving_server.py"
TASKS = 6
# A killed node is noticed soon, and workers do not give way to whatever else this machine does.
PROMPT = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "worker_niceness": 0,
}


class PatientEndpoint(ThreadingHTTPServer):
    """A test double that answers "done", but to nobody before it may."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.asked = threading.Semaphore(0)  # released for each request
        self.may_answer = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: PatientEndpoint

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.release()
        self.server.may_answer.wait()
        message = {"role": "assistant", "content": "done"}
        data = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def patient_endpoint() -> Iterator[PatientEndpoint]:
    with PatientEndpoint() as endpoint:
        threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield endpoint
        finally:
            endpoint.may_answer.set()
            endpoint.shutdown()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": PROMPT}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


def project(folder: Path, store: str, url: str) -> Project:
    settings = f'store = "{store}"\nteacher = {{url = "{url}", model = "double"}}\ncollect.concurrency = 2\n'
    (folder / "tutelage.toml").write_text(settings)
    entry = {"command": sys.executable, "args": [str(SERVER), "ordinary"]}
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"s": entry}}))
    (folder / "tasks").mkdir(exist_ok=True)
    lines = [json.dumps({"id": str(number), "prompt": f"say {number}"}) + "\n" for number in range(TASKS)]
    (folder / "tasks" / "train.jsonl").write_text("".join(lines))
    return Project.open(folder)


def collecting(project: Project, address: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tutelage", "collect", "-p", str(project.folder), "--ray", address, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lose(cluster: Cluster, node: Any) -> None:
    """As if the machine were switched off: what runs on the node too."""
    workers = psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True)
    cluster.remove_node(node, allow_graceful=False)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()


def test_a_node_that_is_killed_loses_no_rollout_and_none_is_counted_twice(
    cluster: Cluster, postgresql_databases: Callable[[], str], tmp_path: Path
) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    with patient_endpoint() as endpoint:
        opened = project(tmp_path, postgresql_databases(), endpoint.url)
        process = collecting(opened, cluster.address)
        for _ in range(4):  # two rollouts on each node are under way
            assert endpoint.asked.acquire(timeout=240)
        lose(cluster, nodes[0])
        endpoint.may_answer.set()
        said, complaints = process.communicate()
    assert process.returncode == 0, complaints
    summary = json.loads(said)
    assert (summary["rollouts"], summary["done_before"], summary["unjudged"]) == (TASKS, 0, TASKS)
    with TraceStore(opened.store_url) as store:
        traces = store.summaries(run="collect")
    finished = [trace for trace in traces if trace.finished]
    assert sorted(trace.task_id for trace in finished) == sorted(map(str, range(TASKS)))
    assert len(traces) > len(finished)  # those of the killed node were begun again


def test_a_cluster_needs_a_store_that_machines_can_share_and_has_to_be_there(
    tmp_path: Path, postgresql_databases: Callable[[], str]
) -> None:
    for url, words in (
        ("traces.db", r'set store = "postgresql://…" in tutelage\.toml'),
        (postgresql_databases(), r'There is no Ray cluster at "127\.0\.0\.1:9": .*refused'),
    ):
        opened = project(tmp_path, url, "http://127.0.0.1:9/v1")
        with TraceStore(opened.store_url) as store, pytest.raises(TutelageError, match=words):
            collect(opened, store, ray="127.0.0.1:9")
