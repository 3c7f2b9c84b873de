"""examples/browser as its README runs it: the real Playwright server, a real Chromium, a website on this machine."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from npm_packages import MODULES, NEEDS_NPM
from tutelage.project import Project
from tutelage.store import TraceStore

EXAMPLE = Path(__file__).parents[2] / "examples" / "browser"
NEEDS_CHROMIUM = pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("google-chrome")), reason="no Chromium is installed"
)


@NEEDS_NPM
@NEEDS_CHROMIUM
def test_the_browser_example_collects_good_traces(tmp_path: Path) -> None:
    folder = tmp_path / "browser"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(MODULES)
    command = [sys.executable, "-m", "tutelage", "collect", "-p", str(folder), "--limit", "3", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with TraceStore(Project.open(folder).store_url) as store:
        traces = {trace.task.kind: trace for trace in store.traces()}
        assert [(kind, trace.reward, trace.reward_reason) for kind, trace in sorted(traces.items())] == [
            ("book", 1.0, "booked"),
            ("cheapest", 1.0, "booked"),
            ("seats", 1.0, "the right number"),
        ]
    assert json.loads(done.stdout)["solved"] == 3
    assert {trace.model for trace in traces.values()} == {"scripted-browser-expert"}
    assert sorted(tool.name for tool in traces["book"].tools) == [
        "browser_click",
        "browser_fill_form",
        "browser_navigate",
        "browser_snapshot",
    ]
    snapshots = [message.content or "" for message in traces["book"].messages if message.role == "tool"]
    assert "Booking number: B-101" in snapshots[-1]
