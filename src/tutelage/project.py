"""A project folder: tutelage.toml and mcp.json, validated.

Relative paths in tutelage.toml are relative to the folder that holds it. `${NAME}` in commands, URLs, headers and
environment values, and in `store`, stands for an environment variable (`${NAME:-default}`: or for the default where
it is not set), `${SERVICE.port}` for a service's port, `${project}` for the project's folder, `${python}` for the
interpreter that runs Tutelage.
"""

import json
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from tutelage.errors import TutelageError
from tutelage.redact import named_secrets, note_secret
from tutelage.settings import McpServer, Reset, Settings, Teacher, ToolRules
from tutelage.trace import Task
from tutelage.world import load_function

SETTINGS_FILE = "tutelage.toml"
Model = TypeVar("Model", bound=BaseModel)


class Project:
    """A project folder and its validated settings."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings

    @classmethod
    def open(cls, folder: Path) -> "Project":
        """Read `folder`/tutelage.toml. Raises TutelageError that names the file and the key."""
        path = folder / SETTINGS_FILE
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise TutelageError(
                f"{path} was not found. Run `tutelage init` to make a project, or name its folder with --project."
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise TutelageError(f"{path} is not valid TOML: {error}.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise TutelageError(f"{path} could not be read: {_reason(error)}.") from None
        return cls(folder.resolve(), validate(Settings, data, str(path)))

    def path(self, relative: Path | str) -> Path:
        return self.folder / relative

    @property
    def store_url(self) -> str:
        store = self.settings.store
        store = expand(store, {"project": str(self.folder)}, f'{self.path(SETTINGS_FILE)}: "store"')
        return store if "://" in store else f"sqlite:///{self.path(store)}"

    def teacher(self, url: str | None = None, model: str | None = None) -> Teacher:
        """The teacher, with `url` and `model` in the place of its own. Raises TutelageError if there is none."""
        teacher = self.settings.teacher
        if teacher is None and not (url and model):
            raise TutelageError(
                f"{self.path(SETTINGS_FILE)} names no teacher. Add [teacher] with url and model, "
                "or give --teacher-url and --teacher-model."
            )
        if teacher is None:
            return Teacher(url=url or "", model=model or "")
        if url and not model:
            raise TutelageError(
                f"--teacher-url names another endpoint than the project's: name its model too, with --teacher-model. "
                f"{url.rstrip('/')}/models lists those that it serves."
            )
        return teacher.model_copy(update={"url": url or teacher.url, "model": model or teacher.model})

    @property
    def prepare(self) -> Callable[..., Any] | None:
        name = self.settings.tasks.prepare
        return load_function(name, self.folder) if name else None

    @property
    def verifier(self) -> Callable[..., Any] | None:
        name = self.settings.tasks.verifier
        return load_function(name, self.folder) if name else None

    def system_prompt(self, file: Path | None = None) -> str | None:
        """The text of `file` if given, else what the settings say."""
        file = file or (self.settings.system_prompt_file and self.path(self.settings.system_prompt_file))
        if file is None:
            return self.settings.system_prompt
        try:
            return file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TutelageError(f"The system prompt {file} could not be read: {_reason(error)}.") from None

    def tasks(self, split: Literal["train", "evaluate"]) -> list[Task]:
        return read_tasks(self.path(getattr(self.settings.tasks, split)))

    def mcp_servers(self, values: Mapping[str, str]) -> dict[str, McpServer]:
        """The servers of mcp.json with `${…}` replaced from `values` and the environment."""
        path = self.path(self.settings.mcp)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise TutelageError(
                f'{path} was not found. Write your MCP servers there: {{"mcpServers": {{…}}}}.'
            ) from None
        except json.JSONDecodeError as error:
            raise TutelageError(f"{path}:{error.lineno}: not valid JSON: {error.msg}.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise TutelageError(f"{path} could not be read: {_reason(error)}.") from None
        entries = data.get("mcpServers") if isinstance(data, dict) else None
        if not isinstance(entries, dict) or not entries:
            raise TutelageError(f'{path}: "mcpServers" names no server. Add one as your MCP client documents it.')
        for name in self.settings.servers.keys() - entries.keys():  # rules that protect from nothing
            close = get_close_matches(name, entries, 1)
            hint = f'Did you mean "{close[0]}"?' if close else f"There are: {', '.join(entries)}."
            raise TutelageError(f"{self.path(SETTINGS_FILE)}: [servers.{name}]: {path} names no such server. {hint}")
        values = {"project": str(self.folder), **values}
        servers = {}
        for name, entry in entries.items():
            if isinstance(entry, dict) and entry.get("disabled") is True:  # what it needs may not be there either
                continue
            where = f'{path}: server "{name}"'
            server = validate(McpServer, expand(entry, values, where), where)
            if bool(server.command) == bool(server.url):
                raise TutelageError(f'{where} needs either "command" or "url".')
            for secret in server_secrets(server).values():
                note_secret(secret)
            cwd = {"cwd": str(self.path(server.cwd))} if server.cwd else {}
            servers[name] = server.model_copy(update={**cwd, **self._ways(name, values)})
        if not servers:
            raise TutelageError(f'{path}: every server is "disabled". Take that out of one.')
        return servers

    def _ways(self, name: str, values: Mapping[str, str]) -> dict[str, Any]:
        """What tutelage.toml says of how rollouts come by a server."""
        rules = self.settings.servers.get(name, ToolRules())
        file = re.sub(r"[^\w.-]", "_", name)
        command = expand(rules.reset_command, values, f'{self.path(SETTINGS_FILE)}: servers.{name}: "reset_command"')
        reset = Reset(command=command, tool=rules.reset_tool, lock=self.path(f".{file}.lock"))
        return {
            "mode": rules.mode,
            "recording": self.path("recordings") / f"{file}.jsonl",
            "reset": reset if command or rules.reset_tool else None,
        }


def server_secrets(server: McpServer) -> dict[str, str]:
    """What is secret of a server's entry, by what it is called there."""
    own = {**server.env, **server.headers, "client_secret": server.oauth.client_secret or ""}
    return named_secrets(own, server.args, server.url or "")


