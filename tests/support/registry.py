"""A real registry: Debian's `docker-registry` on a loopback port, open, with logins, or with a token server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import aiohttp
from aiohttp import web

from tests.support.needs import need
from tests.support.wait import until

USER, PASSWORD = "reader", "a pass word"
#: PASSWORD, as htpasswd writes it.
_HASH = "$2b$05$abcdefghijklmnopqrstuuTtCPEIC6a.srGEza7Htt8owgj0P3vZq"
_LOOP_TURNS = 10
_ISSUER, _SERVICE = "bindery-tests", "the-registry"

Auth = Literal["none", "basic", "token"]

_CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}", secret: a-secret-of-tests}}
{auth}"""


@dataclass
class TokenServer:
    """Gives tokens that the registry believes, and remembers what was asked for."""

    folder: Path
    seconds: int = 300
    url: str = ""
    #: The scopes of each token that was given.
    given: list[list[str]] = field(default_factory=list)
    refused: int = 0
    #: Identity tokens that may be exchanged.
    identity_tokens: set[str] = field(default_factory=set)
    #: Give tokens that end at once, as a registry sees them.
    stale: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        """One token, for who has the login or an identity token."""
        form = await request.post()
        scopes = request.query.getall("scope", []) or str(form.get("scope", "")).split()
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        known = request.headers.get("Authorization") == f"Basic {login}"
        if not known and form.get("refresh_token") not in self.identity_tokens:
            self.refused += 1
            return web.json_response({"details": "no"}, status=401)
        self.given.append(sorted(scopes))
        return web.json_response({"token": await asyncio.to_thread(self._token, scopes), "expires_in": self.seconds})

    def _token(self, scopes: list[str]) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time()) - (3600 if self.stale else 0)
        claims = {"iss": _ISSUER, "sub": USER, "aud": _SERVICE, "exp": now + 600, "nbf": now - 60, "iat": now}
        chain = _openssl("x509", "-in", self.folder / "cert.pem", "-outform", "DER")
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(chain).decode()]}
        said = ".".join(_url64(json.dumps(part).encode()) for part in (head, claims | {"access": access, "jti": "1"}))
        signature = _openssl("dgst", "-sha256", "-sign", self.folder / "key.pem", data=said.encode())
        return f"{said}.{_url64(signature)}"


@dataclass
class Registry:
    """A running registry: `host` with its port, and where it keeps its blobs."""

    host: str
    root: Path
    process: subprocess.Popen[bytes]
    tokens: TokenServer | None = None

    def blob_path(self, digest: str) -> Path:
        """Where a blob's bytes are."""
        algorithm, _, name = digest.partition(":")
        return self.root / "docker/registry/v2/blobs" / algorithm / name[:2] / name / "data"

    def unfinished_uploads(self) -> list[Path]:
        """Uploads that were begun and neither finished nor given up."""
        return list(self.root.glob("docker/registry/v2/repositories/**/_uploads/*/startedat"))


@contextlib.asynccontextmanager
async def running_registry(folder: Path, auth: Auth = "none") -> AsyncIterator[Registry]:
    """A registry that keeps its images in the folder `folder`, which must be there; ended with the block."""
    async with contextlib.AsyncExitStack() as stack:
        tokens = await stack.enter_async_context(_token_server(folder)) if auth == "token" else None
        port = _free_port()
        process = _start(folder, port, _auth(folder, auth, tokens))
        stack.callback(_end, process)
        await until(lambda: _answers(process, port, folder), what="the registry answers")
        yield Registry(f"127.0.0.1:{port}", folder / "storage", process, tokens)


def docker_config(folder: Path, hosts: list[str], entry: dict[str, str] | None = None) -> dict[str, str]:
    """The environment whose Docker configuration has the tests' login for these hosts."""
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    folder.mkdir(parents=True, exist_ok=True)
    auths = {host: entry or {"auth": login} for host in hosts}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))
    return {"DOCKER_CONFIG": str(folder)}


def digest_of(data: bytes) -> str:
    """The digest of these bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@contextlib.asynccontextmanager
async def served(application: web.Application) -> AsyncIterator[str]:
    """Serve an application on a loopback port; gives the URL."""
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await site.stop()
        # Connections that were accepted at the last moment must be known before they can be closed.
        for _ in range(_LOOP_TURNS):
            await asyncio.sleep(0)
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _token_server(folder: Path) -> AsyncIterator[TokenServer]:
    words = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests")
    files = ("-keyout", folder / "key.pem", "-out", folder / "cert.pem")
    await asyncio.to_thread(_openssl, *words, *files)
    server = TokenServer(folder)
    application = web.Application()
    application.router.add_route("*", "/token", server.answer)
    async with served(application) as url:
        server.url = f"{url}/token"
        yield server


def _start(folder: Path, port: int, auth: str) -> subprocess.Popen[bytes]:
    program = need(shutil.which("docker-registry"), "a registry: apt-get install docker-registry")
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(root=folder / "storage", port=port, auth=auth))
    with (folder / "registry.log").open("wb") as log:
        return subprocess.Popen([program, "serve", config], stdout=log, stderr=log)


def _auth(folder: Path, auth: Auth, tokens: TokenServer | None) -> str:
    if auth == "basic":
        (folder / "htpasswd").write_text(f"{USER}:{_HASH}\n")
        return f"auth: {{htpasswd: {{realm: tests, path: {folder / 'htpasswd'}}}}}\n"
    if tokens is None:
        return ""
    fields = {"realm": tokens.url, "service": _SERVICE, "issuer": _ISSUER, "rootcertbundle": str(folder / "cert.pem")}
    return f"auth: {json.dumps({'token': fields})}\n"


async def _answers(process: subprocess.Popen[bytes], port: int, folder: Path) -> bool:
    assert process.poll() is None, (folder / "registry.log").read_text()
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/v2/") as answer:
            return answer.status in (200, 401)
    except aiohttp.ClientError:
        return False


def _openssl(*words: str | Path, data: bytes | None = None) -> bytes:
    return subprocess.run(["openssl", *words], input=data, check=True, capture_output=True).stdout


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
