"""A real Git server over HTTP: `git http-backend` behind a small CGI bridge, with the faults that tests ask for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from bindery.process import end_group, spawned
from bindery.program import Program

_AUTHOR = {
    "GIT_AUTHOR_NAME": "An Author",
    "GIT_AUTHOR_EMAIL": "author@example.org",
    "GIT_COMMITTER_NAME": "An Author",
    "GIT_COMMITTER_EMAIL": "author@example.org",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def git(folder: Path, *arguments: str) -> str:
    """Run git as a user would; returns what it printed."""
    argv = ["git", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(argv, cwd=folder, env=os.environ | _AUTHOR, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@dataclass
class Repository:
    """A work tree whose `.git` the server publishes."""

    folder: Path

    def commit(self, files: Mapping[str, str | bytes], message: str = "a change") -> str:
        """Write files, commit them, and return the commit's id."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            if path.name in ("postBuild", "start"):
                path.chmod(0o755)
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "--allow-empty", "-m", message)
        return git(self.folder, "rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        """Run git in the work tree."""
        return git(self.folder, *arguments)


@dataclass
class GitServer:
    """The server. `url` is its base; `repository("owner/name")` makes one that is served as `<url>/owner/name`."""

    root: Path
    url: str = ""
    #: Paths below which an answer is not git's: path prefix -> (status, headers, body).
    faults: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    #: Paths whose answer does not come before the server ends.
    silent: set[str] = field(default_factory=set)
    #: Speak the old protocol, in which only what was advertised can be asked for.
    old_protocol: bool = False
    requests: list[str] = field(default_factory=list)

    def repository(self, name: str) -> Repository:
        """A new, empty repository."""
        folder = self.root / name
        folder.mkdir(parents=True)
        git(folder, "init", "-q")
        return Repository(folder)

    def configure(self, name: str, setting: str, value: str) -> None:
        """Set one of a repository's own git settings."""
        git(self.root / name, "config", setting, value)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        if any(request.path.startswith(path) for path in self.silent):
            await asyncio.Event().wait()
        for path, (status, headers, body) in self.faults.items():
            if request.path.startswith(path):
                return web.Response(status=status, headers=headers, body=body)
        return await self._backend(request)

    async def _backend(self, request: web.Request) -> web.StreamResponse:
        name, _, service = request.path.lstrip("/").partition("/info/")
        name = name.removesuffix("/git-upload-pack").removesuffix(".git")
        tail = f"/info/{service}" if service else "/git-upload-pack"
        environment = os.environ | {
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{name}/.git{tail}",
            "REQUEST_METHOD": request.method,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": "",
            "GIT_PROTOCOL": "" if self.old_protocol else request.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        pipe = asyncio.subprocess.PIPE
        body = await request.read()
        # A question has no body, and git may have answered and gone before it could be written.
        stdin = pipe if body else asyncio.subprocess.DEVNULL
        async with spawned(["git", "http-backend"], env=environment, stdin=stdin) as process:
            sending = asyncio.create_task(_send(process, body))
            try:
                return await _passed_on(process, request)
            finally:
                await end_group(process)
                await sending


async def _passed_on(process: Program, request: web.Request) -> web.StreamResponse:
    """What the program says, as it comes."""
    assert process.stdout is not None
    head = await process.stdout.readuntil(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    response = web.StreamResponse(status=int(headers.pop("Status", "200").split()[0]), headers=headers)
    # Who has read enough goes.
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        while piece := await process.stdout.read(1 << 16):
            await response.write(piece)
        await response.write_eof()
    return response


async def _send(process: Program, body: bytes) -> None:
    if process.stdin is not None:
        with contextlib.suppress(ConnectionError):
            process.stdin.write(body)
            await process.stdin.drain()
        process.stdin.close()


@contextlib.asynccontextmanager
async def serve_git(root: Path, host: str = "127.0.0.1") -> AsyncIterator[GitServer]:
    """Serve repositories below `root` on a loopback port of their own."""
    server = GitServer(root)
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", server._answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    server.url = f"http://{host}:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
