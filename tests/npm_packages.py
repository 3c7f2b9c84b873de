"""What `make test` brought from npm (tests/npm/package.json), Node.js 22 included."""

import os
import sys
from pathlib import Path

import pytest

MODULES = Path(sys.prefix) / "npm" / "node_modules"
NODE = MODULES / ".bin" / "node"
NEEDS_NPM = pytest.mark.skipif(
    not NODE.exists() and os.environ.get("CI") != "true",
    reason="the packages of tests/npm are not installed (Debian: apt-get install npm; then `make npm`)",
)


def program(name: str) -> list[str]:
    """The command that starts a package's program, by Node.js 22 whatever else is installed."""
    return [str(NODE), str(MODULES / ".bin" / name)]
