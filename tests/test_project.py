"""tutelage.toml, mcp.json and task files: every fault is one sentence that names the place."""

from pathlib import Path

import pytest

from tutelage.errors import TutelageError
from tutelage.project import Project, expand
from tutelage.scaffold import make_project
from tutelage.trace import Task
from tutelage.world import World, load_function, open_world


def project(folder: Path, settings: str = "", mcp: str = "", tasks: str = "") -> Project:
    (folder / "tutelage.toml").write_text(settings)
    (folder / "mcp.json").write_text(mcp)
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks/train.jsonl").write_text(tasks)
    return Project.open(folder)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("seeed = 1", 'unknown key "seeed". Did you mean "seed"?'),
        ("[rollout]\nmax_stepps = 3", 'unknown key "rollout.max_stepps". Did you mean "max_steps"?'),
        ("[rollout]\nmax_steps = 0", '"rollout.max_steps": input should be greater than 0'),
        ('[services.shop]\ncommand = ["a"]\nredy = "x"', 'unknown key "services.shop.redy". Did you mean "ready"?'),
        ('[teacher]\nurl = "http://localhost"', '"teacher.model": field required'),
        ('[servers.s]\ndeny = ["@destuctive"]', 'there is no pattern "@destuctive"; write @read-only or @destructive'),
        ("seed =", "not valid TOML"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, settings: str, sentence: str) -> None:
    with pytest.raises(TutelageError) as error:
        project(tmp_path, settings)
    assert sentence in str(error.value)
    assert str(tmp_path / "tutelage.toml") in str(error.value)


@pytest.mark.parametrize(
    ("mcp", "sentence"),
    [
        ("{", "mcp.json:1: not valid JSON"),
        ("{}", "names no server"),
        ('{"mcpServers": {"a": {}}}', 'server "a" needs either "command" or "url"'),
        ('{"mcpServers": {"a": {"command": "x", "url": "y"}}}', 'needs either "command" or "url"'),
        ('{"mcpServers": {"a": {"command": "x", "args": "y"}}}', 'server "a": "args"'),
        ('{"mcpServers": {"a": {"command": "x", "disabled": true}}}', 'every server is "disabled"'),
        ('{"mcpServers": {"a": {"url": "${NOT_SET_ANYWHERE}"}}}', "${NOT_SET_ANYWHERE} is not set"),
    ],
)
def test_a_bad_server_is_named(tmp_path: Path, mcp: str, sentence: str) -> None:
    with pytest.raises(TutelageError) as error:
        project(tmp_path, mcp=mcp).mcp_servers({})
    assert sentence in str(error.value)


def test_rules_for_a_server_that_is_not_there_are_refused(tmp_path: Path) -> None:
    mcp = '{"mcpServers": {"github": {"command": "x"}}}'
    with pytest.raises(TutelageError, match=r'\[servers.gihub\]: .*names no such server. Did you mean "github"\?'):
        project(tmp_path, '[servers.gihub]\ndeny = ["*"]', mcp).mcp_servers({})


def test_a_server_that_is_disabled_is_left_out_and_needs_nothing(tmp_path: Path) -> None:
    mcp = '{"mcpServers": {"a": {"command": "x"}, "b": {"command": "${NOT_SET_ANYWHERE}", "disabled": true}}}'
    assert list(project(tmp_path, '[servers.b]\ndeny = ["*"]', mcp).mcp_servers({})) == ["a"]


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        ("\n", "holds no task"),
        ('{"id": "a", "prompt": "x"}\nnonsense', "train.jsonl:2: not valid JSON"),
        ('{"id": "a"}', 'train.jsonl:1: "turns": field required'),
        ('{"id": "a", "prompt": "x"}\n{"id": "a", "prompt": "y"}', 'train.jsonl:2: the task id "a" stands there twice'),
    ],
)
def test_a_bad_task_is_named_by_line(tmp_path: Path, tasks: str, sentence: str) -> None:
    with pytest.raises(TutelageError) as error:
        project(tmp_path, tasks=tasks).tasks("train")
    assert sentence in str(error.value)


