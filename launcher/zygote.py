"""The warm parent of notebook servers: a program that imports JupyterLab once and forks one child per session.

Run by the server environment's Python, standard library only: `python -I zygote.py [--warm] [--sessions FOLDER]`.
Without `--warm` it imports nothing and executes programs: the parent of servers that cannot be forked.

Requests and answers are JSON lines on stdin and stdout:

    -> {"op": "start", "name", "argv", "environment", "folder", "tmp"}, {"op": "signal", "name", "number"}
    <- {"event": "ready", "isolation"}, {"event": "started", "name", "pid"}, {"event": "exited", "name", "code"}

A warm parent's `argv` are JupyterLab's arguments. `folder` is the session's: it holds
the work tree `repo` and the `log`; `tmp`, or null, is to become its `/tmp`.

- At the end of stdin, however it comes, every child and all it started are killed and the program ends.
- Children have no part in the channel, and a process group of their own; they die with this program.
- It has one thread whenever it forks, and refuses to work otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import random
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from launcher import isolation
from launcher.isolation import Isolation

del sys.path[0]

#: What a server imports while it starts and answers its first requests; what is not installed is left out.
WARM_MODULES = (
    "jupyterlab.labapp",
    "IPython.core.inputtransformer2",
    "IPython.utils.tokenutil",
    "httpcore",
    "jinja2.ext",
    "jupyter_core.migrate",
    "jupyter_lsp.handlers",
    "jupyter_lsp.serverextension",
    "jupyter_lsp.specs",
    "jupyter_lsp.virtual_documents_shadow",
    "jupyter_server.kernelspecs.handlers",
    "jupyter_server.nbconvert.handlers",
    "jupyter_server.services.api.handlers",
    "jupyter_server.services.config.handlers",
    "jupyter_server.services.contents.handlers",
    "jupyter_server.services.events.handlers",
    "jupyter_server.services.kernels.handlers",
    "jupyter_server.services.kernelspecs.handlers",
    "jupyter_server.services.nbconvert.handlers",
    "jupyter_server.services.security.handlers",
    "jupyter_server.services.sessions.handlers",
    "jupyter_server.services.shutdown",
    "jupyter_server.view.handlers",
    "jupyter_server_terminals.app",
    "jupyter_server_terminals.handlers",
    "notebook_shim.nbserver",
    "terminado.management",
    "tornado.platform.asyncio",
)
#: Seconds for servers to end by themselves when the service is gone.
GRACE_SECONDS = 1.0


class Zygote:
    """The children, and the two ways by which news arrives: requests, and the end of a child."""

    def __init__(self, *, warm: bool, sessions: Path | None) -> None:
        self._warm = warm
        self._sessions = sessions
        self._children: dict[int, str] = {}
        self._requests, self._answers = os.dup(0), os.dup(1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        self._isolation = isolation.available(sessions)

    def serve(self) -> None:
        """Work until the service is gone."""
        woken, wake = socket.socketpair()
        for end in (woken, wake):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._say(event="ready", isolation=self._isolation)
        with contextlib.suppress(BrokenPipeError):
            for line in requests(self._requests, woken):
                self._reap()
                if line:
                    self._obey(json.loads(line))
        self._end()

    def _obey(self, request: Mapping[str, Any]) -> None:
        if request["op"] == "start":
            self._start(request)
        else:
            self._signal(request["number"], only=request["name"])

    def _start(self, request: Mapping[str, Any]) -> None:
        if threads() != 1:
            raise SystemExit(f"zygote: {threads()} threads: forking is not safe")
        pid = os.fork()
        if pid == 0:
            os.close(self._requests)
            os.close(self._answers)
            begin(request, warm=self._warm, sessions=self._sessions, kind=self._isolation)
        self._children[pid] = request["name"]
        self._say(event="started", name=request["name"], pid=pid)

    def _signal(self, number: int, only: str | None = None) -> None:
        for pid, name in self._children.items():
            if only in (None, name):
                signal_group(pid, number)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while ended := os.waitpid(-1, os.WNOHANG):
                pid, status = ended
                if pid == 0:
                    return
                if name := self._children.pop(pid, None):
                    signal_group(pid, signal.SIGKILL)
                    self._say(event="exited", name=name, code=os.waitstatus_to_exitcode(status))

    def _end(self) -> None:
        names = set(self._children.values())
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._children and time.monotonic() < deadline:
            with contextlib.suppress(BrokenPipeError):
                self._reap()
            time.sleep(0.01)
        self._signal(signal.SIGKILL)
        kill_marked(names)

    def _say(self, **event: Any) -> None:
        os.write(self._answers, json.dumps(event).encode() + b"\n")


def requests(channel: int, woken: socket.socket) -> Iterator[bytes]:
    """The lines of a channel until its end; an empty one whenever a signal came."""
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                woken.recv(4096)
                yield b""
            if channel in ready:
                chunk = os.read(channel, 65536)
                if not chunk:
                    return
                *lines, pending = (pending + chunk).split(b"\n")
                yield from lines


def threads() -> int:
    """How many threads this process has, whoever started them."""
    tasks = Path("/proc/self/task")
    return max(threading.active_count(), len(list(tasks.iterdir())) if tasks.exists() else 1)


def signal_group(pid: int, number: int) -> None:
    """Signal a child's process group; before the child has one, the child alone."""
    try:
        os.killpg(pid, number)
    except OSError:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def kill_marked(names: set[str]) -> None:
    """Kill what sessions left outside of their process group: whatever carries their mark in its environment."""
    marks = {f"BINDERY_SESSION={name}".encode() for name in names}
    for folder in Path("/proc").glob("[0-9]*") if marks else ():
        with contextlib.suppress(OSError):
            if marks.intersection((folder / "environ").read_bytes().split(b"\0")):
                os.kill(int(folder.name), signal.SIGKILL)


