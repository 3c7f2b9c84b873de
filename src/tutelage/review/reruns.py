"""Re-runs that the pages start: each in a thread of its own, asking through the page that shows its progress."""

import asyncio
import threading
from dataclasses import dataclass, field

from tutelage.agent.replay import Decision, Question
from tutelage.agent.rerun import Plan, Rerun, rerun
from tutelage.endpoint.teacher import connect_teacher, services_not_needed
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.settings import Teacher
from tutelage.store import TraceStore
from tutelage.trace import Message

STOPPED = "It was stopped."


@dataclass
class Job:
    """One re-run: what its page shows. Written by its thread, read by others."""

    plan: Plan
    teacher: Teacher
    hint: str
    phase: str = "beginning"
    messages: list[Message] = field(default_factory=list)  # what is kept, once it is replayed, then what is new
    question: Question | None = None
    done: Rerun | None = None
    problem: str = ""  # why it ended without a revision
    version: int = 0  # grows with each change of the above
    _loop: asyncio.AbstractEventLoop | None = None
    _task: "asyncio.Task[None] | None" = None
    _answer: "asyncio.Future[Decision] | None" = None

    @property
    def runs(self) -> bool:
        return self.done is None and not self.problem

    def answer(self, version: int, decision: Decision) -> None:
        """Answer the question that the page showed at `version`; one that was answered already is let be."""
        waiting, question = self._answer, self.question
        if self._loop and waiting and question and version == self.version and decision in question.decisions:
            self._loop.call_soon_threadsafe(_settle, waiting, decision)

    def stop(self) -> None:
        if self._loop and self._task and self.runs:
            self._loop.call_soon_threadsafe(self._task.cancel)

    async def run(self, project: Project, store: TraceStore, author: str, teacher_url: str | None) -> None:
        """To its end, whatever that is; for the thread."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            self.done = await rerun(
                project,
                store,
                self.plan,
                endpoint=connect_teacher(project, self.teacher),
                decide=self._decide,
                author=author,
                hint=self.hint,
                skip_services=services_not_needed(project, teacher_url),
                on_message=self._note_message,
                on_phase=self._note_phase,
            )
        except asyncio.CancelledError:
            self.problem = STOPPED
        except TutelageError as error:
            self.problem = str(error)
        except Exception as error:  # so that the page says it rather than wait for ever
            self.problem = f"{type(error).__name__}: {error}"
            raise
        finally:
            self.question = None
            self.version += 1

    async def _decide(self, question: Question) -> Decision:
        self._answer = asyncio.get_running_loop().create_future()
        self.question = question
        self.version += 1
        try:
            return await self._answer
        finally:
            self.question = None
            self.version += 1

    def _note_message(self, message: Message) -> None:
        self.messages.append(message)
        self.version += 1

    def _note_phase(self, phase: str) -> None:
        self.phase = phase
        self.version += 1


def _settle(waiting: "asyncio.Future[Decision]", decision: Decision) -> None:
    if not waiting.done():
        waiting.set_result(decision)


class Reruns:
    """The newest re-run of each trace that this process started."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def of(self, trace_id: str) -> Job | None:
        return self._jobs.get(trace_id)

    def start(
        self,
        project: Project,
        store: TraceStore,
        plan: Plan,
        *,
        author: str,
        hint: str,
        teacher_url: str | None,
        teacher_model: str | None,
    ) -> None:
        """Raises TutelageError where one of the trace runs, or nobody says who is asked."""
        teacher = project.teacher(teacher_url, teacher_model)
        job = Job(plan, teacher, hint)
        with self._lock:
            running = self._jobs.get(plan.trace.id)
            if running and running.runs:
                raise TutelageError("A re-run of this trace is under way. Wait for its end, or stop it.")
            self._jobs[plan.trace.id] = job
        target = job.run(project, store, author, teacher_url)
        threading.Thread(target=asyncio.run, args=(target,), daemon=True).start()
