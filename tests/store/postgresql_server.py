"""A real PostgreSQL server of the tests' own, and a new database on it for each test."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def program(name: str) -> str | None:
    """Debian keeps them out of PATH."""
    return shutil.which(name) or next((str(path) for path in Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), None)


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Its socket's folder. Skips the test where no PostgreSQL is installed, fails there if CI=true."""
    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI=true, but no PostgreSQL is installed")
        pytest.skip("no PostgreSQL is installed (Debian: apt-get install postgresql)")
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory(prefix="tutelage-pg-", dir="/tmp") as name:
        folder = Path(name)
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data, log = folder / "data", folder / "log"
        making = [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8"]
        subprocess.run(making, user=user, cwd="/", check=True, capture_output=True)
        options = ["-c", "fsync=off", "-c", "listen_addresses=", "-k", str(folder)]
        with log.open("w") as lines:
            process = subprocess.Popen([postgres, "-D", str(data), *options], user=user, cwd="/", stderr=lines)
        try:
            ready = [program("pg_isready") or "pg_isready", "-q", "-h", str(folder)]
            while subprocess.run(ready, check=False).returncode:
                assert process.poll() is None, log.read_text()
            yield str(folder)
        finally:
            process.terminate()
            process.wait(30)


def new_database(socket: str) -> str:
    """The URL of an empty database."""
    import psycopg

    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(host=socket, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"postgresql://postgres@/{name}?host={socket}"
