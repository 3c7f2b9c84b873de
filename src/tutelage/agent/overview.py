"""A project's tools before anything is run: names, permissions, and what they cost in the student's prompt."""

import asyncio
import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tutelage.agent.offer import MANY, Audience, Listed, Offer, Permission, model_tool, named
from tutelage.agent.servers import connect_servers
from tutelage.endpoint.services import start_services
from tutelage.project import Project
from tutelage.trace import Message, Task, Tool
from tutelage.world import open_world, worlds_folder

if TYPE_CHECKING:
    from rich.table import Table

    from tutelage.sign_in.provider import OpenPage


@dataclass(frozen=True)
class ToolLine:
    server: str
    original: str  # its name there
    name: str  # what the model sees; "" where it is not offered
    permission: Permission
    read_only: bool
    destructive: bool  # as the protocol has it: so is one that says nothing
    tokens: int | None  # that it adds to every prompt; None: not offered, or the student's template cannot be had


@dataclass(frozen=True)
class Overview:
    audience: Audience
    tools: tuple[ToolLine, ...]
    tokens: int | None  # of all that are offered, the template's own words for tools included
    most: int  # tools that may be offered: with more, nothing runs
    why_not: str = ""  # why tokens are not counted

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        offered = sum(bool(tool.name) for tool in self.tools)
        cost = f"They are {self.tokens} tokens of every prompt." if self.tokens is not None else self.why_not
        many = f" More than {MANY} make a small model choose badly: leave some out." if offered > MANY else ""
        if offered > self.most:
            many = f" [rollout] max_tools allows {self.most}: nothing runs until you leave some out or raise it."
        return f"{offered} of {len(self.tools)} tools are offered to the {self.audience}. {cost}{many}"


def overview(project: Project, audience: Audience = Audience.TEACHER, open_page: "OpenPage | None" = None) -> Overview:
    """Start the servers in a world of their own, and look. Raises TutelageError where they cannot be used.

    Too many tools are listed too: it is here that a person sees what to leave out. `open_page` brings them to the page
    of a server that wants them to sign in.
    """
    offer = replace(Offer.of(project, audience), max_tools=sys.maxsize)
    with worlds_folder() as worlds, start_services(project, worlds) as values:
        task = next(iter(project.tasks("train")), None) or Task(id="tools", turns=("…",))
        with open_world(task, worlds, project.prepare) as world:
            servers = project.mcp_servers(values)

            async def listed() -> tuple[Listed, ...]:
                async with connect_servers(servers, world, offer=offer, open_page=open_page) as connected:
                    return connected.listed

            found = asyncio.run(listed())
    offered = named(offer.offered(found))
    tools = [model_tool(name, tool) for name, tool in offered.items()]
    each, total, why_not = _tokens(project, tools)
    names = {(tool.server, tool.name): name for name, tool in offered.items()}
    lines = [
        ToolLine(
            tool.server,
            tool.name,
            (name := names.get((tool.server, tool.name), "")),
            offer.permission(tool),
            tool.read_only,
            tool.may_destroy,
            each.get(name),
        )
        for tool in found
    ]
    return Overview(audience, tuple(lines), total, project.settings.rollout.max_tools, why_not)


def _tokens(project: Project, tools: list[Tool]) -> tuple[dict[str, int], int | None, str]:
    """What each tool and all of them add to the student's prompt; or why that cannot be said."""
    from tutelage.errors import TutelageError
    from tutelage.render.engine import CannotExpress
    from tutelage.render.renderer import Renderer
    from tutelage.render.student import student_engine, student_template, student_tokenizer

    student = project.settings.student
    asked = [Message(role="user", content="…")]
    try:
        tokenizer = student_tokenizer(student, project.folder)
        template = student_template(student, project.folder)
        renderer = Renderer(tokenizer, template, student.thinking, engine=student_engine(student))
        whole = len(renderer.prompt_tokens(asked, tools))
        bare = len(renderer.prompt_tokens(asked, []))
        each = {
            tool.name: whole - len(renderer.prompt_tokens(asked, [other for other in tools if other is not tool]))
            for tool in (tools if len(tools) > 1 else ())
        }
    except (TutelageError, CannotExpress, ImportError) as error:
        return {}, None, f"Their tokens in the student's prompt cannot be counted: {error}"
    return each or {tool.name: whole - bare for tool in tools}, whole - bare, ""


def overview_table(found: Overview) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("server", "tool", "as", "may be called", "hints", "tokens")
    for tool in found.tools:
        hints = [hint for hint, is_so in (("read-only", tool.read_only), ("destructive", tool.destructive)) if is_so]
        shown = tool.name if tool.name != tool.original else ""
        may = {Permission.ALLOW: "yes", Permission.ASK: "if asked", Permission.DENY: "no"}[tool.permission]
        cells = (tool.server, tool.original, shown, may if tool.name else f"{may}, not offered", ", ".join(hints))
        table.add_row(*map(escape, cells), "" if tool.tokens is None else str(tool.tokens))
    return table
