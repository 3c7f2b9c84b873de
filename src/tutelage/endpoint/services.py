"""The processes that a project's rollouts need: started before them, always ended after them."""

import re
import socket
import time
import urllib.error
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tutelage.endpoint.processes import NO_PROXY, ChildProcess
from tutelage.errors import TutelageError
from tutelage.project import Project, expand
from tutelage.redact import redact
from tutelage.settings import Service
from tutelage.world import ROOT_VARIABLE

POLL_SECONDS = 0.05


@contextmanager
def start_services(project: Project, worlds_root: Path, *, skip: Collection[str] = ()) -> Iterator[dict[str, str]]:
    """Start the project's services but those in `skip`; yields what `${…}` stands for.

    That is a free port for each, {"shop.port": "40123"}, and the project's folder, {"project": "…"}.
    Each gets TUTELAGE_WORLDS, the folder that holds all worlds, in its environment, and the project's folder as its
    working directory. Raises TutelageError where one ends or is not ready in time, with its last lines.
    """
    services = project.settings.services
    values = {f"{name}.port": str(port) for name, port in zip(services, _free_ports(len(services)), strict=True)}
    values["project"] = str(project.folder)
    with ExitStack() as stack:
        started = []
        for name, service in services.items():
            if name not in skip:
                started.append((name, service, _start(project, name, service, values, worlds_root, stack)))
        for name, service, child in started:
            _wait_until_ready(name, service, child, values)
        yield values


def services_named_in(text: str, project: Project) -> set[str]:
    """The services whose values `text` refers to, as in "http://127.0.0.1:${teacher.port}/v1"."""
    return {name.split(".")[0] for name in re.findall(r"\$\{([\w.\-]+)\}", text)} & set(project.settings.services)


def _start(
    project: Project, name: str, service: Service, values: dict[str, str], worlds_root: Path, stack: ExitStack
) -> ChildProcess:
    where = f'tutelage.toml: service "{name}"'
    command = expand(service.command, values, where)
    env = {ROOT_VARIABLE: str(worlds_root), **expand(service.env, values, where)}
    child = ChildProcess(command, guarded=True, env=env, cwd=project.folder)
    stack.callback(child.close)
    return child


def _wait_until_ready(name: str, service: Service, child: ChildProcess, values: dict[str, str]) -> None:
    if service.ready is None:
        return
    url = expand(service.ready, values, f'tutelage.toml: service "{name}": "ready"')
    deadline = time.monotonic() + service.start_seconds
    while not _answers(url):
        quote = f"Its last lines:\n{redact(child.last_lines()) or '(none)'}"
        if child.exited():
            code = child.process.returncode
            raise TutelageError(f'Service "{name}" ended with exit code {code} before it was ready. {quote}')
        if time.monotonic() > deadline:
            raise TutelageError(
                f'Service "{name}" did not answer at {url} within {service.start_seconds:g} s. '
                f'Raise "start_seconds" or mend its command. {quote}'
            )
        time.sleep(POLL_SECONDS)


def _answers(url: str) -> bool:
    try:
        with NO_PROXY.open(url, timeout=2) as response:
            return bool(200 <= response.status < 300)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; all held at once, so that they differ."""
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            held = stack.enter_context(socket.socket())
            held.bind(("127.0.0.1", 0))
            ports.append(int(held.getsockname()[1]))
        return ports
