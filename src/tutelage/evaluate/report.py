"""The report: one self-contained HTML page, and the same on the terminal."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.errors import TutelageError
from tutelage.evaluate.contents import FailureRow, KindRow, Report, Source, duration, p_value, percent, points
from tutelage.evaluate.evaluation import Evaluation, Variant
from tutelage.evaluate.plots import Losses, kinds_plot, loss_plot
from tutelage.evaluate.provenance import file_sha256
from tutelage.evaluate.side_by_side import examples
from tutelage.project import Project
from tutelage.render.trained import trained_folder, weight_files
from tutelage.store import TraceStore

if TYPE_CHECKING:
    from rich.console import Console


def make_report(
    project: Project,
    store: TraceStore,
    *,
    evaluation: Path,
    training: Path | None,
    dataset: Path | None,
    out: Path,
    stages: Mapping[str, float] | None = None,
    terminal: "Console | None" = None,
) -> Path:
    """Write the page to `out`, whole or not at all, and show the same on `terminal`.

    `evaluation`, `training` and `dataset` are the stages' folders. `stages` names seconds by stage; without it they
    are read from what the stages recorded. Raises TutelageError where there is no evaluation or no room.
    """
    made = gather(project, store, Evaluation.read(evaluation), training, dataset, stages)
    if terminal:
        from tutelage.evaluate.terminal import show

        show(made, terminal)
    return write_page(made, out)


def gather(
    project: Project,
    store: TraceStore,
    evaluation: Evaluation,
    train_folder: Path | None,
    build_folder: Path | None,
    stages: Mapping[str, float] | None = None,
) -> Report:
    """Everything that the report says, read from the store and the stages' folders.

    A folder that is None or lacks its file leaves its part of the page out.
    """
    train, build = _read(train_folder, "train.json"), _read(build_folder, "build.json")
    other_adapter = train_folder is not None and _is_other_adapter(trained_folder(train_folder), evaluation)
    if other_adapter:
        train, build = {}, {}
    variants, kinds = tuple(evaluation.variants.values()), evaluation.kinds()
    plots = {"kinds": kinds_plot(kinds, variants)}
    losses = loss_plot(_losses(train))
    if losses:
        plots["loss"] = losses
    return Report(
        project=project.settings.name,
        evaluation=evaluation,
        headline=_headline(evaluation),
        comparison=next((item for item in evaluation.comparisons if item.before == "before"), None),
        kinds=tuple(_kind_row(kind, variants) for kind in kinds),
        failures=_failures(variants),
        plots=plots,
        training=tuple(_training_facts(train)),
        examples=tuple(examples(evaluation, store)),
        stages=tuple((stages or _recorded_seconds(project, evaluation, train)).items()),
        other_adapter=other_adapter,
        sources=tuple(_sources(project, evaluation, train_folder, train, build_folder, build)),
    )


def write_page(report: Report, out: Path) -> Path:
    page = page_text(report)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        partial.write_text(page)
        partial.replace(out)
    except OSError as error:
        raise TutelageError(f"The report {out} could not be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return out


def page_text(report: Report) -> str:
    """The page as HTML; everything that came from outside is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "points": points, "duration": duration, "p_value": p_value}
    text = files("tutelage.evaluate").joinpath("report.html").read_text()
    return environment.from_string(text).render(report=report, evaluation=report.evaluation)


def _headline(evaluation: Evaluation) -> str:
    before, after = evaluation.variants.get("before"), evaluation.variants.get("after")
    if before and after:
        return (
            f"{before.solved} of {before.tasks} held\N{NON-BREAKING HYPHEN}out tasks solved before training, "
            f"{after.solved} of {after.tasks} after"
        )
    return ", ".join(
        f"{item.name}: {item.solved} of {item.tasks} held-out tasks solved" for item in evaluation.variants.values()
    )


def _kind_row(kind: str, variants: Sequence[Variant]) -> KindRow:
    groups = [[outcome.solved for outcome in variant.outcomes if outcome.kind == kind] for variant in variants]
    return KindRow(kind, len(groups[0]), tuple(sum(group) for group in groups))


def _failures(variants: Sequence[Variant]) -> tuple[FailureRow, ...]:
    """Categories of the students' and the teacher's failures, the most frequent first."""
    counts = [Counter(outcome.category for outcome in variant.outcomes if not outcome.solved) for variant in variants]
    total = sum(counts, Counter())
    return tuple(
        FailureRow(category, tuple(count[category] for count in counts)) for category, _ in total.most_common()
    )


