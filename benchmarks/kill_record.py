"""`kill -9` of `tutelage record` at random instants, while an agent asks: nothing it saw the end of may be missing.

    python benchmarks/kill_record.py [--kills 100] [--seed 0]

An agent holds streamed conversations through the proxy with a scripted endpoint (a test double, no model); each time
it is killed within a second of an answer, and started again. Prints one `figure: value` line each:

    finished            exchanges whose end the agent saw
    missing             those of them that no trace teaches; must be 0
    most_failures_a_kill    requests that failed for the agent, at the most, for one kill; must be 1 or 0
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "record"))  # the proxy as a process
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "doubles"))

from killing import Asking, Proxy, kill_at_random, missing
from scripted_endpoint import Said, scripted_endpoint

from tutelage.store import TraceStore


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        scripted_endpoint(script=lambda results, asked: Said(f"You asked: {asked}")) as double,
    ):
        (Path(folder) / "tutelage.toml").write_text("")
        proxy = Proxy(Path(folder), double.url)
        asking = Asking(proxy.start())
        outcome = kill_at_random(proxy, asking, arguments.kills, arguments.seed, longest=1.0)
        with TraceStore(f"sqlite:///{Path(folder) / 'traces.db'}") as store:
            traces = list(store.traces(run="record"))
    print(f"kills: {outcome.kills}\nfinished: {outcome.finished}\nmissing: {len(missing(asking, traces))}")
    print(f"failures: {outcome.failures}\nmost_failures_a_kill: {outcome.most_failures_a_kill}\ntraces: {len(traces)}")


if __name__ == "__main__":
    main()