def test_placeholders_stand_for_services_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "t")
    value = {"url": "http://127.0.0.1:${shop.port}/mcp", "headers": ["Bearer ${MY_TOKEN}"]}
    assert expand(value, {"shop.port": "8123"}, "") == {
        "url": "http://127.0.0.1:8123/mcp",
        "headers": ["Bearer t"],
    }


def test_a_placeholder_may_have_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_PORT", raising=False)
    assert expand("${MY_PORT:-80}/${MY_PATH:-}", {}, "") == "80/"
    assert expand("${shop.port:-80}", {"shop.port": "8123"}, "") == "8123"
    with pytest.raises(TutelageError, match=r"\$\{MY_PORT\} is not set"):
        expand("${MY_PORT}", {}, "")


def test_a_server_finds_the_project_folder_and_the_store_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "secret")
    mcp = '{"mcpServers": {"s": {"command": "node", "args": ["${project}/s.js"], "cwd": "servers"}}}'
    opened = project(tmp_path, 'store = "postgresql://me:${DB_PASSWORD}@db/traces"\n', mcp=mcp)
    server = opened.mcp_servers({})["s"]
    assert (server.args, server.cwd) == ((f"{tmp_path}/s.js",), f"{tmp_path}/servers")
    assert opened.store_url == "postgresql://me:secret@db/traces"


def test_a_teacher_named_by_hand_stands_in_for_the_projects(tmp_path: Path) -> None:
    opened = project(tmp_path, '[teacher]\nurl = "http://a/v1"\nmodel = "one"\n')
    assert opened.teacher().model == "one"
    assert opened.teacher(model="two").url == "http://a/v1"
    with pytest.raises(TutelageError, match="--teacher-model"):
        opened.teacher(url="http://b/v1")
    with pytest.raises(TutelageError, match="names no teacher"):
        project(tmp_path, "").teacher()


def test_a_world_that_cannot_be_prepared_names_the_function_and_the_task(tmp_path: Path) -> None:
    def fill(task: Task, world: World) -> None:
        raise KeyError("files")

    with (
        pytest.raises(TutelageError, match=r'fill", which prepares worlds, failed on task "t": KeyError'),
        open_world(Task(id="t", turns=("go",)), tmp_path, fill),
    ):
        pass


def test_a_file_of_functions_is_run_once(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text("def prepare(): ...\ndef verify(): return prepare\n")
    assert load_function("two.py:verify", tmp_path)() is load_function("two.py:prepare", tmp_path)


def test_a_new_blank_project_is_valid_and_its_verifier_loads(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert make_project(folder)
    new = Project.open(folder)
    assert len(new.tasks("train")) == len(new.tasks("evaluate")) == 1
    assert new.mcp_servers({}).keys() == {"files"}
    assert callable(new.prepare)
    assert callable(new.verifier)


def test_a_project_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    make_project(folder)
    (folder / "tutelage.toml").write_text("seed = 3\n")
    assert not make_project(folder)
    assert Project.open(folder).settings.seed == 3


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(TutelageError, match="is not empty"):
        make_project(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_line_separator_inside_a_prompt_is_part_of_it(tmp_path: Path) -> None:
    (task,) = project(tmp_path, tasks='{"id": "a", "prompt": "one\u2028two"}\n').tasks("train")
    assert task.turns == ("one\u2028two",)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    opened = project(tmp_path, tasks="{}")
    (tmp_path / "tasks/train.jsonl").write_bytes(b'{"id": "\xe9"}')
    with pytest.raises(TutelageError, match=r"train\.jsonl could not be read: it is not UTF-8"):
        opened.tasks("train")
    with pytest.raises(TutelageError, match="was not found"):
        Project.open(tmp_path / "tutelage.toml")


def test_a_verifier_that_does_not_compile_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "verify.py").write_text("def verify(:\n")
    with pytest.raises(TutelageError, match=r'"verify\.py:verify" could not be loaded: SyntaxError'):
        _ = project(tmp_path, '[tasks]\nverifier = "verify.py:verify"\n').verifier
