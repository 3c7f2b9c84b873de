"""init, collect, dataset build, train, evaluate, report, quickstart: the stages in order."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.common import (
    DATASET,
    EVALUATION,
    HERE,
    REPORT,
    RUNS_HELP,
    TRAINING,
    JsonOption,
    ProjectOption,
    TeacherModel,
    TeacherUrl,
    console,
    open_project,
    open_store,
    output,
    page_opener,
    progress,
    trained,
)
from tutelage.errors import TutelageError

if TYPE_CHECKING:
    from tutelage.project import Project

SystemPromptFile = Annotated[Path | None, typer.Option(help="A system prompt, instead of the project's.")]

dataset_app = typer.Typer(help="Make training rows of traces.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.command()(init)
    app.command()(collect)
    app.add_typer(dataset_app, name="dataset")
    app.command()(train)
    app.command()(evaluate)
    app.command()(report)
    app.command()(quickstart)


def init(
    folder: Annotated[Path, typer.Argument(help="The new project folder.")],
    example: Annotated[str, typer.Option(help='"blank" to fill in, or "shop", the example with its tasks.')] = "blank",
    seed: Annotated[int, typer.Option(help="Of the example's tasks.", min=0)] = 0,
    train_tasks: Annotated[int, typer.Option(help="How many the example has for training.", min=1)] = 192,
    evaluate_tasks: Annotated[int, typer.Option(help="How many it holds out.", min=1)] = 60,
) -> None:
    """Make a project folder: tutelage.toml, mcp.json, tasks, a verifier. One that is there is left as it is."""
    from tutelage.scaffold import make_project

    if example not in ("blank", "shop"):
        raise TutelageError(f'There is no example "{example}". Name blank or shop.')
    made = make_project(folder, example, seed=seed, train_tasks=train_tasks, evaluate_tasks=evaluate_tasks)  # type: ignore[arg-type]
    print(f"Made {folder}." if made else f"{folder} holds a project already; it was left as it is.")


def collect(
    project: ProjectOption = HERE,
    run: Annotated[str, typer.Option(help="A name for these rollouts; the same name goes on with them.")] = "collect",
    teacher_url: TeacherUrl = None,
    teacher_model: TeacherModel = None,
    system_prompt_file: SystemPromptFile = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many tasks.", min=1)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="A budget of tokens for the run.", min=1)] = None,
    max_cost: Annotated[float | None, typer.Option(help="The same in money, by the teacher's prices.")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Begin no rollout after so many minutes.")] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help='Spread them over a Ray cluster; "auto" is the one here.')
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the teacher on the training tasks and record every trace. Finished tasks are not repeated.

    A dry run starts the MCP servers to list what the teacher may call, and estimates what the run would take by
    earlier traces; it calls nothing. With --json, progress goes to standard error as lines of JSON.
    """
    from rich.console import Console

    from tutelage.agent.overview import overview, overview_table
    from tutelage.cli.collecting import shown
    from tutelage.collect import collect as run_collect
    from tutelage.collect.budget import Limits
    from tutelage.collect.estimate import estimate

    opened = open_project(project)
    with open_store(opened) as store:
        teacher = opened.teacher(teacher_url, teacher_model)
        limits = Limits.of(opened.settings.collect, teacher, max_tokens, max_cost, max_minutes)
        if dry_run:
            plan = estimate(opened, store, run, teacher, limit)
            found = overview(opened, open_page=page_opener())
            if not as_json:
                Console().print(overview_table(found))
            text = f"{found.sentence()}\n{plan.sentence()}"
            output({**plan.as_dict(), "tools": found.as_dict()}, text, as_json=as_json)
            return
        with shown(as_json=as_json) as (advance, notice):
            summary = run_collect(
                opened,
                store,
                run=run,
                teacher_url=teacher_url,
                teacher_model=teacher_model,
                system_prompt_file=system_prompt_file,
                limit=limit,
                ray=ray,
                limits=limits,
                on_progress=advance,
                on_notice=notice,
            )
    output(summary.as_dict(), summary.sentence(), as_json=as_json)


