"""A real Docker Engine for tests, and a Debian image to build on: nothing is pulled, no other engine is disturbed.

An engine that answers already is used (`DOCKER_HOST`, then the machine's own). Else the Debian package's `dockerd` is
started as root, with all it has below the tests' cache folder. Test runs at the same time share it; the last one to end
stops it. `python -m tests.support.docker` keeps one for work by hand.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.needs import need

START_SECONDS = 60.0
STOP_SECONDS = 30.0
BOOTSTRAP_SECONDS = 600.0
#: Change it when the image is made in another way.
OS_RULES = "1"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
#: What earlier runs left: the builder's cache is kept below this size, images are removed at a start after so long.
#: Without that, a day's runs take tens of gigabytes.
SETTINGS = {"builder": {"gc": {"enabled": True, "defaultKeepStorage": "8GB"}}}
KEEP = "12h"
#: What a company that looks into its own traffic writes into its base image.
OS_ENVIRONMENT = {
    "PIP_CERT": BUNDLE,
    "SSL_CERT_FILE": BUNDLE,
    "REQUESTS_CA_BUNDLE": BUNDLE,
    "NODE_EXTRA_CA_CERTS": BUNDLE,
    "UV_SYSTEM_CERTS": "1",
}


@dataclass(frozen=True)
class Engine:
    """An engine that answers at `host`, and a client of the Debian package for it."""

    host: str
    client: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of programs that are to use this engine."""
        return {**os.environ, "DOCKER_HOST": self.host, "PATH": f"{self.client.parent}:{os.environ['PATH']}"}

    def run(self, *words: str, timeout_seconds: float = 120.0) -> str:
        """Run the client and return what it prints; raises `CalledProcessError` with the reason in `stderr`."""
        ended = subprocess.run(
            [self.client, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=timeout_seconds,
        )
        return ended.stdout.strip()

    def has_image(self, name: str) -> bool:
        """Whether an image is in the engine's store."""
        with contextlib.suppress(subprocess.CalledProcessError):
            return bool(self.run("image", "inspect", "--format", "{{.Id}}", name))
        return False


def cache_folder() -> Path:
    """Where tests keep what is slow to make."""
    named = os.environ.get("BINDERY_TEST_CACHE")
    folder = Path(named) if named else Path.home() / ".cache" / "bindery-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


@functools.cache
def engine() -> Engine:
    """An engine that answers until this process ends; skips the test where there can be none."""
    places = (Path("/usr/bin/docker"), shutil.which("docker"))
    found = next((Path(place) for place in places if place and _runs(place)), None)
    client = need(found, "Docker's client: apt-get install docker.io")
    for host in dict.fromkeys((os.environ.get("DOCKER_HOST", ""), "unix:///var/run/docker.sock")):
        if host and answers(Engine(host, client)):
            return Engine(host, client)
    return _own_engine(client)


@functools.cache
def os_image(*, trusting: bool = True) -> str:
    """The name of a minimal Debian image in the engine; without `trusting` it knows only Debian's own authorities."""
    mirror, codename = _mirror()
    bundle = _bundle()
    text = "\n".join([OS_RULES, mirror, codename, bundle if trusting else ""])
    name = f"bindery-test-os:{codename}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    with _locked("os-image"):
        if not engine().has_image(name):
            tarball = _tarball(mirror, codename, bundle if trusting else "")
            words = [f"ENV {key}={value}" for key, value in OS_ENVIRONMENT.items()] if trusting else []
            changes = [word for line in [*words, 'CMD ["/bin/bash"]'] for word in ("--change", line)]
            engine().run("import", *changes, str(tarball), name, timeout_seconds=BOOTSTRAP_SECONDS)
    return name


def _runs(client: str | Path) -> bool:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run([client, "--version"], capture_output=True, timeout=20).returncode == 0
    return False


def answers(candidate: Engine) -> bool:
    """Whether an engine answers."""
    with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError):
        return bool(candidate.run("version", "--format", "{{.Server.Version}}", timeout_seconds=20))
    return False


