"""A real PostgreSQL server for tests: the Debian package's, on a port of its own, with its data in a temporary folder.

One runs for all tests of a process; tests that restart a server start one of their own.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.support.needs import need

#: A server of a test need not survive the machine, though its own crashes.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "unix_socket_directories": "",
}
PATIENCE_SECONDS = 60


class Postgres:
    """One server; `stop` and `start` keep its port and what is in it."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self._programs = _programs()
        self._folder = folder
        self._data = folder / "data"
        self.password = secrets.token_hex(8)
        self.address = address
        self.port = _free_port(address)
        self._initialise()

    def _initialise(self) -> None:
        secret = self._folder / "password"
        secret.write_text(self.password)
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            for path in (self._folder, secret):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "-D", str(self._data), "-U", "bindery", "-A", "scram-sha-256", f"--pwfile={secret}", "-N")
        words = [f"{name} = '{value}'\n" for name, value in _SETTINGS.items()]
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines([*words, f"port = {self.port}\n", f"listen_addresses = '{self.address}'\n"])
        with (self._data / "pg_hba.conf").open("a") as file:
            file.write("host all all all scram-sha-256\n")

    def start(self) -> None:
        """Start it; it answers when this returns."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", str(self._folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """End it; `immediate` is a crash."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", mode, "stop")

    def restart(self, mode: str = "fast") -> None:
        """End it, and start it again."""
        self.stop(mode)
        self.start()

    def url(self, database: str = "postgres") -> str:
        """How programs reach one of its databases."""
        return f"postgresql://bindery:{self.password}@{self.address}:{self.port}/{database}"

    def run(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    @contextlib.contextmanager
    def database(self, template: str = "template0", options: str = "") -> Iterator[str]:
        """The URL of a new database, a copy of another one, which is there while the block runs."""
        name = f"test_{secrets.token_hex(6)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} {options}")
        try:
            yield self.url(name)
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def _run(self, program: str, *words: str) -> None:
        argv = [str(self._programs / program), *words]
        if os.geteuid() == 0:
            argv = ["runuser", "-u", "postgres", "--", *argv]
        # Not through a pipe: the server inherits it, and it would stay open as long as that runs.
        with tempfile.TemporaryFile() as said:
            ended = subprocess.run(
                argv, cwd="/", stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=PATIENCE_SECONDS
            )
            said.seek(0)
            assert ended.returncode == 0, f"{program} failed: {said.read().decode(errors='replace')[-2000:]}"


@contextlib.contextmanager
def serve_postgres(address: str = "127.0.0.1") -> Iterator[Postgres]:
    """A server of one's own at an address of this machine, which runs while the block does."""
    _programs()
    folder = Path(tempfile.mkdtemp(prefix="bindery-postgres-"))
    try:
        server = Postgres(folder, address)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def postgres() -> Postgres:
    """The server of this process."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(serve_postgres())


def _programs() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return need(folders, "PostgreSQL's server: apt-get install postgresql")[-1]


def _free_port(address: str) -> int:
    with socket.socket() as listener:
        listener.bind((address, 0))
        return int(listener.getsockname()[1])
