"""A real cluster for tests, whichever KUBECONFIG names, with a namespace for this test run and a registry.

The registry is one that this machine and the cluster's nodes and pods reach under one name, the one in
`BINDERY_TEST_CLUSTER_REGISTRY`. Where nothing answers there, Debian's `docker-registry` is started; test runs at the
same time share it, and the last one to end stops it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import functools
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bindery.cluster import Cluster
from bindery.errors import BinderyError
from bindery.settings import KubernetesSettings
from tests.support.docker import cache_folder
from tests.support.needs import need
from tests.support.wait import until

#: Marks the tests' namespaces; what is older than so many seconds was left by a run that was killed.
LABEL = "bindery-tests"
OLD_SECONDS = 7200
START_SECONDS = 20.0

_CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "{host}", secret: a-secret-of-tests}}
"""

_T = TypeVar("_T")


@dataclass(frozen=True)
class TestCluster:
    """A cluster that answers, and this run's namespace in it."""

    __test__ = False

    kubeconfig: Path
    namespace: str

    def settings(self, **more: object) -> KubernetesSettings:
        """Settings for this cluster and namespace; `more` are others of that section."""
        return KubernetesSettings.model_validate({"kubeconfig": self.kubeconfig, "namespace": self.namespace, **more})

    @property
    def environment(self) -> dict[str, str]:
        """The same as variables of a service."""
        prefix = "BINDERY_KUBERNETES__"
        return {f"{prefix}KUBECONFIG": str(self.kubeconfig), f"{prefix}NAMESPACE": self.namespace}


@functools.cache
def cluster() -> TestCluster:
    """The cluster, with a namespace that goes with this process; skips the test where there is none."""
    named = os.environ.get("KUBECONFIG", "")
    need(bool(named) and Path(named).is_file(), "a cluster to make namespaces in: KUBECONFIG=<file>")
    found = TestCluster(Path(named), f"bindery-test-{secrets.token_hex(4)}")
    try:
        _now(_make_namespace(found))
    except BinderyError as error:
        need(False, f"a cluster that answers and lets us make namespaces: {error.message}")
    atexit.register(_leave_namespace, found)
    return found


@functools.cache
def cluster_registry() -> str:
    """The registry's name, `host:port`; it answers until this process ends. Skips the test where there is none."""
    named = os.environ.get("BINDERY_TEST_CLUSTER_REGISTRY", "")
    host = need(named, "a registry's address that the cluster reaches too: BINDERY_TEST_CLUSTER_REGISTRY=host:port")
    folder = cache_folder() / "cluster-registry"
    folder.mkdir(exist_ok=True)
    # Never closed: it is held as long as this process lives.
    using = os.open(folder / "users.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with _alone(folder):
        # Shared: whoever gets it for itself alone at the end was the last.
        fcntl.flock(using, fcntl.LOCK_SH)
        if not _answers(host):
            _start(folder, host)
    atexit.register(_leave_registry, folder, using)
    return host


def _now(work: Coroutine[Any, Any, _T]) -> _T:
    """Run something to its end from wherever a test is, a running event loop included."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def _make_namespace(found: TestCluster) -> None:
    async with Cluster(found.settings()) as api:
        await _remove_old(api)
        labels = {LABEL: str(int(time.time()))}
        await api.ask("POST", "/api/v1/namespaces", body={"metadata": {"name": found.namespace, "labels": labels}})

        async def has_account() -> bool:
            accounts = await api.ask("GET", f"/api/v1/namespaces/{found.namespace}/serviceaccounts")
            return bool(accounts["items"])

        # Without it no pod can be made.
        await until(has_account, what="the namespace has its service account")


async def _remove_old(api: Cluster) -> None:
    listed = await api.ask("GET", "/api/v1/namespaces", query={"labelSelector": LABEL})
    for item in listed["items"]:
        if time.time() - int(item["metadata"]["labels"][LABEL]) > OLD_SECONDS:
            await _remove(api, item["metadata"]["name"])


async def _remove(api: Cluster, namespace: str) -> None:
    with contextlib.suppress(BinderyError):
        await api.ask("DELETE", f"/api/v1/namespaces/{namespace}")


def _leave_namespace(found: TestCluster) -> None:
    # A program of its own: when Python exits, there is no event loop any more that could ask for something.
    words = [sys.executable, "-m", "tests.support.cluster", str(found.kubeconfig), found.namespace]
    subprocess.run(words, cwd=Path(__file__).parents[2], timeout=60, check=False)


def _answers(host: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{host}/v2/", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def _start(folder: Path, host: str) -> None:
    what = f"a registry at {host}, or docker-registry to start one: apt-get install docker-registry"
    program = need(shutil.which("docker-registry"), what)
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(root=folder / "storage", host=host))
    with (folder / "registry.log").open("w") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log, start_new_session=True)
    (folder / "registry.pid").write_text(str(process.pid))
    deadline = time.monotonic() + START_SECONDS
    while not _answers(host):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            said = (folder / "registry.log").read_text(errors="replace")[-2000:]
            need(False, f"a registry at {host}; docker-registry did not start: {said}")
        time.sleep(0.05)
    # It outlives this process when another test run uses it.
    process.returncode = 0


def _leave_registry(folder: Path, using: int) -> None:
    """Stop the registry, if we started one, unless another test run uses it."""
    with _alone(folder):
        try:
            fcntl.flock(using, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        pid = folder / "registry.pid"
        with contextlib.suppress(OSError, ValueError):
            process = int(pid.read_text())
            if "docker-registry" in Path(f"/proc/{process}/cmdline").read_text():
                os.kill(process, 15)
        pid.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One test run at a time in the block."""
    with (folder / "start.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def _leave(kubeconfig: str, namespace: str) -> None:
    async with Cluster(KubernetesSettings(kubeconfig=Path(kubeconfig))) as api:
        await _remove(api, namespace)


if __name__ == "__main__":
    asyncio.run(_leave(*sys.argv[1:]))
