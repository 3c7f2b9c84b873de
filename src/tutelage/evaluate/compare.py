"""Run the held-out tasks with the untouched and with the trained student, and write evaluation.json."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

import tutelage
from tutelage.agent.offer import Audience, Offer
from tutelage.agent.pool import Job, run_tasks
from tutelage.agent.servers import connect_servers
from tutelage.agent.student import StudentView
from tutelage.endpoint.client import ChatEndpoint
from tutelage.endpoint.embedded import EmbeddedEndpoint
from tutelage.endpoint.errors import ContextExceeded, InvalidOutput
from tutelage.endpoint.services import services_named_in, start_services
from tutelage.endpoint.student import student_endpoint
from tutelage.errors import TutelageError
from tutelage.evaluate.evaluation import Evaluation, Provenance, TaskName, Variant, compare, variant
from tutelage.evaluate.provenance import checkout_commit, file_sha256, fingerprint, shared_tasks, tasks_sha256
from tutelage.project import Project, expand
from tutelage.render.student import load_template, student_gguf
from tutelage.render.trained import is_served_whole, served_file, weight_files
from tutelage.settings import Sampling, Student
from tutelage.store import TraceStore
from tutelage.trace import Message, Task, now
from tutelage.world import World, open_world, worlds_folder

ADAPTER_MODEL = "student"  # the adapter's name at an endpoint of the user's (vLLM: --lora-modules student=…)
BLOCK = 30  # tasks; a switch of adapters empties the slots, and the last rollouts of a block leave some idle


@dataclass(frozen=True)
class Contender:
    """One variant: which endpoint and model answer, and the run that keeps its rollouts."""

    name: str
    model: str  # as reports and traces name it
    run: str
    asked: str  # the model's name at the endpoint
    url: str | None  # None: the embedded endpoint
    sampling: Sampling
    extra: dict[str, Any]  # of each request
    concurrency: int
    key: str | None = None
    view: StudentView | None = None  # how the conversations are shown to it; None: as they are


def evaluate(
    project: Project,
    store: TraceStore,
    *,
    adapter: Path,
    out: Path,
    limit: int | None = None,
    with_teacher: bool = False,
    teacher_url: str | None = None,
    teacher_model: str | None = None,
    block: int = BLOCK,
    dataset: Path | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Evaluation:
    """Before, after and, if asked for, the teacher on the same held-out tasks; writes `out`/evaluation.json.

    `adapter` is the folder of what was trained. One embedded endpoint serves both variants, the adapter switched by
    request (a whole model has an endpoint of its own), and the variants take turns every `block` tasks. With
    `student.url` set they are two models of that endpoint, or of it and `student.trained_url`. Finished rollouts are
    kept in the store and not repeated; where all are, evaluation.json keeps its date and origin. `dataset` is the
    folder of the build that was trained on, by default what the adapter's folder keeps of it. `on_progress` is given
    rollouts done, rollouts in all, and the variant's name.
    """
    started = time.monotonic()
    if project.settings.tasks.verifier is None:
        raise TutelageError("tutelage.toml names no verifier under [tasks]: without one nothing says what is solved.")
    tasks = project.tasks("evaluate")[:limit]
    student = project.settings.student
    view = StudentView.open(project, adapter)
    name = fingerprint(project, tasks, [*_parts(project, adapter), view.serving.model_dump_json()])
    contenders = _students(student, name, adapter, view)
    if with_teacher:
        contenders.append(_teacher(project, tasks, teacher_url, teacher_model))
    progress = _Progress(store, tasks, contenders, on_progress)
    earlier = None
    if progress.done < progress.total:
        _run(project, store, adapter, tasks, contenders, block, progress)
        _require_finished(store, tasks, contenders)
    else:
        earlier = _earlier(out, name)
    evaluation = Evaluation(
        project=project.settings.name,
        tasks=tuple(TaskName(id=task.id, kind=task.kind) for task in tasks),
        variants={contender.name: _variant(store, contender, tasks) for contender in contenders},
        comparisons=(),
        provenance=earlier.provenance
        if earlier
        else _provenance(project, tasks, adapter, name, block, dataset or _dataset(project, adapter), view),
        seconds=earlier.seconds if earlier else round(time.monotonic() - started, 2),
    )
    found = evaluation.variants
    pairs = [(found["before"], found["after"])] + ([(found["after"], found["teacher"])] if with_teacher else [])
    evaluation = evaluation.model_copy(update={"comparisons": tuple(compare(*pair) for pair in pairs)})
    evaluation.write(out)
    return evaluation


def _students(student: Student, name: str, adapter: Path, view: StudentView) -> list[Contender]:
    def contender(variant: str, model: str, asked: str, extra: dict[str, Any]) -> Contender:
        run = f"evaluate-{name}-{variant}"
        return Contender(variant, model, run, asked, student.url, student.sampling, extra, student.parallel, view=view)

    trained = f"{student.model} + {adapter.parent.name}/{adapter.name}"
    if student.url:
        after = contender("after", trained, ADAPTER_MODEL, {})
        url = student.trained_url or student.url
        return [contender("before", student.model, student.model, {}), replace(after, url=url)]
    if is_served_whole(adapter):
        return [contender("before", student.model, student.model, {}), contender("after", trained, student.model, {})]
    return [
        contender("before", student.model, student.model, {"lora": [{"id": 0, "scale": 0.0}]}),
        contender("after", trained, student.model, {"lora": [{"id": 0, "scale": 1.0}]}),
    ]


def _teacher(project: Project, tasks: Sequence[Task], url: str | None, model: str | None) -> Contender:
    """The teacher's rollouts hang on neither student nor adapter: another adapter repeats none of them."""
    teacher = project.teacher(url, model)
    name = fingerprint(project, tasks, [teacher.url, teacher.model, teacher.sampling.model_dump_json()])
    return Contender(
        "teacher",
        teacher.model,
        f"evaluate-{name}-teacher",
        teacher.model,
        teacher.url,
        teacher.sampling,
        {},
        project.settings.collect.concurrency,
        os.environ.get(teacher.api_key_env),
    )


