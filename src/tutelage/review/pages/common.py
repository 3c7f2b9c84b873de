"""What the pages share."""

import json
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tutelage.errors import TutelageError
from tutelage.review.conversation import size
from tutelage.trace import Trace, Verdict

if TYPE_CHECKING:
    from tutelage.review.app import Review

# What a facet's values are called, where they do not speak for themselves.
NAMES = {
    "reward": {"full": "full", "partial": "partial", "zero": "zero", "none": "not judged"},
    "errors": {"with": "with tool errors", "without": "without"},
    "steps": {"0": "0", "1": "1", "2": "2–3", "4": "4–7", "8": "8–15", "16": "16 and more"},
}
TITLES = {
    "verdict": "Verdict",
    "reward": "Reward",
    "stop": "Stop reason",
    "run": "Run",
    "kind": "Kind",
    "tool": "Tool used",
    "errors": "Tool errors",
    "steps": "Steps",
    "model": "Model",
    "tag": "Tag",
}


def page(review: "Review", template: str, *, status: int = 200, **values: Any) -> Response:
    """A rendered page. Everything in it is escaped: traces hold hostile text."""
    html = (
        _environment()
        .get_template(template)
        .render(token=review.token, project=review.project.settings.name, reviewer=review.reviewer, **values)
    )
    return HTMLResponse(html, status)


def value_name(facet: str, value: str) -> str:
    return NAMES.get(facet, {}).get(value, value.replace("_", " ") if facet == "stop" else value)


def back(form: FormData, otherwise: str = "/", anchor: str = "", **more: str | int) -> Response:
    """To where the form says it came from, which is a page of ours."""
    target = text(form, "back")
    if not target.startswith("/") or target.startswith(("//", "/\\")):
        target = otherwise
    return redirect(target, anchor, **more)


def redirect(url: str, anchor: str = "", **more: str | int) -> Response:
    """To a page of ours, with `more` parameters."""
    for name, value in more.items():
        url += f"{'&' if '?' in url else '?'}{name}={quote(str(value), safe='')}"
    return RedirectResponse(url + anchor, 303)


def text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def number(form: FormData, name: str) -> int:
    try:
        return int(text(form, name))
    except ValueError:
        raise TutelageError(f'The form lacks "{name}". Reload the page and try again.') from None


def verdict(form: FormData) -> Verdict:
    try:
        return Verdict(text(form, "verdict"))
    except ValueError:
        raise TutelageError("Choose approved, rejected or undecided.") from None


def finished(review: "Review", id: str, revision: int | None = None) -> Trace:
    """A trace that can be judged and edited. Raises TutelageError where it is unfinished."""
    trace = review.store.load(id, revision)
    if trace.stop_reason is None:
        raise TutelageError(
            f'Trace "{id}" is unfinished: its rollout was broken off or still runs. '
            "Only finished traces are judged and edited."
        )
    return trace


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tutelage.review"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:g}"
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["size"] = size
    environment.filters["seconds"] = _seconds
    environment.filters["moment"] = _moment
    environment.filters["percent"] = lambda value: f"{100 * value:.0f} %"
    environment.filters["json_text"] = lambda value: json.dumps(value, ensure_ascii=False, indent=2)
    environment.filters["stop"] = lambda reason: str(reason).replace("_", " ") if reason else "unfinished"
    environment.globals["value_name"] = value_name
    return environment


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _moment(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M")
