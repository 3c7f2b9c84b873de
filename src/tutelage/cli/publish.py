"""`tutelage push`: the dataset, the adapter or the merged model, to the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer

from tutelage.cli.common import (
    DATASET,
    EVALUATION,
    HERE,
    TRAINING,
    ProjectOption,
    confirm,
    open_project,
)

push_app = typer.Typer(help="Publish to the Hugging Face Hub, private unless told otherwise.", no_args_is_help=True)
RepoArgument = Annotated[str, typer.Argument(help="owner/name on the Hub.")]
PublicOption = Annotated[bool, typer.Option("--public", help="Visible to everybody. Asks first.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    app.add_typer(push_app, name="push")


@push_app.command()
def dataset(
    repo: RepoArgument, project: ProjectOption = HERE, public: PublicOption = False, yes: YesOption = False
) -> None:
    """Push the built dataset with its card."""
    from tutelage.publish import push_dataset

    opened = open_project(project)
    if public:
        confirm(f"Make {repo} public, with every prompt and tool result in it?", yes=yes)
    print(push_dataset(opened.path(DATASET), repo, private=not public))


@push_app.command()
def model(
    repo: RepoArgument,
    project: ProjectOption = HERE,
    merged: Annotated[bool, typer.Option("--merged", help="The whole model, adapter merged into its base.")] = False,
    public: PublicOption = False,
    yes: YesOption = False,
) -> None:
    """Push the trained adapter (or, with --merged, the whole model) with tokenizer, chat template and card."""
    from tutelage.publish import push_model

    opened = open_project(project)
    if public:
        confirm(f"Make {repo} public?", yes=yes)
    folder: Path = opened.path(TRAINING)
    print(push_model(opened, folder, opened.path(EVALUATION), repo, merged=merged, private=not public))
