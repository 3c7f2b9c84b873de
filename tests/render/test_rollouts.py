"""Invariant 1 on real rollouts: collected through the agent, the shop's MCP server and real endpoints."""

import pytest
from judge import Judge, check_parsed_back

from tutelage.collect import collect
from tutelage.dataset import build, read_rows
from tutelage.dataset.unroll import unroll
from tutelage.project import Project
from tutelage.render.renderer import Renderer
from tutelage.scaffold import make_project
from tutelage.settings import RolloutLimits, Sampling
from tutelage.store import TraceStore

TRACES, STUDENT_TRACES = 12, 2


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("shop") / "project"
    make_project(folder, "shop", seed=0, train_tasks=TRACES, evaluate_tasks=4)
    return Project.open(folder)


@pytest.mark.slow
def test_the_teachers_rows_are_what_the_engine_renders_and_parses(
    judge: Judge, renderer: Renderer, project: Project
) -> None:
    with TraceStore(project.store_url) as store:
        assert collect(project, store).solved == TRACES
        summary = build(project, store, project.path("dataset"), runs=["collect"])
        assert summary.traces_kept == TRACES
        stored = {
            (row["trace_id"], row["step"]): row
            for split in ("train", "validation")
            for row in read_rows(project.path("dataset"), split)
        }
        for trace in store.traces(run="collect"):
            for unrolled in unroll(trace):
                tokens = stored.pop((trace.id, unrolled.step))["input_ids"]
                assert renderer.row(unrolled.messages, trace.tools).input_ids == tokens
                check_parsed_back(judge, renderer, unrolled.messages, trace.tools)
    assert not stored


@pytest.mark.slow
def test_the_students_prompts_have_the_tokens_that_the_engine_counted(
    judge: Judge, renderer: Renderer, project: Project
) -> None:
    """The untrained student at work: each request's prompt, as the engine counted and renders it."""
    limits = RolloutLimits(max_steps=4, max_seconds=120)
    teacher = project.settings.teacher
    assert teacher
    teacher = teacher.model_copy(update={"sampling": Sampling(temperature=0.7, max_tokens=60, extra={"seed": 1})})
    student = Project(project.folder, project.settings.model_copy(update={"rollout": limits, "teacher": teacher}))
    with TraceStore(student.store_url) as store:
        url = judge.url + "/v1"
        collect(student, store, run="student", teacher_url=url, teacher_model="student", limit=STUDENT_TRACES)
        traces = list(store.traces(run="student"))
    assert len(traces) == STUDENT_TRACES
    steps = [(trace, step) for trace in traces for step in trace.steps]
    assert steps
    for trace, step in steps:
        seen = trace.messages[: step.seen]
        ours = renderer.prompt_tokens(seen, trace.tools)
        assert len(ours) == step.prompt_tokens
        sent = [message.to_openai() for message in seen]
        assert ours == judge.tokens(judge.prompt(sent, [tool.to_openai() for tool in trace.tools]))
