"""`kill -9` of `tutelage record` at random instants, or its store stopped, while an agent asks: nothing is missing.

    python benchmarks/kill_record.py [--kills 100] [--seed 0] [--stop SECONDS]

An agent holds streamed conversations through the proxy with a scripted endpoint (a test double, no model). Each time
the proxy is killed within a second of an answer, and started again. With --stop its store, a PostgreSQL, is stopped for
so many seconds instead. Prints one `figure: value` line each:

    finished            exchanges whose end the agent saw
    missing             those of them that no trace teaches; must be 0
    most_failures_a_kill    requests that failed for the agent, at the most, for one kill; must be 1 or 0
    finished_without_store  exchanges while the store was stopped
    failures            requests that failed for the agent; with --stop it must be 0
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "record"))  # the proxy as a process
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "doubles"))

from killing import Asking, Proxy, ask_without_store, kill_at_random, missing
from postgresql_server import running_postgresql
from scripted_endpoint import Said, scripted_endpoint

from tutelage.store import TraceStore


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stop", type=float, help="seconds without the store, in place of kills")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        scripted_endpoint(script=lambda results, asked: Said(f"You asked: {asked}")) as double,
    ):
        proxy = Proxy(Path(folder), double.url)
        if arguments.stop:
            stop_store(proxy, arguments.stop)
        else:
            kill(proxy, arguments.kills, arguments.seed)


def kill(proxy: Proxy, kills: int, seed: int) -> None:
    (proxy.project / "tutelage.toml").write_text("")
    asking = Asking(proxy.start())
    outcome = kill_at_random(proxy, asking, kills, seed, longest=1.0)
    print(f"kills: {outcome.kills}\nmost_failures_a_kill: {outcome.most_failures_a_kill}")
    tell(asking, f"sqlite:///{proxy.project / 'traces.db'}")


def stop_store(proxy: Proxy, seconds: float) -> None:
    with running_postgresql() as server:
        url = server.new_database()
        (proxy.project / "tutelage.toml").write_text(f'store = "{url}"\n')
        asking = Asking(proxy.start())
        print(f"finished_without_store: {ask_without_store(server, asking, seconds, least=1)}")
        proxy.stop()
        tell(asking, url)


def tell(asking: Asking, url: str) -> None:
    with TraceStore(url) as store:
        traces = list(store.traces(run="record"))
    print(f"finished: {len(asking.finished)}\nmissing: {len(missing(asking, traces))}")
    print(f"failures: {len(asking.failures)}\ntraces: {len(traces)}")


if __name__ == "__main__":
    main()
