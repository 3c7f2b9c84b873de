"""Push a dataset or a model to the Hugging Face Hub (or the server that HF_ENDPOINT names)."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from tutelage.errors import MissingExtra, TutelageError
from tutelage.project import Project
from tutelage.publish.cards import EMBEDDED_HUB_ID, model_card
from tutelage.publish.merge import TOKENIZER_FILES, adapter_base, merge_adapter
from tutelage.publish.secrets import NAMES, find_secrets
from tutelage.render.serving import SERVING_FILE, planned_serving, read_serving
from tutelage.render.trained import MERGED, is_whole, trained_folder, weight_files

DATASET_FILES = ("README.md", "train.parquet", "validation.parquet", "template.jinja", SERVING_FILE)
SCANNED = ("id", "trace_id", "messages", "tools", *NAMES)  # columns
NOT_PUSHED = ("README.md", "merged.json", "build.json")
SHOWN = 5  # secrets that a message names
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter.gguf", *TOKENIZER_FILES)


def push_dataset(
    build: Path, repo_id: str, *, private: bool = True, known_secrets: Mapping[str, str] | None = None
) -> str:
    """Push a built dataset with its card in one commit; its URL.

    Raises TutelageError with what to do, also where a secret is found in it: one of a known form, or one of
    `known_secrets`, by what they are called.
    """
    record = _read(build / "build.json", "tutelage dataset build")
    files: dict[str, Path | bytes] = {name: build / name for name in DATASET_FILES if (build / name).is_file()}
    missing = [name for name in DATASET_FILES if name not in files]
    if missing:
        raise TutelageError(f"{build} holds no {missing[0]}. Run `tutelage dataset build` first.")
    # The store is a file of this machine, or a database with a user's name: it tells others nothing.
    told = json.dumps({key: value for key, value in record.items() if key != "store"}, indent=2)
    texts = {"README.md": (build / "README.md").read_text(encoding="utf-8"), "build.json": told}
    _require_no_secret(build, repo_id, known_secrets or {}, texts)
    files["build.json"] = told.encode()
    return _push("dataset", repo_id, files, private=private, message="Push a dataset of unrolled traces")


def _require_no_secret(build: Path, repo_id: str, known: Mapping[str, str], texts: Mapping[str, str]) -> None:
    import pyarrow.parquet as pq

    def rows() -> Iterator[dict[str, Any]]:
        for name in ("train.parquet", "validation.parquet"):
            file = pq.ParquetFile(build / name)
            columns = [column for column in SCANNED if column in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=128, columns=columns):
                yield from batch.to_pylist()

    found = find_secrets(rows(), known, texts)
    if found:
        shown = "\n".join(f"  {secret.what} in {secret.place}" for secret in found[:SHOWN])
        more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise TutelageError(
            f"{repo_id} was not pushed: {len(found)} secret{'s' if len(found) > 1 else ''} found.\n{shown}{more}\n"
            "Take them out (`tutelage traces edit TRACE`, then approve) or reject the traces, build the dataset again "
            "and push. Whoever has seen a secret may use it: renew it too."
        )


def push_model(
    project: Project,
    training: Path,
    evaluation: Path | None,
    repo_id: str,
    *,
    merged: bool = False,
    private: bool = True,
) -> str:
    """Push the adapter, or the whole model, with tokenizer, template and card in one commit; its URL.

    The whole model with `merged`, and after full fine-tuning. The card's figures are evaluation.json's; without it the
    card says that the model was not evaluated. Raises TutelageError where the figures are another adapter's.
    """
    adapter = trained_folder(training)  # or the model's folder
    whole = is_whole(adapter)
    base = _student(project) if whole else adapter_base(adapter)
    figures = _read(evaluation / "evaluation.json", None) if evaluation else {}
    _require_same_adapter(figures, adapter)
    folder = merge_adapter(adapter, training / MERGED) if merged and not whole else adapter
    merged = merged or whole
    hub_base = _hub_base(project, base)
    card = model_card(
        repo_id=repo_id,
        base=hub_base,
        rank=None if whole else json.loads((adapter / "adapter_config.json").read_text())["r"],
        merged=merged,
        project=project.settings,
        training=_read(training / "train.json", "tutelage train"),
        evaluation=figures,
        serving=read_serving(adapter) or planned_serving(project.settings),
    )
    with TemporaryDirectory() as scratch:
        tokenizer = Path(scratch)
        _write_tokenizer(project, adapter, base, tokenizer)
        files = _model_files(folder, tokenizer, merged=merged)
        if not merged:
            config = json.loads((adapter / "adapter_config.json").read_text())
            files["adapter_config.json"] = json.dumps(
                {**config, "base_model_name_or_path": hub_base}, indent=2
            ).encode()
        if (adapter / SERVING_FILE).is_file():
            files[SERVING_FILE] = adapter / SERVING_FILE
        files["README.md"] = card.encode()
        what = "model" if whole else "merged model" if merged else "LoRA adapter"
        return _push("model", repo_id, files, private=private, message=f"Push a {what}")


def _require_same_adapter(evaluation: Mapping[str, Any], adapter: Path) -> None:
    """An evaluation without the adapter's hash (it lay at an endpoint of the user's) cannot be told."""
    measured = evaluation.get("provenance", {}).get("adapter_sha256")
    if measured and measured not in [hashlib.sha256(file.read_bytes()).hexdigest() for file in weight_files(adapter)]:
        raise TutelageError("evaluation.json is of another adapter. Run `tutelage evaluate` again.")


def _model_files(folder: Path, tokenizer: Path, *, merged: bool) -> dict[str, Path | bytes]:
    names = [path.name for path in sorted(folder.iterdir()) if path.is_file()] if merged else list(ADAPTER_FILES)
    files: dict[str, Path | bytes] = {
        name: folder / name for name in names if (folder / name).is_file() and name not in NOT_PUSHED
    }
    files |= {name: tokenizer / name for name in TOKENIZER_FILES if (tokenizer / name).is_file()}
    if not any(name.endswith(".safetensors") for name in files):
        raise TutelageError(f"{folder} holds no weights. Run `tutelage train` first.")
    return files


def _write_tokenizer(project: Project, adapter: Path, base: str, folder: Path) -> None:
    """The student's tokenizer, and the chat template that it was trained with."""
    from tutelage.render.student import EMBEDDED_MODEL, embedded_gguf, load_template, save_tokenizer

    student = project.settings.student
    if student.model == EMBEDDED_MODEL:
        save_tokenizer(embedded_gguf(), folder, load_template(student.template, project.folder))
        return
    source = adapter if (adapter / "tokenizer.json").is_file() else Path(base)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            (folder / name).write_bytes((source / name).read_bytes())


