"""Every planted secret is found, and what only looks like one is let through."""

import json
import time
from pathlib import Path

import pytest
from secret_corpus import look_alikes, planted

from tutelage.project import Project
from tutelage.secrets import SecretFinder, known_secrets
from tutelage.settings import Settings, Teacher

FALSE_POSITIVES = 0.01  # of look-alikes; what the documents say


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_planted_secret_is_found_whole(seed: int) -> None:
    finder, corpus = SecretFinder(), planted(seed, 500)
    missed = [item for item in corpus if not any(item.secret in found.value for found in finder.find(item.text))]
    assert missed == []
    assert len({item.kind for item in corpus}) > 60


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_look_alikes_are_let_through_to_the_stated_rate(seed: int) -> None:
    finder = SecretFinder()
    taken = [(text, found) for text in look_alikes(seed, 500) if (found := finder.find(text))]
    assert len(taken) <= FALSE_POSITIVES * 500, taken


@pytest.mark.parametrize(
    "text",
    [
        "see https://example.com:8080/a@b and git@github.com:me/x.git",
        "sk-learn-is-no-key-and-neither-is-this",
        "the bearer of this letter",
        "def connect(password: PasswordType = os.environ['PW']) -> None:",
        "f'{self.user}:{self.password}'",
        "-----BEGIN OPENSSH PRIVATE KEY----- starts such a file",
    ],
)
def test_code_and_prose_hold_no_secret(text: str) -> None:
    assert SecretFinder().find(text) == []


def test_escapes_of_json_are_no_part_of_a_secret() -> None:
    password = 'p"s\\sword1'
    inner = json.dumps({"password": password})
    found = SecretFinder().find(json.dumps({"content": [{"text": inner}]}))
    assert [secret.value for secret in found] == [password]


def test_of_two_that_overlap_the_longer_is_found() -> None:
    url = "postgresql://app:ghp_" + "a1B2" * 9 + "@db.internal/shop"
    assert [secret.value for secret in SecretFinder().find(url)] == ["ghp_" + "a1B2" * 9]


def test_the_time_grows_with_the_text_and_not_faster() -> None:
    """A text of one kind of character is what a careless pattern takes for ever with."""
    finder = SecretFinder()
    finder.find("")
    for piece in ("a", "a-b.", "_x", "password ", "-----BEGIN RSA PRIVATE KEY-----\n", "eyJ", '{"', "://a:"):
        times = []
        for size in (5_000, 20_000):
            started = time.process_time()
            finder.find(piece * (size // len(piece)))
            times.append(time.process_time() - started)
        assert times[1] < 12 * times[0] + 1, piece


def test_what_the_project_takes_from_the_environment_or_its_servers_hold_is_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = {
        "a": {"url": "x", "headers": {"k": "${SHOP_KEY}", "X-Api-Key": "${SHOP_KEY}"}},
        "b": {
            "command": "x",
            "env": {"B_TOKEN": "written-1", "DSN": "postgresql://ada:written-2@db/x", "MODE": "full-text"},
        },
    }
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    monkeypatch.setenv("SHOP_KEY", "open-sesame-1")
    monkeypatch.setenv("TEACHER_KEY", "my teacher's")
    teacher = Teacher(url="http://a/v1", model="m", api_key_env="TEACHER_KEY")
    known = known_secrets(Project(tmp_path, Settings(teacher=teacher)), "hf_short")
    assert known == {
        'B_TOKEN of server "b"': "written-1",
        'the password of DSN of server "b"': "written-2",
        "the value of SHOP_KEY": "open-sesame-1",
        "the value of TEACHER_KEY": "my teacher's",
        "the Hub's token": "hf_short",
    }
