"""Calls of a server that cannot be had fresh, recorded once and answered from the recording from then on.

One JSONL file a server: lines of tools (the last one counts) and of calls. A call is known by its tool, its arguments
whatever their order and spacing, and how often the rollout has made it: what a server answers may change meanwhile.
Of two recordings of the same call the first counts.
"""

import base64
import fcntl
import functools
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.agent.offer import Listed
from tutelage.agent.results import ToolResult, attach
from tutelage.errors import TutelageError
from tutelage.redact import redact
from tutelage.settings import McpServer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    tool: str
    arguments: str  # JSON text in an order of its own
    time: int  # from 1: how often the rollout has made it

    @classmethod
    def of(cls, tool: str, arguments: Mapping[str, Any], time: int = 1) -> "Call":
        return cls(tool, redact(json.dumps(arguments, sort_keys=True, ensure_ascii=False)), time)

    def __str__(self) -> str:
        return f"{self.tool}({self.arguments})" + (f", time {self.time}" if self.time > 1 else "")


def recordings_of(servers: Mapping[str, McpServer]) -> dict[str, "Recording"]:
    """The recordings of those servers that are recorded or replayed."""
    return {
        name: _open(name, server.recording)
        for name, server in servers.items()
        if server.mode != "live" and server.recording
    }


class Recording:
    """The recording of one server; several processes may write to it."""

    def __init__(self, server: str, file: Path) -> None:
        self.server, self.file = server, file
        self._tools: list[Listed] | None = None
        self._results: dict[Call, ToolResult] = {}
        self._read_up_to = 0

    def tools(self) -> list[Listed]:
        """Raises TutelageError where nothing is recorded."""
        self._read()
        if self._tools is None:
            raise TutelageError(
                f'MCP server "{self.server}" is replayed, but {self.file} holds no recording of it. Make one with '
                f'mode = "record" in [servers.{self.server}] of tutelage.toml.'
            )
        return self._tools

    def result(self, call: Call) -> ToolResult | None:
        return self._results.get(call)

    def unknown(self, call: Call) -> str:
        return (
            f'MCP server "{self.server}" is replayed, and {self.file} holds no such call: {call}. '
            f'Record it with mode = "record" in [servers.{self.server}] of tutelage.toml.'
        )

    def add_tools(self, tools: Sequence[Listed]) -> None:
        kept = [{key: value for key, value in asdict(tool).items() if key != "server"} for tool in tools]
        self._write(lambda: None if self._tools == list(tools) else {"tools": kept})

    def add(self, call: Call, result: ToolResult) -> None:
        attachments = [
            {"mime_type": one.part.mime_type, "name": one.part.name, "data": base64.b64encode(one.data).decode()}
            for one in result.attachments
        ]
        entry = {**asdict(call), "text": result.text, "is_error": result.is_error, "attachments": attachments}
        self._write(lambda: None if call in self._results else entry)

    def _write(self, entry: Any) -> None:
        """Append what `entry` says, once all that others wrote is known."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._read()
            line = entry()
            if line is not None:
                begin = b"\n" if file.tell() > self._read_up_to else b""  # a writer was killed within its line
                file.write(begin + redact(json.dumps(line, ensure_ascii=False)).encode(errors="replace") + b"\n")
                file.flush()
                self._read()

    def _read(self) -> None:
        """Take in the whole lines that were written since."""
        if not self.file.exists():
            return
        with self.file.open("rb") as file:
            file.seek(self._read_up_to)
            data = file.read()
        end = data.rfind(b"\n") + 1
        self._read_up_to += end
        for line in data[:end].splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError):
                if line.strip():
                    logger.warning("%s: a line that is no recorded call is left out.", self.file)

    def _take(self, entry: dict[str, Any]) -> None:
        if "tools" in entry:
            self._tools = [Listed(server=self.server, **tool) for tool in entry["tools"]]
            return
        attachments = tuple(
            attach(base64.b64decode(one["data"]), one["mime_type"], one["name"]) for one in entry["attachments"]
        )
        call = Call(entry["tool"], entry["arguments"], entry["time"])
        self._results.setdefault(call, ToolResult(entry["text"], entry["is_error"], attachments))


@functools.cache
def _open(server: str, file: Path) -> Recording:
    """One for all rollouts: each holds what it has read."""
    return Recording(server, file)
