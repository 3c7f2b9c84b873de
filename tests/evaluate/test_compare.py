import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from two_models import TwoModels, two_models

from tutelage.errors import TutelageError
from tutelage.evaluate import Evaluation, evaluate
from tutelage.project import Project
from tutelage.render.serving import Serving
from tutelage.scaffold import make_project
from tutelage.settings import ToolResults
from tutelage.store import TraceStore

TASKS = 12


@pytest.fixture
def endpoint() -> Iterator[TwoModels]:
    with two_models() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_project(tmp_path / "shop", "shop", train_tasks=12, evaluate_tasks=TASKS)
    return tmp_path / "shop"


def open_with(folder: Path, student: str) -> Project:
    """The example project with other settings of its student's."""
    settings = folder / "tutelage.toml"
    text, count = re.subn(r"\[student\]\n.*?\n\n", f"[student]\n{student}\n\n", settings.read_text(), flags=re.DOTALL)
    assert count == 1
    settings.write_text(text)
    return Project.open(folder)


def run(project: Project, **options: Any) -> Evaluation:
    with TraceStore(project.store_url) as store:
        adapter = project.path("training/adapter")
        return evaluate(project, store, adapter=adapter, out=project.path("evaluation"), **options)


def test_before_after_and_teacher_on_the_same_tasks(folder: Path, endpoint: TwoModels) -> None:
    project = open_with(folder, f'url = "{endpoint.url}"\nmodel = "untrained"\nparallel = 3')
    made = run(project, with_teacher=True, block=4)
    before, after, teacher = (made.variants[name] for name in ("before", "after", "teacher"))
    assert (before.success, after.success, teacher.success) == (0.0, 1.0, 1.0)
    assert teacher.scripted and teacher.model == "scripted-shop-expert" and not after.scripted
    assert made.comparisons[0].table.gained == TASKS and made.comparisons[0].p == pytest.approx(2 * 0.5**TASKS)
    assert {outcome.category for outcome in before.outcomes} != {""}
    assert [task.id for task in made.tasks] == [outcome.task_id for outcome in after.outcomes]
    assert made.provenance.shared_tasks == 0
    assert Evaluation.read(project.path("evaluation")) == made


def test_both_students_are_shown_what_the_adapter_was_trained_on(folder: Path, endpoint: TwoModels) -> None:
    """Whatever the settings say since; the teacher is shown what it always was."""
    project = open_with(folder, f'url = "{endpoint.url}"\nmodel = "untrained"\nparallel = 1')
    adapter = project.path("training/adapter")
    adapter.mkdir(parents=True)
    Serving(thinking=False, send_reasoning=False, tool_results=ToolResults(limit=20)).write(adapter)
    run(project, limit=2)
    assert {body["model"] for body in endpoint.requests} == {"untrained", "student"}
    for body in endpoint.requests:
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        assert not any("reasoning_content" in message for message in body["messages"])
    found = [m["content"] for body in endpoint.requests for m in body["messages"] if m["role"] == "tool"]
    assert any("[cut: 20 of " in content for content in found) and max(map(len, found)) < 80


def test_the_variants_take_turns_by_blocks(folder: Path, endpoint: TwoModels) -> None:
    project = open_with(folder, f'url = "{endpoint.url}"\nmodel = "untrained"\nparallel = 3')
    run(project, block=4)
    turns = [model for model, _ in groupby(endpoint.asked)]
    assert turns == ["untrained", "student", "untrained", "student"]  # of three blocks; the second begins with "after"


def test_a_stopped_evaluation_repeats_no_finished_rollout(folder: Path, endpoint: TwoModels) -> None:
    project = open_with(folder, f'url = "{endpoint.url}"\nmodel = "untrained"\nparallel = 2')

    def stop(done: int, total: int, name: str) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(project, block=4, on_progress=stop)
    assert not project.path("evaluation").exists()
    seen: list[tuple[int, int, str]] = []
    made = run(project, block=4, on_progress=lambda *now: seen.append(now))
    assert seen[0][0] == 10 and seen[-1][:2] == (2 * TASKS, 2 * TASKS)
    assert (made.variants["before"].success, made.variants["after"].success) == (0.0, 1.0)


def test_a_finished_evaluation_starts_nothing(folder: Path) -> None:
    with two_models() as endpoint:
        project = open_with(folder, f'url = "{endpoint.url}"\nmodel = "untrained"')
        first = run(project, limit=3)
    again = run(project, limit=3)
    assert again == first  # with the date, version and commit of when it was measured


def test_rollouts_that_an_error_left_open_are_no_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = open_with(folder, 'url = "http://127.0.0.1:9/v1"\nmodel = "untrained"')
    monkeypatch.setattr("tutelage.evaluate.compare._run", lambda *_: None)  # as if each had ended with an error
    with pytest.raises(TutelageError, match=r"4 rollouts ended with an error .*tutelage doctor"):
        run(project, limit=2)
    assert not project.path("evaluation").exists()


def test_a_student_that_the_embedded_endpoint_cannot_serve_is_named(folder: Path) -> None:
    (folder / "training" / "adapter").mkdir(parents=True)
    (folder / "training" / "adapter" / "adapter.gguf").write_bytes(b"GGUF")
    with pytest.raises(TutelageError, match=r'cannot serve "Qwen/Qwen3-0\.6B"\. Serve it'):
        run(open_with(folder, 'model = "Qwen/Qwen3-0.6B"'))


def test_a_missing_adapter_says_what_to_run(folder: Path) -> None:
    with pytest.raises(TutelageError, match="Run `tutelage train` first"):
        run(Project.open(folder))


def test_a_project_without_a_verifier_cannot_be_evaluated(folder: Path) -> None:
    settings = folder / "tutelage.toml"
    settings.write_text(
        "\n".join(line for line in settings.read_text().splitlines() if not line.startswith("verifier"))
    )
    with pytest.raises(TutelageError, match="names no verifier"):
        run(Project.open(folder))


@pytest.mark.slow
def test_an_adapter_of_zeros_leaves_the_embedded_student_as_it_is(folder: Path) -> None:
    """One embedded server, switched by request: with B zero both variants say the same at temperature 0."""
    write_zero_adapter(folder / "training" / "adapter")
    project = open_with(folder, "parallel = 1")  # other requests beside it would round otherwise
    made = run(project, limit=2)
    with TraceStore(project.store_url) as store:
        for before, after in zip(made.variants["before"].outcomes, made.variants["after"].outcomes, strict=True):
            first, second = store.load(before.trace_id), store.load(after.trace_id)
            assert first.id != second.id and first.messages == second.messages and len(first.messages) > 2
    assert made.provenance.adapter_sha256 and made.provenance.student_sha256


def write_zero_adapter(folder: Path) -> None:
    import gguf
    import numpy as np

    folder.mkdir(parents=True)
    writer = gguf.GGUFWriter(folder / "adapter.gguf", "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    writer.add_tensor("blk.0.attn_output.weight.lora_a", np.ones((4, 576), np.float32))
    writer.add_tensor("blk.0.attn_output.weight.lora_b", np.zeros((576, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
