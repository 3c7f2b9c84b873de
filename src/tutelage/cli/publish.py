"""`tutelage push`: the dataset, the adapter or the merged model, to the Hugging Face Hub."""

from pathlib import Path
from tempfile import TemporaryDirectory
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
    open_store,
)
from tutelage.errors import TutelageError

push_app = typer.Typer(help="Publish to the Hugging Face Hub, private unless told otherwise.", no_args_is_help=True)
RepoArgument = Annotated[str, typer.Argument(help="owner/name on the Hub.")]
PublicOption = Annotated[bool, typer.Option("--public", help="Visible to everybody. Asks first.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    app.add_typer(push_app, name="push")


@push_app.command()
def dataset(
    repo: RepoArgument,
    project: ProjectOption = HERE,
    unroll: Annotated[
        str,
        typer.Option(help="A row is: none (a whole conversation), turns (a user turn), steps (a step, with tokens)."),
    ] = "steps",
    public: PublicOption = False,
    yes: YesOption = False,
) -> None:
    """Push the built dataset with its card. Refused where a secret is found in it."""
    from huggingface_hub import get_token

    from tutelage.dataset.conversations import write_conversations
    from tutelage.publish import push_dataset
    from tutelage.secrets import known_secrets

    opened = open_project(project)
    if unroll not in ("none", "turns", "steps"):
        raise TutelageError(f'There is no way to unroll "{unroll}". Name none, turns or steps.')
    if public:
        confirm(f"Make {repo} public, with every prompt and tool result in it?", yes=yes)
    folder, known = opened.path(DATASET), known_secrets(opened, get_token())
    if unroll == "steps":
        print(push_dataset(folder, repo, private=not public, known_secrets=known))
        return
    with TemporaryDirectory(prefix="tutelage-") as scratch, open_store(opened) as store:
        write_conversations(opened, folder, store, unroll, Path(scratch))  # type: ignore[arg-type]
        print(push_dataset(Path(scratch), repo, private=not public, known_secrets=known))


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
