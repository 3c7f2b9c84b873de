import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tutelage.endpoint.services import services_named_in, start_services
from tutelage.errors import TutelageError
from tutelage.project import Project

SERVER = """
import http.server, os, subprocess, sys
sleeper = subprocess.Popen(["sleep", "600"])
open("pids", "w").write(f"{os.getpid()} {sleeper.pid}")
open("seen", "w").write(os.environ["TUTELAGE_WORLDS"] + " " + os.environ["GREETING"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def make_project(folder: Path, command: str, *, ready: bool = True, seconds: int = 20) -> Project:
    (folder / "server.py").write_text(SERVER)
    text = f'[services.web]\ncommand = {command}\nstart_seconds = {seconds}\nenv = {{GREETING = "at ${{web.port}}"}}\n'
    (folder / "tutelage.toml").write_text(text + ('ready = "http://127.0.0.1:${web.port}/"\n' if ready else ""))
    return Project.open(folder)


GOOD = '["${python}", "server.py", "${web.port}"]'


def test_a_service_gets_its_port_and_worlds_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with start_services(make_project(tmp_path, GOOD), tmp_path / "worlds") as values:
        pids = read_pids(tmp_path)
        assert all(map(alive, pids))
        assert (tmp_path / "seen").read_text() == f"{tmp_path / 'worlds'} at {values['web.port']}"
    assert not any(map(alive, pids))


def test_services_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    make_project(tmp_path, GOOD)
    code = (
        "import sys, time; from pathlib import Path; from tutelage.project import Project\n"
        "from tutelage.endpoint.services import start_services\n"
        "with start_services(Project.open(Path(sys.argv[1])), Path('worlds')):\n"
        "    print('ready', flush=True); time.sleep(99)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout and parent.stdout.readline() == b"ready\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    pids = read_pids(tmp_path)
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ('["${python}", "-c", "import sys; sys.exit(\'the reason\')"]', "exit code 1.*\nthe reason"),
        ('["no-such-program"]', "no-such-program: No such file"),
        ('["sleep", "60"]', "did not answer at http://127.0.0.1:.* within 1 s"),
    ],
)
def test_a_service_that_does_not_start_says_why(tmp_path: Path, command: str, words: str) -> None:
    project = make_project(tmp_path, command, seconds=1)
    with pytest.raises(TutelageError, match=words), start_services(project, tmp_path / "worlds"):
        pass


def test_services_named_in_a_url_are_found(tmp_path: Path) -> None:
    project = make_project(tmp_path, GOOD)
    assert services_named_in("http://127.0.0.1:${web.port}/${HOME}", project) == {"web"}


def read_pids(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
