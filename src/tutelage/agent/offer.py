"""Which of the servers' tools a model is offered, and under which names."""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from tutelage.agent.schema import digestible
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.redact import redact
from tutelage.settings import DESTRUCTIVE, READ_ONLY, ToolRules
from tutelage.trace import Tool

logger = logging.getLogger(__name__)
MANY = 25  # tools: more make a small model choose badly
NAME_CHARACTERS = 64  # what OpenAI-style APIs take: letters, digits, _ and -
DIGEST_CHARACTERS = 8


class Audience(StrEnum):
    """Who is going to call the tools."""

    TEACHER = "teacher"
    STUDENT = "student"  # not trained yet, or practising: it may call anything at any time
    PERSON = "person"  # somebody is there to be asked


class Permission(StrEnum):
    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


@dataclass(frozen=True)
class Listed:
    """A tool as its server lists it."""

    server: str
    name: str
    description: str
    schema: Mapping[str, Any]
    read_only: bool = False  # the server's own word for it
    destructive: bool | None = None  # likewise; None: it does not say

    @property
    def may_destroy(self) -> bool:
        """As the protocol has it: a tool that does not say may, unless it is read-only."""
        return not self.read_only if self.destructive is None else self.destructive

    def matches(self, patterns: Sequence[str]) -> bool:
        return any(
            self.read_only
            if pattern == READ_ONLY
            else self.may_destroy
            if pattern == DESTRUCTIVE
            else fnmatchcase(self.name, pattern)
            for pattern in patterns
        )


@dataclass(frozen=True)
class Offer:
    """The project's rules on tools, for one audience. The default offers all."""

    rules: Mapping[str, ToolRules] = field(default_factory=dict)  # by server
    audience: Audience = Audience.TEACHER
    max_tools: int = 50

    @classmethod
    def of(cls, project: Project, audience: Audience = Audience.TEACHER) -> "Offer":
        return cls(project.settings.servers, audience, project.settings.rollout.max_tools)

    def permission(self, tool: Listed) -> Permission:
        """What the audience may do with it; the most careful rule counts."""
        rules = self.rules.get(tool.server, ToolRules())
        if tool.matches(rules.deny):
            return Permission.DENY
        allowed = rules.student if self.audience is Audience.STUDENT and rules.student is not None else rules.allow
        if tool.matches(rules.ask):
            return Permission.ASK
        return Permission.ALLOW if tool.matches(allowed) else Permission.DENY

    def offered(self, listed: Sequence[Listed]) -> list[Listed]:
        """Those that the model is shown. Raises TutelageError where a small model would get lost among them."""
        wanted = [
            tool
            for tool in listed
            if tool.matches(self.rules.get(tool.server, ToolRules()).include)
            and not tool.matches(self.rules.get(tool.server, ToolRules()).exclude)
            and self._callable(self.permission(tool))
        ]
        if len(wanted) > self.max_tools:
            raise TutelageError(
                f"The MCP servers offer {len(wanted)} tools, more than [rollout] max_tools ({self.max_tools}): a small "
                "model gets lost among so many. Choose with `include` or `exclude` in [servers.NAME] of tutelage.toml, "
                "see `tutelage tools`; or raise max_tools."
            )
        return wanted

    def _callable(self, permission: Permission) -> bool:
        return permission is Permission.ALLOW or (permission is Permission.ASK and self.audience is Audience.PERSON)


@cache
def warn_of_many(count: int) -> None:
    """Once, not once a rollout."""
    if count > MANY:
        logger.warning(
            "The MCP servers offer %d tools; more than %d make a small model choose badly: leave some out, see "
            "`tutelage tools`.",
            *(count, MANY),
        )


def named(tools: Sequence[Listed]) -> dict[str, Listed]:
    """The tools by the names that the model sees: their own where APIs take it and no other server uses it.

    Characters that APIs refuse become "_", a name of two servers gets its server's before it, and one that is too
    long is cut; a digest of the original tells apart what would then be equal. The names hang on the set of tools
    alone, not on its order.
    """
    counts = Counter(tool.name for tool in tools)
    wanted = [_characters(f"{tool.server}_{tool.name}" if counts[tool.name] > 1 else tool.name) for tool in tools]
    twice = {name for name, count in Counter(wanted).items() if count > 1}
    found: dict[str, Listed] = {}
    for tool, name in zip(tools, wanted, strict=True):
        if name in twice or len(name) > NAME_CHARACTERS:
            digest = hashlib.sha256(json.dumps([tool.server, tool.name]).encode()).hexdigest()[:DIGEST_CHARACTERS]
            name = f"{name[: NAME_CHARACTERS - DIGEST_CHARACTERS - 1]}_{digest}"
        found[name] = tool
    return found


def model_tool(name: str, tool: Listed) -> Tool:
    """The tool in OpenAI's form; its schema in the server's order of keys."""
    function = {"name": name, "description": tool.description, "parameters": digestible(tool.schema)}
    definition = redact(json.dumps({"type": "function", "function": function}, ensure_ascii=False))
    return Tool(name=name, definition=definition, server=tool.server, original="" if name == tool.name else tool.name)


def _characters(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name) or "_"
