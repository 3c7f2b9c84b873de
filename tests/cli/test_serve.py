"""`tutelage serve` before an endpoint of the user's."""

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from hub_server import hub_server
from test_command_line import tutelage


def test_serve_before_an_endpoint_ends_with_ctrl_c(tmp_path: Path) -> None:
    tutelage("init", tmp_path / "p")
    with hub_server() as upstream:  # any HTTP server: what is no chat completion goes through unchanged
        command = [sys.executable, "-m", "tutelage", "serve", "-p", str(tmp_path / "p"), "--port", "0"]
        process = subprocess.Popen(
            [*command, "--upstream", upstream.url + "/v1"],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            assert process.stdout
            url = re.search(r"http://\S+/v1", process.stdout.readline())
            assert url
            request = urllib.request.Request(url[0] + "/models", headers={"Authorization": "Bearer x"})
            try:
                urllib.request.urlopen(request)
            except urllib.error.HTTPError as error:
                assert error.code == 404
            assert upstream.requests == ["GET /v1/models"]
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
