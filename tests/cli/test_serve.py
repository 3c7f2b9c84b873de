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

from tutelage.render.fit import CutResults
from tutelage.render.serving import Serving
from tutelage.settings import ToolResults


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


def test_the_printed_command_says_all_that_the_student_was_trained_with(tmp_path: Path) -> None:
    tutelage("init", tmp_path / "p")
    adapter = tmp_path / "p" / "training" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "base", "r": 16}')
    cut, results = CutResults(prompt_tokens=700), ToolResults(limit=50)
    Serving(thinking=False, send_reasoning=False, tool_results=results, over_length=cut).write(adapter)
    printed = tutelage("serve", "-p", tmp_path / "p", "--engine", "vllm", "--print").stdout
    assert """--default-chat-template-kwargs '{"enable_thinking": false}'""" in printed
    assert "cut after 50 characters; old ones left out of prompts with more than 700 tokens; no reasoning" in printed
    assert "tutelage serve --upstream http://127.0.0.1:8000/v1" in printed