def begin(request: Mapping[str, Any], *, warm: bool, sessions: Path | None, kind: Isolation) -> NoReturn:
    """What a forked child does until its end."""
    code = 1
    try:
        isolation.die_with_parent()
        folder = Path(request["folder"])
        detach(folder)
        if kind is not Isolation.NONE and sessions is not None:
            isolation.enter(kind, sessions, folder, request["tmp"])
            if kind is Isolation.FULL:
                become_first_process()
            isolation.drop_capabilities()
            isolation.die_with_parent()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        code = run(request["argv"], request["environment"], folder / "repo", warm=warm)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def detach(folder: Path) -> None:
    """Leave the parent's terminal, group, signals, output and randomness."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    os.umask(0o077)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, 256)
    random.seed()


def become_first_process() -> None:
    """Return in the second process of a new process table; the callers of `fork` wait, and end as it ends."""
    wait_and_end(os.fork())
    isolation.die_with_parent()
    isolation.fresh_proc()
    isolation.drop_capabilities()
    wait_and_end(os.fork())


def wait_and_end(child: int) -> None:
    """In a parent: bury whatever dies, and end as `child` does. In the child: nothing."""
    while child:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def run(argv: list[str], environment: Mapping[str, str], work_tree: Path, *, warm: bool) -> int:
    """Become the server: in this process when it is warm, else by executing `argv`."""
    os.chdir(work_tree)
    if not warm:
        os.execvpe(argv[0], argv, dict(environment))  # noqa: S606
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["jupyter-lab", *argv]
    time.tzset()
    try:
        importlib.import_module("jupyterlab.labapp").LabApp.launch_instance(argv=argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def main() -> None:
    """Read the command line, warm up, serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--sessions", type=Path)
    options = parser.parse_args()
    zygote = Zygote(warm=options.warm, sessions=options.sessions)
    for name in WARM_MODULES if options.warm else ():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    zygote.serve()


if __name__ == "__main__":
    main()