def _is_other_adapter(adapter: Path, evaluation: Evaluation) -> bool:
    """Whether the training's adapter is another than the evaluated one; False where that cannot be told."""
    found = [file_sha256(file) for file in weight_files(adapter)]
    measured = evaluation.provenance.adapter_sha256
    return bool(found and measured) and measured not in found


def _read(folder: Path | None, name: str) -> dict[str, Any]:
    """A stage's own record; empty where it left none."""
    if folder is None or not (folder / name).is_file():
        return {}
    try:
        data = json.loads((folder / name).read_text())
    except ValueError as error:
        raise TutelageError(f"{folder / name} is not valid JSON: {error}. Run that stage again.") from None
    return data if isinstance(data, dict) else {}


def _recorded_seconds(project: Project, evaluation: Evaluation, train: Mapping[str, Any]) -> dict[str, float]:
    """Seconds by stage: of the whole quickstart where it was one, else of the stages that say it themselves."""
    whole = _read(project.folder, "quickstart.json").get("seconds")
    if isinstance(whole, dict):
        return {str(stage): float(seconds) for stage, seconds in whole.items()}
    found = {"train": train["seconds"]} if isinstance(train.get("seconds"), (int, float)) else {}
    return {**found, "evaluate": evaluation.seconds}


def _losses(train: Mapping[str, Any]) -> Losses:
    """The curves of train.json: a training loss for each step, evaluation losses by step."""
    return Losses(
        training=list(enumerate(train.get("losses", []), 1)),
        evaluation=sorted((int(step), loss) for step, loss in train.get("eval_losses", {}).items()),
    )


def _training_facts(train: Mapping[str, Any]) -> list[Source]:
    if not train:
        return []
    config, losses = train["config"], _losses(train)
    unrolled, tree = train["tokens_unrolled"], train["tokens_tree"]
    epochs = "1 epoch" if config["epochs"] == 1 else f"{config['epochs']} epochs"
    steps = f"{len(losses.training)} steps over {train['rows']:,} rows, {epochs}"
    facts = [
        Source("Length", f"{steps}, {duration(train['seconds'])}"),
        Source(
            "Tokens computed",
            f"{tree:,} in prefix trees for {unrolled:,} unrolled: {unrolled / max(tree, 1):.1f} times fewer",
        ),
        Source(
            "Recipe",
            f"LoRA rank {config['lora_rank']}, alpha {config['lora_alpha']}, learning rate {config['learning_rate']}",
        ),
        Source(
            "Machine", f"{train['dtype']}, {train['gflops']:.0f} GFLOP/s measured, {train['peak_rss_mb']:,} MiB at most"
        ),
    ]
    if losses.evaluation:
        step, loss = losses.evaluation[-1]
        facts.insert(1, Source("Last evaluation loss", f"{loss:.4f} after step {step}, on tasks kept out of training"))
    return facts


def _sources(
    project: Project,
    evaluation: Evaluation,
    train_folder: Path | None,
    train: Mapping[str, Any],
    build_folder: Path | None,
    build: Mapping[str, Any],
) -> list[Source]:
    origin = evaluation.provenance
    found = [
        Source("Measured", f"{origin.created:%Y-%m-%d %H:%M} UTC"),
        Source("Tutelage", f"{origin.version}, commit {origin.commit}" if origin.commit else origin.version),
        Source("Held-out tasks", f"{origin.tasks_file}, {len(evaluation.tasks)} used, sha256 {origin.tasks_sha256}"),
        Source("Student", origin.student + (f", sha256 {origin.student_sha256}" if origin.student_sha256 else "")),
        Source("Adapter", origin.adapter + (f", sha256 {origin.adapter_sha256}" if origin.adapter_sha256 else "")),
        Source("Chat template", origin.template),
        Source("Sampling", json.dumps(origin.sampling)),
        Source("Seed", str(origin.seed)),
        Source("Turns taken", f"the models' attempts alternate every {origin.block} tasks on one endpoint"),
        Source("Traces", f"{origin.store}, runs " + ", ".join(variant.run for variant in evaluation.variants.values())),
    ]
    if build_folder and build:
        found.append(Source("Training data", _relative(build_folder / "build.json", project)))
    if train_folder and train:
        data = f"seed {train['seed']}, data sha256 {train['data_hash']}"
        found.append(Source("Training", f"{_relative(train_folder / 'train.json', project)}, {data}"))
    return found


def _relative(path: Path, project: Project) -> str:
    """Without the folders above the project: a page is shown to others."""
    return str(path.relative_to(project.folder)) if path.is_relative_to(project.folder) else str(path)
