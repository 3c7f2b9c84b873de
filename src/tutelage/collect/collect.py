"""`tutelage collect`."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.errors import TutelageError
from tutelage.project import Project, Teacher
from tutelage.store import TraceStore
from tutelage.world import worlds_folder

if TYPE_CHECKING:
    from tutelage.agent.pool import Finished, Job

OnProgress = Callable[[int, int, str], None]  # rollouts finished, rollouts in all, a note


@dataclass(frozen=True)
class CollectSummary:
    run: str
    model: str
    tasks: int
    rollouts: int  # attempts at all tasks together
    done_before: int  # found finished in the store, not repeated
    solved: int  # of those run now: reward 1
    failed: int  # of those run now: a reward below 1
    unjudged: int  # of those run now: no verifier
    broken: int  # of those run now: ended by the endpoint or a server, to be repeated
    stop_reasons: dict[str, int]  # of those run now
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        ran = self.rollouts - self.done_before
        parts = [f"{ran} rollouts of {self.model} in {self.seconds:.0f} s"]
        if self.solved or self.failed:
            parts.append(f"{self.solved} with full reward, {self.failed} with less")
        if self.done_before:
            parts.append(f"{self.done_before} were done before")
        if self.broken:
            parts.append(f"{self.broken} failed on the endpoint or a server; run again to repeat them")
        return "; ".join(parts) + "."


def collect(
    project: Project,
    store: TraceStore,
    *,
    run: str = "collect",
    teacher_url: str | None = None,
    teacher_model: str | None = None,
    system_prompt_file: Path | None = None,
    limit: int | None = None,
    on_progress: OnProgress | None = None,
) -> CollectSummary:
    """Run the teacher on the training tasks, as often as the project says, and record each trace with its reward.

    Attempts that have a finished trace in `run` are not repeated. `teacher_url` and `teacher_model` stand in for the
    project's. Raises TutelageError where nothing can be collected; what is finished stays.
    """
    from tutelage.agent.pool import Job

    teacher = project.teacher(teacher_url, teacher_model)
    tasks = project.tasks("train")[:limit]
    jobs = [Job(task, attempt) for attempt in range(project.settings.collect.attempts) for task in tasks]
    others = {trace.model for trace in store.summaries(run=run) if trace.finished} - {teacher.model}
    if others:
        raise TutelageError(
            f'The run "{run}" holds traces of {", ".join(sorted(others))}. Name another with --run, or another project.'
        )
    finished_before = store.finished(run)
    done = sum((job.task.id, job.attempt) in finished_before for job in jobs)
    started = time.monotonic()
    results: list[Finished] = []
    if done < len(jobs):
        collecting = _Collecting(project, store, run, teacher, teacher_url, system_prompt_file)
        results = collecting.run(jobs, done, on_progress)
    return CollectSummary(
        run=run,
        model=teacher.model,
        tasks=len(tasks),
        rollouts=len(jobs),
        done_before=len(jobs) - len(results),
        solved=sum(result.reward is not None and result.reward.value >= 1 for result in results),
        failed=sum(result.reward is not None and result.reward.value < 1 for result in results),
        unjudged=sum(result.reward is None and not result.broken for result in results),
        broken=sum(result.broken for result in results),
        stop_reasons=dict(Counter(result.stop_reason.value for result in results)),
        seconds=round(time.monotonic() - started, 2),
    )


class _Collecting:
    def __init__(
        self,
        project: Project,
        store: TraceStore,
        run: str,
        teacher: Teacher,
        own_url: str | None,
        system_prompt_file: Path | None,
    ) -> None:
        self.project, self.store, self.run_name, self.teacher = project, store, run, teacher
        self.own_url = own_url
        self.system_prompt = project.system_prompt(system_prompt_file)

    def run(self, jobs: "list[Job]", done: int, on_progress: OnProgress | None) -> "list[Finished]":
        from tutelage.endpoint.services import start_services
        from tutelage.endpoint.teacher import services_not_needed

        with (
            worlds_folder() as worlds,
            start_services(self.project, worlds, skip=services_not_needed(self.project, self.own_url)) as values,
        ):
            return asyncio.run(self._run(jobs, done, on_progress, worlds, values))

    async def _run(
        self, jobs: "list[Job]", done: int, on_progress: OnProgress | None, worlds: Path, values: dict[str, str]
    ) -> "list[Finished]":
        from tutelage.agent.pool import run_tasks
        from tutelage.endpoint.teacher import connect_teacher

        finished, solved = done, 0

        def report(result: "Finished") -> None:
            nonlocal finished, solved
            finished += 1
            solved += result.reward is not None and result.reward.value >= 1
            if on_progress:
                on_progress(finished, len(jobs), f"{solved} of {finished - done} with full reward")

        if on_progress:
            on_progress(done, len(jobs), "")
        async with connect_teacher(self.project, self.teacher)(values) as endpoint:
            return await run_tasks(
                jobs,
                project=self.project,
                store=self.store,
                endpoint=endpoint,
                run=self.run_name,
                worlds_root=worlds,
                values=values,
                concurrency=self.project.settings.collect.concurrency,
                system_prompt=self.system_prompt,
                on_finished=report,
            )