def _own_engine(client: Path) -> Engine:
    folder = cache_folder() / "docker"
    folder.mkdir(exist_ok=True)
    ours = Engine(f"unix://{folder}/docker.sock", client)
    # Never closed: it is held as long as this process lives.
    using = os.open(folder / "users.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with _locked("docker-start"):
        # Shared: whoever gets it for itself alone at the end was the last.
        fcntl.flock(using, fcntl.LOCK_SH)
        if not answers(ours):
            _start(folder, ours)
    atexit.register(_leave, folder, using)
    return ours


def _start(folder: Path, ours: Engine) -> None:
    found = shutil.which("dockerd") if os.geteuid() == 0 else None
    program = need(found, "a Docker Engine that answers, or root and dockerd: docker.io")
    for name in ("docker.sock", "docker.pid"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "exec", ignore_errors=True)
    (folder / "daemon.json").write_text(json.dumps(SETTINGS))
    options = {"config-file": "daemon.json", "data-root": "data", "exec-root": "exec", "pidfile": "docker.pid"}
    words = [f"--{name}={folder / place}" for name, place in options.items()]
    with (folder / "docker.log").open("w") as log:
        daemon = subprocess.Popen(
            [program, f"--host={ours.host}", *words], stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while not answers(ours):
        if daemon.poll() is not None or time.monotonic() > deadline:
            daemon.kill()
            said = (folder / "docker.log").read_text(errors="replace")[-2000:]
            need(False, f"a Docker Engine; dockerd did not start: {said}")
        time.sleep(0.1)
    with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
        ours.run("image", "prune", "--all", "--force", "--filter", f"until={KEEP}", timeout_seconds=BOOTSTRAP_SECONDS)
    # It outlives this process when another test run uses it.
    daemon.returncode = 0


def _leave(folder: Path, using: int) -> None:
    """Stop the engine unless another test run uses it."""
    with _locked("docker-start"):
        try:
            fcntl.flock(using, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        with contextlib.suppress(OSError, ValueError):
            process = int((folder / "docker.pid").read_text())
            os.kill(process, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while time.monotonic() < deadline and (folder / "docker.pid").exists():
                time.sleep(0.1)


def _mirror() -> tuple[str, str]:
    """The place and the name of the release that apt's own configuration names."""
    found = _index_targets()
    if not found and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True, timeout=BOOTSTRAP_SECONDS)
        found = _index_targets()
    return need(found, "a machine whose apt knows a Debian mirror")[0]


def _index_targets() -> list[tuple[str, str]]:
    if not shutil.which("apt-get"):
        return []
    form = "$(ORIGIN)|$(COMPONENT)|$(CODENAME)|$(REPO_URI)"
    words = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    said = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout
    rows = [line.split("|") for line in said.splitlines() if line.count("|") == 3]
    return [
        (uri, codename)
        for origin, component, codename, uri in rows
        if origin == "Debian" and component == "main" and codename and "-" not in codename
    ]


def _bundle() -> str:
    """The authorities that this machine trusts."""
    named = os.environ.get("SSL_CERT_FILE", BUNDLE)
    return Path(named).read_text() if Path(named).is_file() else ""


def _tarball(mirror: str, codename: str, bundle: str) -> Path:
    identity = hashlib.sha256("\n".join([OS_RULES, mirror, bundle]).encode()).hexdigest()[:12]
    folder = cache_folder() / "os"
    folder.mkdir(exist_ok=True)
    finished = folder / f"debian-{codename}-{identity}.tar"
    if finished.exists():
        return finished
    need(
        shutil.which("debootstrap") is not None and os.geteuid() == 0,
        "debootstrap, run as root: apt-get install debootstrap",
    )
    with tempfile.TemporaryDirectory(prefix="bindery-os-") as draft:
        root = Path(draft) / "root"
        _run("debootstrap", "--variant=minbase", "--include=ca-certificates", codename, str(root), mirror)
        if bundle:
            (root / "usr/local/share/ca-certificates/company.crt").write_text(bundle)
            _run("chroot", str(root), "update-ca-certificates")
        for place in ("var/cache/apt", "var/lib/apt/lists", "var/log"):
            shutil.rmtree(root / place)
            (root / place).mkdir()
        (root / "var/cache/apt/archives/partial").mkdir(parents=True)
        (root / "var/lib/apt/lists/partial").mkdir()
        partial = finished.with_suffix(f".{os.getpid()}")
        _run("tar", "-C", str(root), "--numeric-owner", "-cf", str(partial), ".")
        partial.replace(finished)
    return finished


def _run(*words: str) -> None:
    ended = subprocess.run(words, capture_output=True, text=True, timeout=BOOTSTRAP_SECONDS)
    assert ended.returncode == 0, f"{words[0]} failed: {(ended.stdout + ended.stderr)[-2000:]}"


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    """One test run at a time in the block."""
    with (cache_folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Keep an engine until standard input ends."""
    print(json.dumps({"DOCKER_HOST": engine().host, "os_image": os_image()}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