def _run(
    project: Project,
    store: TraceStore,
    adapter: Path,
    tasks: Sequence[Task],
    contenders: Sequence[Contender],
    block: int,
    progress: "_Progress",
) -> None:
    """Start what the rollouts need, run those that are left, stop it all again."""
    student, teacher = project.settings.student, project.settings.teacher
    urls = [contender.url or "" for contender in contenders]
    idle = services_named_in(teacher.url, project) - services_named_in(" ".join(urls), project) if teacher else set()
    with ExitStack() as stack:
        worlds = stack.enter_context(worlds_folder())
        values = stack.enter_context(start_services(project, worlds, skip=idle))
        embedded = {} if student.url else _embedded(project, adapter, stack)

        async def run() -> None:
            async with AsyncExitStack() as opened:
                endpoints = {
                    contender.name: await opened.enter_async_context(
                        _client(project, contender, embedded.get(contender.name), values)
                    )
                    for contender in contenders
                }
                for contender, part in _turns(contenders, tasks, block):
                    if contender.name in embedded and _left(store, contender, part):
                        opening = open_world(tasks[0], worlds, project.prepare)
                        server, client = embedded[contender.name], endpoints[contender.name]
                        await _share_prompt(project, server, client, contender, opening, values)
                    await run_tasks(
                        [Job(task) for task in part],
                        project=project,
                        store=store,
                        endpoint=endpoints[contender.name],
                        run=contender.run,
                        worlds_root=worlds,
                        values=values,
                        concurrency=contender.concurrency,
                        model=contender.model,
                        system_prompt=project.system_prompt(),
                        view=contender.view,
                        on_finished=partial(progress.advance, contender.name),
                    )

        asyncio.run(run())


def _embedded(project: Project, adapter: Path, stack: ExitStack) -> dict[str, EmbeddedEndpoint]:
    """By variant: one endpoint for both, or one each where what was trained is a whole model."""
    after = stack.enter_context(student_endpoint(project, served_file(adapter)))
    before = stack.enter_context(student_endpoint(project, None)) if is_served_whole(adapter) else after
    return {"before": before, "after": after}


def _client(
    project: Project, contender: Contender, embedded: EmbeddedEndpoint | None, values: Mapping[str, str]
) -> ChatEndpoint:
    if contender.url:
        url = expand(contender.url, values, f"{project.folder}/tutelage.toml: url")
    else:
        assert embedded
        url = embedded.url
    seconds = project.settings.rollout.request_seconds
    return ChatEndpoint(url, contender.asked, contender.key, contender.sampling, seconds, contender.extra)


async def _share_prompt(
    project: Project,
    embedded: EmbeddedEndpoint,
    endpoint: ChatEndpoint,
    contender: Contender,
    opening: AbstractContextManager[World],
    values: Mapping[str, str],
) -> None:
    """Compute the beginning that all prompts share, system prompt and tools, once for all slots."""
    system = project.system_prompt()
    messages = [Message(role="system", content=system)] if system else []
    with opening as world:
        offer = Offer.of(project, Audience.STUDENT)
        async with connect_servers(project.mcp_servers(values), world, offer=offer) as servers:
            with suppress(InvalidOutput, ContextExceeded):  # the prompt is computed, whatever is made of its answer
                await endpoint.complete(
                    [*messages, Message(role="user", content="…")], servers.tools, max_tokens=1, extra={"id_slot": 0}
                )
    await asyncio.to_thread(embedded.share_slot, contender.extra)


