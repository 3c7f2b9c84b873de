"""What is secret on this machine: values that the project takes from the environment, or that its mcp.json holds."""

import json
import os
import re
from collections.abc import Iterator

from pydantic import ValidationError

from tutelage.project import SETTINGS_FILE, Project, server_secrets
from tutelage.redact import may_be_secret
from tutelage.settings import McpServer


def known_secrets(project: Project, token: str | None) -> dict[str, str]:
    """The teacher's key, every ${NAME} of the project's files, secrets that mcp.json holds, `token`: by their names."""
    teacher = project.settings.teacher
    names = {teacher.api_key_env} if teacher else set()
    for file in (project.path(SETTINGS_FILE), project.path(project.settings.mcp)):
        if file.is_file():
            names |= set(re.findall(r"\$\{([A-Za-z_]\w*)", file.read_text(encoding="utf-8", errors="replace")))
    values = dict(_written(project))
    values |= {f"the value of {name}": os.environ.get(name, "") for name in sorted(names)}
    values["the Hub's token"] = token or ""
    return {name: value for name, value in values.items() if may_be_secret(value)}


def _written(project: Project) -> Iterator[tuple[str, str]]:
    """What stands in mcp.json itself. One that is not as it should be is told of where its servers are used."""
    file = project.path(project.settings.mcp)
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))["mcpServers"].items()
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return
    for name, entry in entries:
        try:
            secrets = server_secrets(McpServer.model_validate(entry))
        except ValidationError:
            continue
        yield from ((f'{called} of server "{name}"', value) for called, value in secrets.items() if "${" not in value)
