"""Many rollouts at once, each in a world of its own, each judged and recorded; resumable."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tutelage.agent.offer import Audience, Offer, warn_of_many
from tutelage.agent.rollout import RolloutEnd, run_rollout
from tutelage.agent.servers import ServerNotStarted, Servers, connect_servers, first_cause
from tutelage.agent.student import StudentView
from tutelage.endpoint.client import ChatEndpoint
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.redact import redact
from tutelage.render.truncate import Cutter, note_of
from tutelage.settings import McpServer
from tutelage.store import TraceStore
from tutelage.store.recording import AlreadyRecorded
from tutelage.trace import StopReason, Task, Trace
from tutelage.world import Reward, World, open_world
from tutelage.world.world import Verifier

HOPELESS = 5  # broken rollouts in a row, none before them better: the run is stopped
HOPELESS_LATER = 25  # likewise after better ones, or twice as many as are under way at once
START_WAITS = (1.0, 5.0, 20.0)  # seconds before servers that started for an earlier rollout are started again


@dataclass(frozen=True)
class Job:
    task: Task
    attempt: int = 0


@dataclass(frozen=True)
class Finished:
    """A rollout that is recorded and judged; one that is broken has no reward, and its trace stays unfinished."""

    job: Job
    trace_id: str
    stop_reason: StopReason
    reward: Reward | None
    steps: int
    detail: str = ""
    broken: bool = False  # the endpoint or a server ended it: the next run repeats it
    prompt_tokens: int = 0  # of all steps together, as far as the endpoint tells
    completion_tokens: int = 0


async def run_tasks(
    jobs: Sequence[Job],
    *,
    project: Project,
    store: TraceStore,
    endpoint: ChatEndpoint,
    run: str,
    worlds_root: Path,
    values: Mapping[str, str],
    concurrency: int,
    model: str | None = None,
    system_prompt: str | None = None,
    extra: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    view: StudentView | None = None,
    may_begin: Callable[[int], bool] | None = None,
    on_finished: Callable[[Finished], None] | None = None,
) -> list[Finished]:
    """Run the jobs of `run` that have no finished trace yet, `concurrency` at once; those run now, as they finished.

    `values` is what `start_services` gave; `extra` goes into every request's body; `model` is the name recorded,
    where it is to differ from the endpoint's; `view` shows the conversations to a student as its dataset did.
    `may_begin` is asked before each rollout, with how many are under way; once it says no, none begins any more.
    Raises TutelageError, after ending what was under way, where the endpoint is gone, a server does not start, one
    rollout after another is broken, or the project's prepare or verifier fails: finished traces stay. A rollout that an
    error of the endpoint or a server ended is among those returned, but a later run repeats it.
    """
    done = store.finished(run)
    left = iter([job for job in jobs if (job.task.id, job.attempt) not in done])
    servers = project.mcp_servers(values)
    settings = (model, system_prompt, extra, metadata, view, concurrency)
    pool = _Pool(project, store, endpoint, run, worlds_root, servers, *settings)
    with _plain_errors():
        async with pool.shared_servers(), asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(pool.work(left, may_begin, on_finished))
    return pool.finished


@contextmanager
def _plain_errors() -> Iterator[None]:
    """The first error of a group in place of the group."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise first_cause(group) from None