def _turns(
    contenders: Sequence[Contender], tasks: Sequence[Task], block: int
) -> Iterator[tuple[Contender, Sequence[Task]]]:
    """The students take turns by blocks, who begins too; the teacher, elsewhere anyway, comes last.

    Two blocks of one student in a row are one turn, in which no slot falls idle between them.
    """
    students = [contender for contender in contenders if contender.name != "teacher"]
    turns: list[tuple[Contender, list[Task]]] = []
    for number, first in enumerate(range(0, len(tasks), block)):
        for contender in students[:: 1 if number % 2 == 0 else -1]:
            if turns and turns[-1][0] is contender:
                turns[-1][1].extend(tasks[first : first + block])
            else:
                turns.append((contender, list(tasks[first : first + block])))
    yield from turns
    for contender in contenders:
        if contender.name == "teacher":
            yield contender, tasks


class _Progress:
    """How many rollouts are done, of how many."""

    def __init__(
        self,
        store: TraceStore,
        tasks: Sequence[Task],
        contenders: Sequence[Contender],
        on_progress: Callable[[int, int, str], None] | None,
    ) -> None:
        self.total = len(tasks) * len(contenders)
        self.done = _finished(store, tasks, contenders)
        self._on_progress = on_progress

    def advance(self, name: str, _finished: object = None) -> None:
        self.done += 1
        if self._on_progress:
            self._on_progress(self.done, self.total, name)


def _left(store: TraceStore, contender: Contender, tasks: Sequence[Task]) -> int:
    return len(tasks) - _finished(store, tasks, [contender])


def _finished(store: TraceStore, tasks: Sequence[Task], contenders: Sequence[Contender]) -> int:
    ids = {task.id for task in tasks}
    return sum(len(ids & {id for id, _ in store.finished(contender.run)}) for contender in contenders)


def _require_finished(store: TraceStore, tasks: Sequence[Task], contenders: Sequence[Contender]) -> None:
    """A rollout that an error outside the model ended says nothing of the model: it is left to be run again."""
    left = len(tasks) * len(contenders) - _finished(store, tasks, contenders)
    if left:
        raise TutelageError(
            f"{left} rollout{'s' if left != 1 else ''} ended with an error of the endpoint or a server: mend it "
            "(`tutelage doctor`), then run `tutelage evaluate` again. What is finished is kept."
        )


def _earlier(out: Path, name: str) -> Evaluation | None:
    """The evaluation in `out` if it is of the same rollouts."""
    try:
        found = Evaluation.read(out)
    except TutelageError:
        return None
    return found if found.provenance.fingerprint == name else None


def _variant(store: TraceStore, contender: Contender, tasks: Sequence[Task]) -> Variant:
    """The outcomes in the order of the tasks, from the traces as they were recorded."""
    ids = {summary.task_id: summary.id for summary in store.summaries(run=contender.run) if summary.finished}
    return variant(contender.name, contender.model, contender.run, [store.load(ids[task.id], 0) for task in tasks])


def _provenance(
    project: Project, tasks: Sequence[Task], adapter: Path, name: str, block: int, dataset: Path, view: StudentView
) -> Provenance:
    settings = project.settings
    return Provenance(
        created=now(),
        version=tutelage.__version__,
        commit=checkout_commit(),
        seed=settings.seed,
        student=settings.student.model,
        student_sha256=_student_sha256(project),
        adapter=_relative(adapter, project),
        adapter_sha256=_adapter_sha256(settings.student, adapter),
        tasks_file=str(settings.tasks.evaluate),
        tasks_sha256=tasks_sha256(tasks),
        shared_tasks=shared_tasks(project, tasks, dataset),
        fingerprint=name,
        template=settings.student.template,
        sampling=settings.student.sampling.model_dump(mode="json"),
        limits={**settings.rollout.model_dump(mode="json"), **view.serving.model_dump(mode="json")},
        block=block,
        store=_without_password(settings.store),
    )


def _dataset(project: Project, adapter: Path) -> Path:
    """The folder whose build.json is of the dataset that the adapter was trained on."""
    return adapter if (adapter / "build.json").is_file() else project.path("dataset")


def _parts(project: Project, adapter: Path) -> list[str | None]:
    """What the students' rollouts hang on beside the settings."""
    student = project.settings.student
    template = None if student.url else load_template(student.template, project.folder)
    return [_adapter_sha256(student, adapter), _student_sha256(project), template]


def _adapter_sha256(student: Student, adapter: Path) -> str | None:
    """Of what llama.cpp serves; where an endpoint of the user's does, of the weights as trained if they lie here."""
    if student.url:
        trained = [file for file in weight_files(adapter) if file.suffix == ".safetensors"]
        return file_sha256(trained[0]) if trained else None
    file = served_file(adapter)
    if not file.is_file():
        raise TutelageError(f"{file} was not found. Run `tutelage train` first.")
    return file_sha256(file)


def _student_sha256(project: Project) -> str | None:
    student = project.settings.student
    return None if student.url else file_sha256(student_gguf(student, project.folder))


def _without_password(store: str) -> str:
    return make_url(store).render_as_string(hide_password=True) if "://" in store else store


def _relative(path: Path, project: Project) -> str:
    return str(path.relative_to(project.folder)) if path.is_relative_to(project.folder) else str(path)
