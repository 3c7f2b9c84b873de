"""`tutelage collect`."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.collect.budget import Budget, Limits
from tutelage.collect.cluster import Order, collect_on_ray
from tutelage.collect.progress import OnProgress, Tracker
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.settings import Teacher
from tutelage.store import TraceStore
from tutelage.world import worlds_folder

if TYPE_CHECKING:
    from tutelage.agent.pool import Finished, Job


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
    undone: int  # not begun: a budget was spent
    stop_reasons: dict[str, int]  # of those run now
    prompt_tokens: int  # of those run now, as far as the endpoint tells
    completion_tokens: int
    seconds: float
    stopped: str = ""  # which budget was spent

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        ran = self.rollouts - self.done_before - self.undone
        parts = [f"{ran} rollouts of {self.model} in {self.seconds:.0f} s"]
        if self.solved or self.failed:
            parts.append(f"{self.solved} with full reward, {self.failed} with less")
        if self.done_before:
            parts.append(f"{self.done_before} were done before")
        if self.broken:
            parts.append(f"{self.broken} failed on the endpoint or a server; run again to repeat them")
        text = "; ".join(parts) + "."
        if self.stopped:
            text += f" Stopped: {self.stopped}. {self.undone} rollouts are undone; with a larger budget, run again."
        return text


def collect(
    project: Project,
    store: TraceStore,
    *,
    run: str = "collect",
    teacher_url: str | None = None,
    teacher_model: str | None = None,
    system_prompt_file: Path | None = None,
    limit: int | None = None,
    limits: Limits | None = None,
    ray: str | None = None,
    on_progress: OnProgress | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> CollectSummary:
    """Run the teacher on the training tasks, as often as the project says, and record each trace with its reward.

    Attempts that have a finished trace in `run` are not repeated. `teacher_url` and `teacher_model` stand in for the
    project's, `limits` for its budgets: once one is spent, no rollout begins. `ray` is the address of a cluster that
    runs them. `on_notice` gets a line where the run pauses, since the endpoint is down. Raises TutelageError where
    nothing can be collected, or the endpoint stays down; what is finished stays.
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
    budget = Budget(limits or Limits.of(project.settings.collect, teacher), teacher, store.used.by_run(run))
    if done < len(jobs):
        tracker = Tracker(budget, len(jobs), done, on_progress or (lambda _: None))
        system_prompt = project.system_prompt(system_prompt_file)
        if ray:
            order = Order(run, teacher, teacher_url, system_prompt, budget.limits)
            results, spent = collect_on_ray(ray, project, store, order, jobs, tracker)
            budget.spent = budget.spent or spent
        else:
            notice = on_notice or (lambda _: None)
            results = Collecting(project, store, run, teacher, teacher_url, system_prompt, tracker, notice).run(jobs)
    finished = store.finished(run)
    broken = sum(result.broken for result in results)
    undone = sum((job.task.id, job.attempt) not in finished for job in jobs) - broken
    return CollectSummary(
        run=run,
        model=teacher.model,
        tasks=len(tasks),
        rollouts=len(jobs),
        done_before=len(jobs) - len(results) - undone,
        solved=sum(result.reward is not None and result.reward.value >= 1 for result in results),
        failed=sum(result.reward is not None and result.reward.value < 1 for result in results),
        unjudged=sum(result.reward is None and not result.broken for result in results),
        broken=broken,
        undone=undone,
        stop_reasons=dict(Counter(result.stop_reason.value for result in results)),
        prompt_tokens=sum(result.prompt_tokens for result in results),
        completion_tokens=sum(result.completion_tokens for result in results),
        seconds=round(time.monotonic() - started, 2),
        stopped=budget.spent,
    )


class Collecting:
    """A run on this machine."""

    def __init__(
        self,
        project: Project,
        store: TraceStore,
        run: str,
        teacher: Teacher,
        own_url: str | None,
        system_prompt: str | None,
        tracker: Tracker,
        notice: Callable[[str], None],
    ) -> None:
        self.project, self.store, self.run_name, self.teacher = project, store, run, teacher
        self.own_url = own_url
        self.system_prompt = system_prompt
        self.tracker, self.notice = tracker, notice

    def run(self, jobs: "list[Job]") -> "list[Finished]":
        from tutelage.endpoint.services import start_services
        from tutelage.endpoint.teacher import services_not_needed

        with (
            worlds_folder() as worlds,
            start_services(self.project, worlds, skip=services_not_needed(self.project, self.own_url)) as values,
        ):
            return asyncio.run(self._run(jobs, worlds, values))

    async def _run(self, jobs: "list[Job]", worlds: Path, values: dict[str, str]) -> "list[Finished]":
        from tutelage.agent.pool import run_tasks
        from tutelage.endpoint.breaker import Breaker
        from tutelage.endpoint.teacher import connect_teacher

        settings, tracker = self.project.settings.collect, self.tracker
        async with connect_teacher(self.project, self.teacher)(values) as endpoint:
            endpoint.breaker = Breaker(settings.pause_seconds, settings.pauses, self.notice)
            tracker.begin(lambda: endpoint.prompt_tokens + endpoint.completion_tokens)
            return await run_tasks(
                jobs,
                project=self.project,
                store=self.store,
                endpoint=endpoint,
                run=self.run_name,
                worlds_root=worlds,
                values=values,
                concurrency=settings.concurrency,
                system_prompt=self.system_prompt,
                may_begin=tracker.may_begin,
                on_finished=tracker.finished,
            )
