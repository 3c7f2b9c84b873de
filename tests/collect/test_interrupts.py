"""Ctrl-C of `tutelage collect`, in a process of its own, while a tool hangs."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from endpoint_double import endpoint_double, says
from test_collect import children, running

from tutelage.collect import collect
from tutelage.project import Project
from tutelage.store import TraceStore

SERVER = Path(__file__).parents[1] / "agent" / "misbehaving_server.py"
TASKS = 3


@pytest.mark.timeout(120)
def test_ctrl_c_while_a_tool_hangs_leaves_no_process_and_the_next_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    tasks = [json.dumps({"id": str(number), "prompt": "hang"}) + "\n" for number in range(TASKS)]
    (tmp_path / "tasks" / "train.jsonl").write_text("".join(tasks))
    entry = {"command": sys.executable, "args": [str(SERVER), "ordinary"]}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"s": entry}}))
    with endpoint_double(says(None, ("hang", "{}"))) as double:
        (tmp_path / "tutelage.toml").write_text(f'[teacher]\nurl = "{double.url}"\nmodel = "m"\n')
        process = subprocess.Popen(
            [sys.executable, "-m", "tutelage", "collect", "-p", str(tmp_path)],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores Ctrl-C
        )
        project = Project.open(tmp_path)
        while not called(project):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        servers = children(process.pid)
        assert servers
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 130
        assert "Traceback" not in said
        assert not any(map(running, servers))
        double.answers[:] = [says("done")]
        with TraceStore(project.store_url) as store:
            assert not store.finished("collect")
            assert collect(project, store).stop_reasons == {"answer": TASKS}


def called(project: Project) -> bool:
    """Whether every rollout's call is recorded, and so under way."""
    with TraceStore(project.store_url) as store:
        traces = [store.load(summary.id) for summary in store.summaries()]
    return len(traces) == TASKS and all(trace.messages[-1].tool_calls for trace in traces)