@dataclass
class _Pool:
    project: Project
    store: TraceStore
    endpoint: ChatEndpoint
    run: str
    worlds_root: Path
    servers: Mapping[str, McpServer]
    model: str | None
    system_prompt: str | None
    extra: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    view: StudentView | None
    concurrency: int
    finished: list[Finished] = field(default_factory=list)
    shared: Servers | None = None
    running: int = 0
    _failures: int = 0  # broken rollouts since one was not
    _worked: bool = False  # whether one ever was not
    _started: bool = False  # whether the servers ever did

    def __post_init__(self) -> None:
        view = self.view
        self.limits = view.limits if view else self.project.settings.rollout
        self.offer = Offer.of(self.project, Audience.STUDENT if view else Audience.TEACHER)
        self.cut = Cutter(self.limits.tool_results, self.project.settings.student, self.project.folder)
        self.prepare, self.verifier = self.project.prepare, self.project.verifier

    @asynccontextmanager
    async def shared_servers(self) -> AsyncIterator[None]:
        """Open the servers that all rollouts share, in a world of their own."""
        rules = self.project.settings.servers
        shared = {name: server for name, server in self.servers.items() if name in rules and rules[name].share}
        if not shared:
            yield
            return
        world = World("shared", self.worlds_root / "shared")
        world.folder.mkdir(exist_ok=True)
        try:
            seconds = self.limits.tool_seconds
            async with connect_servers(shared, world, tool_seconds=seconds) as self.shared:
                yield
        finally:
            self.shared = None
            shutil.rmtree(world.folder, ignore_errors=True)

    async def work(
        self,
        jobs: Iterator[Job],
        may_begin: Callable[[int], bool] | None,
        on_finished: Callable[[Finished], None] | None,
    ) -> None:
        for job in jobs:
            if may_begin and not may_begin(self.running):
                return
            self.running += 1
            try:
                finished = await self._one(job)
            finally:
                self.running -= 1
            if finished is None:
                continue
            self.finished.append(finished)
            if on_finished:
                on_finished(finished)
            self._give_up_where_nothing_works(finished)

    async def _one(self, job: Job) -> Finished | None:
        """One rollout from its world to its reward; None where another process was faster."""
        opening = open_world(job.task, self.worlds_root, self.prepare)
        world = await asyncio.to_thread(opening.__enter__)
        try:
            return await self._in_world(job, world)
        finally:
            await asyncio.shield(asyncio.to_thread(opening.__exit__, None, None, None))

    async def _in_world(self, job: Job, world: World) -> Finished | None:
        view, about = self.view, {**note_of(self.limits.tool_results), **(self.metadata or {})}
        async with AsyncExitStack() as stack:
            servers = await self._connected(stack, world)
            recording = self.store.begin(
                run=self.run,
                task=job.task,
                attempt=job.attempt,
                model=self.model or self.endpoint.model,
                tools=servers.tools,
                metadata=about,
            )
            end = await run_rollout(
                job.task,
                endpoint=self.endpoint,
                servers=servers,
                recording=recording,
                system_prompt=self.system_prompt,
                limits=self.limits,
                cut=self.cut,
                extra={**(view.extra if view else {}), **(self.extra or {})},
                show=view.show if view else None,
            )
        if end.broken:
            return _finished(job, recording.id, end, None)
        reward = None
        if self.verifier:
            found = self.store.load(recording.id).model_copy(update={"stop_reason": end.stop_reason})
            reward = await asyncio.to_thread(judge, self.project, self.verifier, found, world)
        try:
            recording.finish(end.stop_reason, reward, {**about, **end.notes})
        except AlreadyRecorded:
            return None
        return _finished(job, recording.id, end, reward)

    async def _connected(self, stack: AsyncExitStack, world: World) -> Servers:
        """The rollout's servers. Where they have started before, a moment's trouble is waited for.

        Raises TutelageError as `connect_servers` does.
        """
        for wait in (*START_WAITS, None):
            connecting = connect_servers(
                self.servers,
                world,
                offer=self.offer,
                tool_seconds=self.limits.tool_seconds,
                shared=self.shared,
                put_back=True,
            )
            try:
                servers = await stack.enter_async_context(connecting)
            except ServerNotStarted:
                if wait is None or not self._started:
                    raise
                await asyncio.sleep(wait)
            else:
                self._started = True
                warn_of_many(len(servers.tools))
                return servers
        raise AssertionError("unreachable")

    def _give_up_where_nothing_works(self, finished: Finished) -> None:
        """Rather than burn the tasks that are left. Raises TutelageError."""
        if not finished.broken:
            self._failures, self._worked = 0, True
            return
        self._failures += 1
        if self._failures >= (max(HOPELESS_LATER, 2 * self.concurrency) if self._worked else HOPELESS):
            raise TutelageError(f"{self._failures} rollouts in a row failed. {finished.detail}")


def _finished(job: Job, trace_id: str, end: RolloutEnd, reward: Reward | None) -> Finished:
    return Finished(
        *(job, trace_id, end.stop_reason, reward, end.steps, end.detail, end.broken),
        prompt_tokens=end.prompt_tokens,
        completion_tokens=end.completion_tokens,
    )


def judge(project: Project, verifier: Verifier | None, trace: Trace, world: World) -> Reward | None:
    """What the project's verifier says of a rollout that has ended; None without a verifier.

    Raises TutelageError where the verifier, the user's own, fails.
    """
    if not verifier:
        return None
    try:
        reward = verifier(trace, world)
    except Exception as error:
        name, why = project.settings.tasks.verifier, f"{type(error).__name__}: {error}"
        raise TutelageError(f'verifier "{name}" failed on task "{trace.task.id}": {why}.') from error
    if not isinstance(reward, Reward):
        raise TutelageError(
            f'The verifier "{project.settings.tasks.verifier}" returned a {type(reward).__name__} for task '
            f'"{trace.task.id}". Return tutelage.Reward(value, reason).'
        )
    return replace(reward, reason=redact(reward.reason))