@dataset_app.command()
def build(
    project: ProjectOption = HERE,
    run: Annotated[list[str] | None, typer.Option(help=RUNS_HELP)] = None,
    reasoning: Annotated[
        str | None, typer.Option(help="keep, off, mask or backfill, instead of the project's. See docs/dataset.md.")
    ] = None,
    teacher_url: TeacherUrl = None,
    teacher_model: TeacherModel = None,
    out: Annotated[str, typer.Option(help="The build's folder, in the project's.")] = DATASET,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be built, and keep nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Keep good traces, unroll them and render the rows to tokens. The same store and seed give the same bytes."""
    from rich.console import Console

    from tutelage.dataset import build as run_build
    from tutelage.dataset.terminal import SummaryTables
    from tutelage.trace import RUNS_TO_LEARN

    opened = open_project(project)
    with open_store(opened) as store, progress() as bar:
        shown = bar.add_task("dataset", total=None, note="")
        summary = run_build(
            opened,
            store,
            None if dry_run else opened.path(out),
            runs=run or RUNS_TO_LEARN,
            reasoning=reasoning,
            teacher_url=teacher_url,
            teacher_model=teacher_model,
            on_progress=lambda done, total: bar.update(shown, completed=done, total=total),
        )
    if as_json:
        output(summary.model_dump(mode="json"), "", as_json=True)
    else:
        Console().print(SummaryTables(summary))


def train(
    project: ProjectOption = HERE,
    dataset: Annotated[
        str | None,
        typer.Option(help="A published dataset: owner/name on the Hub, or a folder. [default: the built one]"),
    ] = None,
    from_adapter: Annotated[Path | None, typer.Option(help="Go on from this adapter, not the project's.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, bf16 or fp32, instead of the project's.")] = None,
    method: Annotated[str | None, typer.Option(help="lora, qlora or full, instead of the project's.")] = None,
    objective: Annotated[str | None, typer.Option(help="sft or dpo, instead of the project's.")] = None,
    backend: Annotated[str | None, typer.Option(help="transformers or unsloth, instead of the project's.")] = None,
    shard: Annotated[
        bool, typer.Option("--shard", help="Divide the student over the processes that torchrun has started.")
    ] = False,
    log_to: Annotated[
        list[str] | None,
        typer.Option(help="Log losses to this tracker, not the project's: wandb, trackio, … [several times for more]"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train LoRA adapters of the student (or all of it) on the dataset. Run again to go on from the last checkpoint.

    Losses go to TensorBoard: tensorboard --logdir PROJECT/training/tensorboard
    Its settings stand in [train] of tutelage.toml; docs/settings.md lists them.
    """
    from tutelage.train import plan_training, run_training, train_config, with_train

    adapter = str(from_adapter.resolve()) if from_adapter else None
    given = {"dtype": dtype, "method": method, "objective": objective, "backend": backend}
    opened = with_train(open_project(project), adapter=adapter, shard=shard or None, log_to=log_to, **given)
    build_folder = _taken(opened, dataset) if dataset else opened.path(DATASET)
    mixed = [_taken(opened, part.source) for part in train_config(opened).datasets]
    if dry_run:
        plan = plan_training(opened, build_folder, mixed)
        output(plan.as_dict(), plan.sentence(), as_json=as_json)
        return
    with progress() as bar:
        shown = bar.add_task("train", total=None, note="")

        def advance(done: int, total: int, losses: str) -> None:
            bar.update(shown, completed=done, total=total, note=losses)

        result = run_training(opened, build_folder, opened.path(TRAINING), advance, mixed)
    output(result.as_dict(), result.sentence(), as_json=as_json)


def _taken(project: "Project", source: str) -> Path:
    """A published dataset, or another build, as a build for the project's student."""
    from tutelage.dataset.published import take_published

    folder = project.path(f"{DATASET}-{re.sub(r'[^A-Za-z0-9._-]+', '-', source).strip('-.')}")
    found = str(project.path(source)) if project.path(source).is_dir() else source
    console().print(take_published(project, found, folder).sentence(), markup=False, highlight=False)
    return folder


def evaluate(
    project: ProjectOption = HERE,
    with_teacher: Annotated[bool, typer.Option("--with-teacher", help="Run the teacher on these tasks too.")] = False,
    teacher_url: TeacherUrl = None,
    teacher_model: TeacherModel = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many tasks.", min=1)] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the untouched and the trained student on the held-out tasks, by the same endpoint and agent."""
    from tutelage.evaluate import evaluate as run_evaluate

    opened = open_project(project)
    with open_store(opened) as store, progress() as bar:
        shown = bar.add_task("evaluate", total=None, note="")
        evaluation = run_evaluate(
            opened,
            store,
            adapter=trained(opened),
            out=opened.path(EVALUATION),
            limit=limit,
            with_teacher=with_teacher,
            teacher_url=teacher_url,
            teacher_model=teacher_model,
            on_progress=lambda done, total, note: bar.update(shown, completed=done, total=total, note=note),
        )
    output(evaluation.model_dump(mode="json"), evaluation.sentence(), as_json=as_json)


def report(project: ProjectOption = HERE) -> None:
    """Show before and after on the terminal and write the same as one HTML page, report.html."""
    from rich.console import Console

    from tutelage.evaluate import make_report

    opened = open_project(project)
    with open_store(opened) as store:
        page = make_report(
            opened,
            store,
            evaluation=opened.path(EVALUATION),
            training=opened.path(TRAINING),
            dataset=opened.path(DATASET),
            out=opened.path(REPORT),
            terminal=Console(),
        )
    print(f"\nThe whole report: {page}")


def quickstart(
    folder: Annotated[Path, typer.Option(help="Where the example project is made.")] = Path("quickstart"),
    seed: Annotated[int, typer.Option(help="Of tasks, training and order.", min=0)] = 0,
    train_tasks: Annotated[int, typer.Option(help="Tasks whose traces are trained on.", min=1)] = 192,
    evaluate_tasks: Annotated[int, typer.Option(help="Held-out tasks.", min=1)] = 60,
    teacher_url: TeacherUrl = None,
    teacher_model: TeacherModel = None,
    as_json: JsonOption = False,
) -> None:
    """Watch a small model learn a shop's tools: every stage in order, on this machine, with nothing to set up.

    The teacher is scripted (its model name says so) unless --teacher-url and --teacher-model name a real one. Stop it
    at any time; run again, it goes on.
    """
    from tutelage.quickstart.run import Options, run_quickstart

    options = Options(folder, seed, train_tasks, evaluate_tasks, teacher_url, teacher_model)
    terminal = console()
    result = run_quickstart(options, lambda line: terminal.print(f"\n[bold]{line}[/bold]", highlight=False))
    output(result, _summary(result), as_json=as_json)


def _summary(result: dict[str, Any]) -> str:
    before, after, teacher = (result[name]["success"] for name in ("before", "after", "teacher"))
    minutes = result["seconds"]["total"] / 60
    return (
        f"\nOn {result['tasks']} tasks it never saw, the student went from {before:.0%} to {after:.0%} "
        f"(teacher: {teacher:.0%}) in {minutes:.1f} minutes.\nReport: {result['report']}"
    )
