"""What collecting costs: CPU a step beside agents that record nothing, and memory with many rollouts at once.

    python benchmarks/collect.py [--short] [--peers PYTHON]

All sides run the same tasks, eight at a time, against the same endpoint, which thinks for no time, and the same MCP
server over HTTP, which all rollouts share. Each run is a process of its own, the sides take turns, and what counts is
the process's own CPU time, imports included, less that of a run of one step of one task. PYTHON is an interpreter of an
environment that has openai-agents and pydantic-ai-slim[openai,mcp]; without it they are left out. Prints lines
`figure: value`:

    cpu_ms_a_step.SIDE.STEPS   the median of the runs, by the steps of a rollout
    cpu_per_step_ratio         ours, every step recorded, by the leanest agent's
    cpu_over_floor             ours by that of a bare loop over `mcp` and `openai`
    peak_rss_mb, rollouts_failed   of 200 rollouts at once, each with a connection of its own
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "collecting"
AT_ONCE = 8
MAIN = 20  # steps of a rollout, of the ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer tasks, one run a side, 20 steps alone")
    parser.add_argument("--peers", help="the interpreter that has the other agents")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    repeat, tasks = (1, 16) if arguments.short else (arguments.repeat, 40)
    sides = {"bare": sys.executable, "tutelage": sys.executable}
    if arguments.peers:
        sides |= {"agents": arguments.peers, "pydantic_ai": arguments.peers}
    costs = {}
    for steps in (MAIN,) if arguments.short else (5, MAIN, 60):
        with serving(steps) as (endpoint, server):
            runs: dict[str, list[float]] = {side: [] for side in sides}
            for _ in range(repeat):
                for side, python in sides.items():
                    start = measure(python, side, endpoint, server, 1, 1, steps)["cpu"]
                    whole = measure(python, side, endpoint, server, tasks + 1, AT_ONCE, steps)
                    assert whole["done"] == tasks + 1, f"{side}: {whole['done']} of {tasks + 1} ended with an answer"
                    runs[side].append(1000 * (whole["cpu"] - start) / (tasks * steps))
                    print(f"{side}, {steps} steps: {runs[side][-1]:.2f} ms", file=sys.stderr, flush=True)
        for side, found in runs.items():
            costs[side, steps] = statistics.median(found)
            print(f"cpu_ms_a_step.{side}.{steps}: {costs[side, steps]:.2f}", flush=True)
    peers = [costs[side, MAIN] for side in sides if side not in ("bare", "tutelage")]
    if peers:
        print(f"cpu_per_step_ratio: {costs['tutelage', MAIN] / min(peers):.2f}")
    print(f"cpu_over_floor: {costs['tutelage', MAIN] / costs['bare', MAIN]:.2f}", flush=True)
    many = 50 if arguments.short else 200
    with serving(5) as (endpoint, server):
        found = measure(sys.executable, "tutelage-own", endpoint, server, many, many, 5)
    print(f"rollouts: {many}\nrollouts_failed: {many - found['done']}\npeak_rss_mb: {found['memory_mb']:.0f}")


@contextmanager
def serving(steps: int) -> Iterator[tuple[str, str]]:
    """The endpoint's and the MCP server's URL."""
    ports = [free_port(), free_port()]
    processes = [
        subprocess.Popen(
            [sys.executable, str(FOLDER / "endpoint.py"), str(ports[0]), str(steps)], stdin=subprocess.PIPE
        ),
        subprocess.Popen([sys.executable, str(FOLDER / "notes_http.py"), str(ports[1])], stderr=subprocess.DEVNULL),
    ]
    try:
        for port in ports:
            wait_for(port)
        yield f"http://127.0.0.1:{ports[0]}/v1", f"http://127.0.0.1:{ports[1]}/mcp"
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(python: str, side: str, endpoint: str, server: str, tasks: int, at_once: int, steps: int) -> Any:
    command = [python, str(FOLDER / "sides.py"), side, endpoint, server, *map(str, (tasks, at_once, steps))]
    # The other agents' environment is their own.
    environment = {key: value for key, value in os.environ.items() if python == sys.executable or key != "PYTHONPATH"}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


if __name__ == "__main__":
    main()
