"""`tutelage collect --ray`: rollouts spread over a Ray cluster, recorded in one PostgreSQL.

Ray schedules and starts machines; where one is lost, it runs what was there again elsewhere. A batch that is run again
skips what its first execution finished; what both run is two executions of one attempt, and the database takes the one
that finishes first.
"""

import math
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.collect.budget import Budget, Limits
from tutelage.collect.progress import Tracker
from tutelage.errors import MissingExtra, TutelageError
from tutelage.project import Project
from tutelage.settings import Teacher
from tutelage.store import TraceStore

if TYPE_CHECKING:
    from tutelage.agent.pool import Finished, Job

RETRIES = 20  # of a batch whose machine was lost
BATCHES_A_CPU = 2  # at least, so that machines which are done early get more
LEFT_AT_HOME = (".git", ".venv", "node_modules", "dataset*", "training", "evaluation", "*.db", "*.db-*", "*.lock")


@dataclass(frozen=True)
class Order:
    """What each machine has to know beside the project's folder, which Ray brings to it."""

    run: str
    teacher: Teacher
    own_url: str | None  # of a teacher that stands in for the project's
    system_prompt: str | None
    limits: Limits
    began: float = field(default_factory=time.time)  # seconds since the epoch

    def budget(self, store: TraceStore) -> Budget:
        """Of a batch that begins now: what the whole run has used so far counts, not what runs beside it."""
        minutes = self.limits.minutes
        left = None if minutes is None else max(0.0, minutes - (time.time() - self.began) / 60)
        return Budget(replace(self.limits, minutes=left), self.teacher, store.used.by_run(self.run))


def collect_on_ray(
    address: str,
    project: Project,
    store: TraceStore,
    order: Order,
    jobs: Sequence["Job"],
    tracker: Tracker,
) -> tuple[list["Finished"], str]:
    """Run the jobs that have no finished trace yet on the cluster at `address`; "auto" is the one of this machine.

    Those that ran, and the budget that is spent, if one is. Raises TutelageError as a run on this machine does, and
    where the store is none that several machines can write to.
    """
    if not project.store_url.startswith("postgresql"):
        raise TutelageError(
            'With --ray, rollouts of several machines go into one store: set store = "postgresql://…" in tutelage.toml.'
        )
    before = store.finished(order.run)
    left = [job for job in jobs if (job.task.id, job.attempt) not in before]
    with _cluster(address, project) as ray:
        batches = list(_batches(left, project.settings.collect.concurrency, ray.cluster_resources().get("CPU", 1.0)))
        rollouts = ray.remote(num_cpus=1, max_retries=RETRIES)(_rollouts)
        waiting = [rollouts.remote(order, batch) for batch in batches]
        results: list[Finished] = []
        spent = ""
        tracker.begin(lambda: sum(result.prompt_tokens + result.completion_tokens for result in results))
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1)
            more, said = _results(ray, done[0])
            results += more
            spent = spent or said
            tracker.elsewhere(more)
    lost = _of_lost_executions(store, order.run, left, results)
    tracker.elsewhere(lost)
    return [*results, *lost], spent


def _rollouts(order: Order, jobs: list["Job"]) -> tuple[list["Finished"], str]:
    """A batch on some machine of the cluster, where Ray has put the project into the working directory."""
    from tutelage.collect.collect import Collecting

    project = Project.open(Path())
    try:
        with TraceStore(project.store_url) as store:
            budget = order.budget(store)
            tracker = Tracker(budget, len(jobs), 0, lambda _: None)
            who = (order.run, order.teacher, order.own_url, order.system_prompt)
            return Collecting(project, store, *who, tracker, lambda _: None).run(jobs), budget.spent
    except TutelageError as error:
        raise TutelageError(str(error)) from None  # whose kinds need not survive the way back


@contextmanager
def _cluster(address: str, project: Project) -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise MissingExtra("ray", "ray") from None
    try:
        _knock(address)
        ray.init(
            address=address,
            runtime_env={"working_dir": str(project.folder), "excludes": list(LEFT_AT_HOME)},
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (OSError, ValueError, RuntimeError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TutelageError(
            f'There is no Ray cluster at "{address}": {why}. Start one with `ray start --head`, or name another.'
        ) from None
    with redirect_stdout(sys.stderr):  # it tells what becomes of its machines, some of it at the very end
        try:
            yield ray
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError where nobody listens: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _batches(jobs: Sequence["Job"], concurrency: int, cpus: float) -> Iterator[list["Job"]]:
    """Of at most `concurrency`, which is how many rollouts a batch has under way at once."""
    size = max(1, min(concurrency, math.ceil(len(jobs) / (BATCHES_A_CPU * cpus))))
    for start in range(0, len(jobs), size):
        yield list(jobs[start : start + size])


def _results(ray: Any, reference: Any) -> tuple[list["Finished"], str]:
    try:
        results, spent = ray.get(reference)
        return results, spent
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TutelageError):
            raise TutelageError(str(error.cause)) from None
        raise
    except ray.exceptions.RayError as error:
        raise TutelageError(f"The Ray cluster failed: {str(error).splitlines()[0]} Run again to go on.") from None


def _of_lost_executions(
    store: TraceStore, run: str, jobs: Sequence["Job"], results: Sequence["Finished"]
) -> list["Finished"]:
    """Rollouts that a machine finished before it was lost with its batch."""
    from tutelage.agent.pool import Finished
    from tutelage.trace import StopReason
    from tutelage.world import Reward

    told = {result.trace_id for result in results if not result.broken}
    wanted = {(job.task.id, job.attempt): job for job in jobs}
    found = []
    for one in store.summaries(run=run):
        job = wanted.get((one.task_id, one.attempt))
        if job and one.finished and one.id not in told:
            reward = None if one.reward is None else Reward(one.reward, "")
            found.append(Finished(job, one.id, one.stop_reason or StopReason.UNKNOWN, reward, one.steps))
    return found
