"""Writes docs/settings.md from the settings' own descriptions: python docs/make_settings.py. A test finds drift."""

import inspect
import json
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tutelage.curate.config import STEPS
from tutelage.settings import Service, Settings, ToolRules
from tutelage.train.config import TrainConfig

FILE = Path(__file__).parent / "settings.md"
INTRODUCTION = """# Settings

`tutelage.toml`, all keys with their defaults. Paths are relative to the project folder. In commands, URLs, headers
and environment values of `[services]` and `mcp.json`, in `url` and in `store`, `${NAME}` stands for an environment
variable, `${NAME:-default}` for it or, where it is not set, for the default. `${SERVICE.port}` stands for a service's
free port, `${project}` for the project folder and `${python}` for the interpreter that runs Tutelage. This page is
made by `python docs/make_settings.py`.
"""


def render() -> str:
    """The page's text."""
    sections = [
        INTRODUCTION,
        *_section("", Settings),
        *_section("services.NAME", Service),
        *_section("servers.NAME", ToolRules),
    ]
    for name, step in STEPS.items():
        sections += [f'## `[[curate]]` `step = "{name}"`', *_section("curate", step)[1:]]
    return "\n".join([*sections, *_section("train", TrainConfig)]).rstrip() + "\n"


def _section(name: str, model: type[BaseModel], defaults: BaseModel | None = None) -> list[str]:
    repeated = name == "train.datasets"
    head = (f"## `[[{name}]]`" if repeated else f"## `[{name}]`") if name else "## Top level"
    document = inspect.cleandoc(model.__doc__ or "") if name else ""
    lines = [head, "", *([document, ""] if document else []), "| key | default | meaning |", "| --- | --- | --- |"]
    inner = []
    for key, field in model.model_fields.items():
        if (model is Settings and key in ("services", "servers", "curate", "train")) or key == "step":
            continue  # sections of their own, at the end; in a section's head
        default = getattr(defaults, key) if defaults else field.default
        nested = _model(field.annotation)
        if nested:
            inner.append((f"{name}.{key}".strip("."), nested, default if isinstance(default, BaseModel) else None))
        else:
            lines.append(f"| `{key}` | {_default(default)} | {field.description or ''} |")
    lines.append("")
    for section in inner:
        lines += _section(*section)
    return lines


def _model(annotation: Any) -> type[BaseModel] | None:
    for item in (annotation, *get_args(annotation)):
        if isinstance(item, type) and issubclass(item, BaseModel):
            return item
    return None


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "(required)"
    if value is None or value in ({}, ()):
        return ""
    if isinstance(value, tuple):
        return f"`[{', '.join(json.dumps(str(item)) for item in value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    FILE.write_text(render())