def read_tasks(path: Path) -> list[Task]:
    """Tasks of a JSONL file. Raises TutelageError that names the file and line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines() would cut at U+2028 inside a string
    except (OSError, UnicodeDecodeError) as error:
        raise TutelageError(f"The tasks {path} could not be read: {_reason(error)}.") from None
    tasks: dict[str, Task] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            data = json.loads(line)
        except json.JSONDecodeError as error:
            raise TutelageError(f"{where}: not valid JSON: {error.msg}.") from None
        task = validate(Task, data, where)
        if task.id in tasks:
            raise TutelageError(f'{where}: the task id "{task.id}" stands there twice. Each task needs its own.')
        tasks[task.id] = task
    if not tasks:
        raise TutelageError(f'{path} holds no task. Write one JSON object a line: {{"id": "…", "prompt": "…"}}.')
    return list(tasks.values())


def validate(model: type[Model], data: Any, where: str) -> Model:
    """`data` as `model`; the first fault as one sentence that names `where` and the key."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            known = _fields_at(model, fault["loc"][:-1])
            close = get_close_matches(str(fault["loc"][-1]), known, 1)
            hint = f'Did you mean "{close[0]}"?' if close else f"Known here: {', '.join(sorted(known))}."
            raise TutelageError(f'{where}: unknown key "{key}". {hint}') from None
        message = fault["msg"][0].lower() + fault["msg"][1:]
        raise TutelageError(f'{where}: "{key}": {message}.' if key else f"{where}: {message}.") from None


def expand(value: Any, values: Mapping[str, str], where: str) -> Any:
    """`value` with every `${NAME}` in its strings replaced, `${NAME:-default}` by the default where it is not set.

    Raises TutelageError for a name that is not set and has no default.
    """
    if isinstance(value, dict):
        return {key: expand(item, values, where) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [expand(item, values, where) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name == "python":
            return sys.executable
        if name not in values and name in os.environ:
            note_secret(os.environ[name])
        found = values.get(name, os.environ.get(name, match[2]))
        if found is None:
            raise TutelageError(f"{where}: ${{{name}}} is not set. Set the environment variable or name a service.")
        return found

    return re.sub(r"\$\{([\w.\-]+?)(?::-([^}]*))?\}", replace, value)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8 text"


def _fields_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        inner = [item for item in (field.annotation, *getattr(field.annotation, "__args__", ())) if _is_model(item)]
        if inner:
            model = inner[0]
    return list(model.model_fields)


def _is_model(item: Any) -> bool:
    return isinstance(item, type) and issubclass(item, BaseModel)
