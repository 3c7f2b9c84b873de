import re
from html.parser import HTMLParser
from pathlib import Path

import evaluation_examples as examples
import pytest
from rich.console import Console

from tutelage.evaluate.report import gather, make_report, page_text
from tutelage.project import Project
from tutelage.settings import Settings
from tutelage.store import TraceStore
from tutelage.trace import first_difference


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, Settings(name="test data"))


def page(project: Project, store: TraceStore) -> str:
    return page_text(gather(project, store, examples.evaluation(store, 40), None, None, {"train": 61.0}))


def test_the_page_loads_nothing_and_runs_no_script(project: Project, store: TraceStore) -> None:
    html = page(project, store)
    tags = Tags()
    tags.feed(html)
    for tag, attributes in tags.found:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href", "action"}:
                assert value and value.startswith("#")
    assert not re.search(r"@import|url\((?!#)", html)


def test_what_a_trace_says_is_shown_and_never_run(project: Project, store: TraceStore) -> None:
    html = page(project, store)
    assert "<b>not</b>" not in html
    assert "&lt;b&gt;not&lt;/b&gt; there &amp; gone" in html


def test_every_plot_has_words_for_those_who_cannot_see_it(project: Project, store: TraceStore) -> None:
    tags = Tags()
    tags.feed(page(project, store))
    plots = [attributes for tag, attributes in tags.found if tag == "svg"]
    assert len(plots) == 2
    assert all(plot["role"] == "img" and "order: before" in (plot["aria-label"] or "") for plot in plots)
    names = [tag for tag, _ in tags.found]
    assert names.count("caption") == names.count("table")


def test_the_page_says_what_was_measured_and_whence(project: Project, store: TraceStore) -> None:
    html = page(project, store)
    for said in ("1 of 40 held\N{NON-BREAKING HYPHEN}out tasks", "teacher (scripted)", "McNemar", "cdcdcd"):
        assert said in html
    assert "evaluate-testdata-after" in html and "1 min 01 s" in html


def test_the_first_step_that_differs_is_marked_on_both_sides(project: Project, store: TraceStore) -> None:
    task = examples.tasks(1)[0]
    wrong = examples.wrong("Umbra Lamp", "price")
    good = examples.good("Umbra Lamp", "price")
    left = examples.record(store, "a", "m", task, wrong, False)
    right = examples.record(store, "b", "m", task, good, True)
    assert first_difference(left, right) == 1
    assert first_difference(left, left) is None
    shorter = examples.record(store, "c", "m", task, wrong[:2], False)
    assert first_difference(left, shorter) == 1


def test_the_terminal_shows_the_same_figures(project: Project, store: TraceStore, tmp_path: Path) -> None:
    examples.evaluation(store, 40).write(tmp_path / "evaluation")
    console = Console(width=100, record=True, file=(tmp_path / "out").open("w"))
    out = make_report(
        project,
        store,
        evaluation=tmp_path / "evaluation",
        training=None,
        dataset=None,
        out=tmp_path / "report.html",
        terminal=console,
    )
    text = console.export_text()
    assert out.read_text().startswith("<!doctype html>")
    for said in ("1 of 40", "teacher (scripted)", "no tool call", "McNemar", "compare"):
        assert said in text
    assert [path.name for path in tmp_path.glob(".report*")] == []


def test_the_stages_records_give_curves_and_facts(project: Project, store: TraceStore, tmp_path: Path) -> None:
    training, dataset = tmp_path / "training", tmp_path / "dataset"
    examples.write_stage_records(training, dataset)
    made = gather(project, store, examples.evaluation(store, 20), training, dataset)
    assert "Training loss from 1.4 at step 1" in made.plots["loss"].description
    assert "Evaluation loss from 0.127 at step 20" in made.plots["loss"].description
    assert dict(made.stages) == {"train": 302.5, "evaluate": 151.0}
    html = page_text(made)
    assert (
        "4.9 times fewer" in html
        and "121212" in html
        and "training/train.json, seed 0" in html
        and str(tmp_path) not in html
    )


def test_a_training_after_the_evaluation_is_not_shown_as_its_own(
    project: Project, store: TraceStore, tmp_path: Path
) -> None:
    training, dataset = tmp_path / "training", tmp_path / "dataset"
    examples.write_stage_records(training, dataset)
    (training / "adapter").mkdir()
    (training / "adapter" / "adapter.gguf").write_bytes(b"trained anew")
    made = gather(project, store, examples.evaluation(store, 20), training, dataset)
    assert made.other_adapter and not made.training and "loss" not in made.plots
    assert "trained anew since this evaluation" in page_text(made)
