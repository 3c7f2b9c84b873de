"""A real PostgreSQL of the tests' own, as a fixture: started once, a new database for each test.

PostgreSQL refuses to run as root; then it runs as the user that Debian's package makes.
"""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

# Nothing of a test's has to outlive a power cut.
FAST = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200"


@pytest.fixture(scope="session")
def postgresql_databases() -> Iterator[Callable[[], str]]:
    """Makes an empty database and gives its URL."""
    with running_postgresql() as new_database:
        yield new_database


@contextmanager
def running_postgresql() -> Iterator[Callable[[], str]]:
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path may have 107 bytes
    try:
        if as_user:
            shutil.chown(folder, "postgres")
        data = folder / "data"
        _run(*as_user, programs / "initdb", "-D", data, "-U", "tests", "--auth=trust", "--no-sync", "-E", "UTF8")
        server = [*as_user, programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        _run(*server, "-o", f"-c listen_addresses='' -k {folder} {FAST}", "start")
        try:

            def new_database() -> str:
                name = f"t{uuid.uuid4().hex[:12]}"
                with psycopg.connect(host=str(folder), user="tests", dbname="postgres", autocommit=True) as connection:
                    connection.execute(f"CREATE DATABASE {name}")
                return f"postgresql://tests@/{name}?host={folder}"

            yield new_database
        finally:
            _run(*server, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """The folder of PostgreSQL's own programs: on the PATH, or where Debian puts them."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return folders[0] if folders else None


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
