import json
import sys
from pathlib import Path

import pytest

from tutelage.agent.offer import Permission
from tutelage.agent.overview import overview
from tutelage.project import Project

SERVER = str(Path(__file__).with_name("misbehaving_server.py"))


@pytest.fixture
def toml() -> str:
    return """
        [student]
        model = "absent"

        [rollout]
        max_tools = 5

        [servers.s]
        deny = ["die"]
    """


def test_tools_that_are_too_many_are_listed_so_that_a_person_can_choose(project: Project) -> None:
    entry = {"command": sys.executable, "args": [SERVER, "ordinary"]}
    project.path("mcp.json").write_text(json.dumps({"mcpServers": {"s": entry}}))
    project.path("tasks").mkdir()
    project.path("tasks/train.jsonl").write_text('{"id": "a", "prompt": "x"}\n')
    found = overview(project)
    assert {tool.original: (tool.name, tool.permission) for tool in found.tools} == {
        **{name: (name, Permission.ALLOW) for name in ("echo", "hang", "fail", "picture", "where", "shop")},
        "die": ("", Permission.DENY),
    }
    assert found.sentence().startswith("6 of 7 tools are offered to the teacher.")
    assert "[rollout] max_tools allows 5: nothing runs" in found.sentence()