def _student(project: Project) -> str:
    name = project.settings.student.model
    return str(project.path(name)) if project.path(name).is_dir() else name


def _hub_base(project: Project, base: str) -> str:
    """The base as others can find it: a folder of this machine means nothing to them."""
    from tutelage.render.student import EMBEDDED_MODEL

    if project.settings.student.model == EMBEDDED_MODEL:
        return EMBEDDED_HUB_ID
    return Path(base).name if Path(base).is_dir() else base


def _push(
    kind: Literal["dataset", "model"], repo_id: str, files: Mapping[str, Path | bytes], *, private: bool, message: str
) -> str:
    try:
        from huggingface_hub import CommitOperationAdd, HfApi, get_token
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "hub") from error
    token = get_token()
    if not token:
        raise TutelageError(
            "No Hugging Face token was found. Run `hf auth login`, or set HF_TOKEN to a token with write permission "
            "(https://huggingface.co/settings/tokens)."
        )
    # HF_ENDPOINT is read here: huggingface_hub itself reads it only when it is first imported.
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token, library_name="tutelage")
    with _clear_errors(repo_id, api.endpoint):
        url = api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True)
        was_private = bool(api.repo_info(url.repo_id, repo_type=kind).private)
        if private and not was_private:
            raise TutelageError(f"{url.repo_id} exists and is public. Name another, or push with --public.")
        if not private and was_private:
            raise TutelageError(
                f"{url.repo_id} exists and is private, which a push does not change. Make it public in its settings on "
                "the Hub, or push without --public."
            )
        operations = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=file if isinstance(file, bytes) else str(file))
            for name, file in sorted(files.items())
        ]
        api.create_commit(url.repo_id, operations, repo_type=kind, commit_message=message)
    return str(url)


@contextmanager
def _clear_errors(repo_id: str, endpoint: str) -> Iterator[None]:
    """Each failure of the Hub as one sentence."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except HFValidationError:
        raise TutelageError(f'"{repo_id}" is no repository name. Write it as owner/name.') from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            raise TutelageError(
                f"{endpoint} refused to write to {repo_id} (HTTP {status}). Use a token with write permission there."
            ) from error
        said = error.server_message or str(error).splitlines()[0]
        raise TutelageError(f"{endpoint} did not take {repo_id}: {said}") from error
    except ValueError as error:  # the card's metadata, or an answer that is not the Hub's
        raise TutelageError(f"{endpoint} did not take {repo_id}: {error}") from error
    except (httpx2.HTTPError, OSError) as error:
        hint = "Set HF_HUB_DISABLE_XET=1" if "/xet-" in str(error) else "Check the network and HF_ENDPOINT"
        raise TutelageError(f"{endpoint} could not be reached ({error}). {hint}, then push again.") from error


def _read(path: Path, command: str | None) -> dict[str, Any]:
    """A stage's own record; empty without `command` where there is none."""
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        return data
    except FileNotFoundError:
        if command is None:
            return {}
        raise TutelageError(f"{path} was not found. Run `{command}` first.") from None
    except ValueError as error:
        raise TutelageError(f"{path} is not valid JSON: {error}.") from None
