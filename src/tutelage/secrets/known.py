"""What is secret on this machine: values that the project takes from the environment."""

import os
import re

from tutelage.project import SETTINGS_FILE, Project
from tutelage.redact import may_be_secret


def known_secrets(project: Project, token: str | None) -> dict[str, str]:
    """What the project takes from the environment: its teacher's key and every ${NAME} of its files; and `token`."""
    teacher = project.settings.teacher
    names = {teacher.api_key_env} if teacher else set()
    for file in (project.path(SETTINGS_FILE), project.path(project.settings.mcp)):
        if file.is_file():
            names |= set(re.findall(r"\$\{([A-Za-z_]\w*)", file.read_text(encoding="utf-8", errors="replace")))
    values = {f"the value of {name}": os.environ.get(name, "") for name in sorted(names)}
    values["the Hub's token"] = token or ""
    return {name: value for name, value in values.items() if may_be_secret(value)}
