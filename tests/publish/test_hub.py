import hashlib
import json
import re
from pathlib import Path

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hub_server import TOKEN, Hub

from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.publish import push_dataset, push_model
from tutelage.render.student import load_template
from tutelage.settings import Settings


@pytest.fixture
def build(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    folder.mkdir()
    for name in ("train", "validation"):
        pq.write_table(pa.table({"id": [f"{name}-{i}" for i in range(50)]}), folder / f"{name}.parquet")
    (folder / "README.md").write_text("---\ntags: [tool-use]\n---\n# Traces\n")
    (folder / "build.json").write_text(json.dumps({"rows": 50, "seed": 0, "store": "/home/me/traces.db"}))
    (folder / "template.jinja").write_text("{{ messages }}")
    (folder / "serving.json").write_text("{}")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, Settings(name="shop"))


@pytest.fixture
def training(tmp_path: Path) -> Path:
    adapter = tmp_path / "training" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/home/me/.cache/x", "r": 16}))
    (adapter / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 400)
    (adapter / "adapter.gguf").write_bytes(b"GGUF" + bytes(1000))
    (adapter.parent / "train.json").write_text(json.dumps({"rows": 480, "seed": 0, "folder": "/home/me/training"}))
    return adapter.parent


def header(card: bytes) -> dict[str, object]:
    found = re.match(rb"---\n(.*?)\n---\n", card, re.DOTALL)
    assert found
    return dict(yaml.safe_load(found[1]))


def read_back(repo: str, name: str, kind: str, hub: Hub, tmp_path: Path) -> bytes:
    path = huggingface_hub.hf_hub_download(
        repo, name, repo_type=kind, endpoint=hub.url, cache_dir=tmp_path / "cache", token=TOKEN
    )
    return Path(path).read_bytes()


def test_a_dataset_is_read_back_byte_for_byte(hub: Hub, build: Path, tmp_path: Path) -> None:
    url = push_dataset(build, "me/shop-traces")
    assert url == f"{hub.url}/datasets/me/shop-traces"
    repository = hub.repositories["dataset", "me/shop-traces"]
    assert repository.private and len(repository.commits) == 1
    for name in ("train.parquet", "validation.parquet", "README.md", "template.jinja"):
        assert read_back("me/shop-traces", name, "dataset", hub, tmp_path) == (build / name).read_bytes()
    assert json.loads(repository.files["build.json"]) == {"rows": 50, "seed": 0}


def test_an_adapter_is_read_back_byte_for_byte(hub: Hub, project: Project, training: Path, tmp_path: Path) -> None:
    push_model(project, training, None, "me/shop-student")
    repository = hub.repositories["model", "me/shop-student"]
    for name in ("adapter_model.safetensors", "adapter.gguf"):
        assert read_back("me/shop-student", name, "model", hub, tmp_path) == (training / "adapter" / name).read_bytes()
    assert repository.files["chat_template.jinja"].decode() == load_template("qwen3", tmp_path)
    assert b'"<|im_end|>"' in repository.files["tokenizer_config.json"]
    config = json.loads(repository.files["adapter_config.json"])
    assert config == {"base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct", "r": 16}
    found = header(repository.files["README.md"])
    assert found["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct" and found["license"] == "apache-2.0"
    assert b"has not been evaluated" in repository.files["README.md"]
    assert not any(b"/home/me" in content for content in repository.files.values())
    card = repository.files["README.md"].decode()
    assert "--lora-modules shop-student=me/shop-student" in card and "--max-lora-rank 16" in card
    assert "hf download me/shop-student chat_template.jinja" in card and "--chat-template chat_template.jinja" in card


def test_the_card_gives_the_figures_of_the_evaluation(
    hub: Hub, project: Project, training: Path, tmp_path: Path
) -> None:
    variant = {
        "name": "after",
        "scripted": False,
        "solved": 56,
        "tasks": 60,
        "success": 0.9333,
        "interval": [0.84, 0.97],
    }
    evaluation = {
        "variants": {"after": variant},
        "comparisons": [],
        "provenance": {
            "commit": None,
            "tasks_sha256": "ef" * 32,
            "seed": 3,
            "version": "0.1.0",
            "adapter_sha256": hashlib.sha256((training / "adapter" / "adapter.gguf").read_bytes()).hexdigest(),
        },
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
    push_model(project, training, tmp_path, "me/shop-student")
    card = hub.repositories["model", "me/shop-student"].files["README.md"].decode()
    assert "| after | 56 of 60 | 93% | 84% to 97% |" in card and "seed 3" in card
    (training / "adapter" / "adapter.gguf").write_bytes(b"trained anew")
    with pytest.raises(TutelageError, match="of another adapter"):
        push_model(project, training, tmp_path, "me/shop-student")


def test_pushing_again_adds_a_commit(hub: Hub, build: Path) -> None:
    push_dataset(build, "me/shop-traces", private=False)
    (build / "build.json").write_text('{"rows": 51}')
    push_dataset(build, "me/shop-traces", private=False)
    repository = hub.repositories["dataset", "me/shop-traces"]
    assert len(repository.commits) == 2 and json.loads(repository.files["build.json"])["rows"] == 51


def test_nothing_is_pushed_to_a_repository_that_is_public_unless_asked_for(hub: Hub, build: Path) -> None:
    push_dataset(build, "me/shop-traces", private=False)
    with pytest.raises(TutelageError, match=r"me/shop-traces exists and is public\..*--public"):
        push_dataset(build, "me/shop-traces")
    assert len(hub.repositories["dataset", "me/shop-traces"].commits) == 1


def test_a_push_that_is_to_be_public_does_not_end_in_a_private_repository_without_a_word(hub: Hub, build: Path) -> None:
    push_dataset(build, "me/shop-traces")
    with pytest.raises(TutelageError, match=r"me/shop-traces exists and is private.*without --public"):
        push_dataset(build, "me/shop-traces", private=False)
    assert len(hub.repositories["dataset", "me/shop-traces"].commits) == 1


def test_a_missing_token_is_named_before_anything_is_sent(
    hub: Hub, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(TutelageError, match="set HF_TOKEN"):
        push_dataset(build, "me/x")
    assert hub.requests == []


def test_a_refused_token_is_one_sentence(hub: Hub, build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(TutelageError, match="write permission"):
        push_dataset(build, "me/x")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(TutelageError, match="HTTP 403"):
        push_dataset(build, "somebody-else/x")


def test_an_unreachable_hub_is_one_sentence(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(TutelageError, match="could not be reached"):
        push_dataset(build, "me/x")


def test_a_name_that_is_none_is_one_sentence(hub: Hub, build: Path) -> None:
    with pytest.raises(TutelageError, match="owner/name"):
        push_dataset(build, "me/x y")


def test_what_was_not_made_yet_says_what_to_run(project: Project, tmp_path: Path) -> None:
    with pytest.raises(TutelageError, match="tutelage dataset build"):
        push_dataset(tmp_path, "me/x")
    with pytest.raises(TutelageError, match="tutelage train"):
        push_model(project, tmp_path, None, "me/x")
