"""A Docker Engine with a disk of a few hundred MiB, in a network namespace of its own: a build can fill it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support import docker
from tests.support.docker import Engine
from tests.support.needs import need

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


@contextlib.contextmanager
def small_engine(mebibytes: int) -> Iterator[Engine]:
    """The engine, which has the OS image of the tests and reaches no network; ended with the block."""
    need(os.geteuid() == 0 and shutil.which("dockerd") is not None, "root and dockerd: docker.io")
    found = docker.engine()
    # containerd's sockets need a short path: 107 bytes are all that an address may have.
    with tempfile.TemporaryDirectory(prefix="bindery-", dir="/tmp", ignore_cleanup_errors=True) as short:
        yield from _in(Path(short), found, mebibytes)


def _in(folder: Path, found: Engine, mebibytes: int) -> Iterator[Engine]:
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", disk], check=True)
    small = Engine(f"unix://{folder}/docker.sock", found.client)
    try:
        daemon = _start(folder, disk, small)
        try:
            _copy_image(docker.os_image(), found, small)
            yield small
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(_STOP_SECONDS)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def _copy_image(name: str, source: Engine, target: Engine) -> None:
    words = (source.client, "save", name)
    with subprocess.Popen(words, env=source.environment, stdout=subprocess.PIPE) as saved:
        subprocess.run([target.client, "load", "--quiet"], env=target.environment, stdin=saved.stdout, check=True)
    assert saved.returncode == 0


def _start(folder: Path, disk: Path, small: Engine) -> subprocess.Popen[bytes]:
    words = [f"--host={small.host}", f"--data-root={disk}/data", f"--exec-root={folder}/exec"]
    log = folder / "dockerd.log"
    with log.open("wb") as file:
        daemon = subprocess.Popen(
            ["unshare", "--net", "dockerd", *words, f"--pidfile={folder}/pid"],
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    while not docker.answers(small):
        if daemon.poll() is not None or time.monotonic() > deadline:
            daemon.kill()
            raise AssertionError(f"dockerd did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
    return daemon
