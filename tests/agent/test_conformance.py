"""The MCP conformance suite runs our client: every scenario that concerns what we use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from npm_packages import NEEDS_NPM, program

CLIENT = f"{sys.executable} {Path(__file__).with_name('conformance_client.py')}"
# What we leave out, or the SDK: the suite fails where one of them passes.
LEFT_OUT = {
    "extensions": [
        "auth/client-credentials-jwt",  # a client's own key
        "auth/cross-app-access-complete-flow",  # a company's identity provider
    ],
    # Its server's metadata name another issuer than the one that they stand under, which RFC 8414 (3.3) has clients
    # refuse, and the SDK does.
    "backcompat": ["auth/2025-03-26-oauth-metadata-backcompat"],
}
pytestmark = NEEDS_NPM


@pytest.mark.parametrize("scenario", ["initialize", "tools_call", "sse-retry", "elicitation-sep1034-client-defaults"])
def test_a_scenario_passes(scenario: str) -> None:
    run("--scenario", scenario)


@pytest.mark.parametrize("suite", ["auth", "backcompat", "draft", "extensions"])
def test_signing_in_passes(suite: str, tmp_path: Path) -> None:
    baseline = tmp_path / "left-out.yml"
    baseline.write_text(json.dumps({"client": LEFT_OUT.get(suite, [])}))  # JSON is YAML
    said = run("--suite", suite, "--expected-failures", str(baseline))
    assert said.count("✓") >= 1


def run(*arguments: str) -> str:
    command = [*program("conformance"), "client", "--command", CLIENT, "--timeout", "240000", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
