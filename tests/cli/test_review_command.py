"""`tutelage review` as a user starts and stops it."""

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

from test_command_line import refuses, tutelage


def test_it_says_where_it_is_and_stops_with_ctrl_c(tmp_path: Path) -> None:
    tutelage("init", tmp_path / "p")
    command = [sys.executable, "-m", "tutelage", "review", "-p", str(tmp_path / "p"), "--port", "0", "--no-browser"]

    def heed() -> None:  # a shell's background job ignores Ctrl-C, and so would what it starts
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    assert process.stdout
    line = process.stdout.readline()
    assert line.startswith("Review at http://127.0.0.1:")
    with urllib.request.urlopen(line.split()[2]) as answer:
        assert b"The store is empty. Run" in answer.read()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    tutelage("init", tmp_path / "p")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refuses(tutelage("review", "-p", tmp_path / "p", "--port", str(port), "--no-browser"), f"Port {port}", "--port")
