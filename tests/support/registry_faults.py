"""A proxy in front of a registry, with the faults that registries have: named after what they cause."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import aiohttp
from aiohttp import web

from tests.support.registry import Registry, served

_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length")


@dataclass
class Step:
    """What a fault sees of one request."""

    request: web.Request
    body: bytes
    proxy: FaultyRegistry
    method: str
    path: str

    @property
    def writes(self) -> str:
        """What is written: `begin`, `chunk`, `blob`, `manifest`, or nothing."""
        method, path = self.method, self.path
        if method == "PUT" and "/manifests/" in path:
            return "manifest"
        if "/blobs/uploads/" not in path:
            return ""
        return {"POST": "begin", "PATCH": "chunk", "PUT": "blob"}.get(method, "")


class Fault(Protocol):
    """Something that goes wrong."""

    async def __call__(self, step: Step) -> web.StreamResponse | None:
        """The wrong answer; None lets the request through."""


@dataclass
class FaultyRegistry:
    """The proxy: `host` is its own address, `faults` what goes wrong, `seen` all requests that came."""

    registry: Registry
    session: aiohttp.ClientSession
    host: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    #: Uploads that moved on without the client's knowledge: old state -> where they are now.
    moved: dict[str, str] = field(default_factory=dict)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Hand a request on, unless a fault comes between."""
        step = Step(request, await request.read(), self, request.method, request.path_qs)
        self.seen.append((request.method, request.path_qs))
        for fault in self.faults:
            answer = await fault(step)
            if answer is not None:
                return answer
        status, headers, body = await self.forward(step, step.body)
        return web.Response(status=status, headers=headers, body=body)

    async def forward(
        self, step: Step, body: bytes, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """What the registry itself answers, its addresses led through the proxy."""
        sent = {name: value for name, value in step.request.headers.items() if name.lower() not in (*_HOP, "host")}
        async with self.session.request(
            step.method,
            f"http://{self.registry.host}{self._now(step)}",
            headers=sent | (headers or {}),
            data=body or None,
            allow_redirects=False,
        ) as response:
            found = {name: value for name, value in response.headers.items() if name.lower() not in _HOP}
            if "Location" in found:
                found["Location"] = found["Location"].replace(self.registry.host, self.host)
            if step.method == "HEAD":
                found["Content-Length"] = response.headers.get("Content-Length", "0")
            return response.status, found, await response.read()

    def _now(self, step: Step) -> str:
        """Where a request really leads: an upload that moved on is found by its old address."""
        place = self.moved.get(step.request.query.get("_state", ""))
        if place is None:
            return step.path
        digest = step.request.query.get("digest")
        return place + (f"&digest={digest}" if digest else "")


@contextlib.asynccontextmanager
async def faulty(registry: Registry, *faults: Fault) -> AsyncIterator[FaultyRegistry]:
    """The proxy with these faults, ended with the block."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        proxy = FaultyRegistry(registry, session, faults=list(faults))
        application = web.Application(client_max_size=2**31)
        application.router.add_route("*", "/{path:.*}", proxy.answer)
        async with served(application) as url:
            proxy.host = url.removeprefix("http://")
            yield proxy


@dataclass
class RegistryRefusesPush:
    """401 for one kind of writing, whatever the login."""

    writes: str = "blob"
    status: int = 401

    async def __call__(self, step: Step) -> web.StreamResponse | None:
        if step.writes != self.writes:
            return None
        errors = {"errors": [{"code": "UNAUTHORIZED", "message": "the login has ended"}]}
        headers = {"WWW-Authenticate": 'Basic realm="tests"'} if self.status == 401 else {}
        return web.json_response(errors, status=self.status, headers=headers)


@dataclass
class RegistryTooBusy:
    """429 with `Retry-After` for some requests; then all is well."""

    times: int = 2
    retry_after: str = "0"
    writes: str = "blob"

    async def __call__(self, step: Step) -> web.StreamResponse | None:
        if step.writes != self.writes or self.times <= 0:
            return None
        self.times -= 1
        return web.Response(status=429, headers={"Retry-After": self.retry_after})


@dataclass
class RegistryFails:
    """500 for one kind of writing, as often as said; with `full`, since its disk is full."""

    writes: str = "manifest"
    times: int = 10**6
    full: bool = False

    async def __call__(self, step: Step) -> web.StreamResponse | None:
        if step.writes != self.writes or self.times <= 0:
            return None
        self.times -= 1
        detail = "write /var/lib/registry: no space left on device" if self.full else "broken"
        return web.json_response({"errors": [{"code": "UNKNOWN", "message": detail}]}, status=500)


@dataclass
class RegistryGoesDown:
    """Answers nothing any more, from the first time on that something of a kind is written."""

    writes: str = "blob"
    down: bool = False

    async def __call__(self, step: Step) -> web.StreamResponse | None:
        self.down = self.down or step.writes == self.writes
        if not self.down:
            return None
        assert step.request.transport is not None
        step.request.transport.abort()
        return web.Response(status=500)


@dataclass
class RegistryBreaksUpload:
    """Resets the connection in the middle of a body.

    `kept` is the part of the body that reached the registry before: it knows so, and says so when asked. None: the
    registry forgot the whole upload.
    """

    writes: str = "chunk"
    times: int = 1
    kept: float | None = 0.5
    broken: int = 0

    async def __call__(self, step: Step) -> web.StreamResponse | None:
        if step.writes != self.writes or self.times <= 0:
            return None
        self.times -= 1
        self.broken += 1
        if self.kept is None:
            await step.proxy.forward(replace(step, method="DELETE"), b"")
        elif self.kept:
            await self._keep(step, step.body[: int(len(step.body) * self.kept)])
        assert step.request.transport is not None
        step.request.transport.abort()
        return web.Response(status=500)

    async def _keep(self, step: Step, part: bytes) -> None:
        """Let the registry have a part, and find the upload by its old address."""
        patch = replace(step, method="PATCH")
        status, headers, _ = await step.proxy.forward(patch, part, {"Content-Range": ""})
        assert status == 202
        place = headers["Location"].removeprefix(f"http://{step.proxy.host}")
        step.proxy.moved[step.request.query["_state"]] = place


@dataclass
class RegistryBreaksDownload:
    """Ends the connection in the middle of a blob."""

    times: int = 1

    async def __call__(self, step: Step) -> web.StreamResponse | None:
        request = step.request
        if request.method != "GET" or "/blobs/sha256:" not in request.path or self.times <= 0:
            return None
        self.times -= 1
        _, headers, body = await step.proxy.forward(step, b"")
        answer = web.StreamResponse(headers=headers | {"Content-Length": str(len(body))})
        await answer.prepare(request)
        await answer.write(body[: len(body) // 2])
        assert request.transport is not None
        request.transport.close()
        return answer


@dataclass
class RegistryLies:
    """Gives other bytes than those of the digest, or promises another digest."""

    about: str = "/blobs/"
    header: bool = False

    async def __call__(self, step: Step) -> web.StreamResponse | None:
        if step.request.method not in ("GET", "PUT") or self.about not in step.request.path:
            return None
        status, headers, body = await step.proxy.forward(step, step.body)
        if self.header:
            headers["Docker-Content-Digest"] = f"sha256:{'0' * 64}"
        else:
            body = body[:-1] + bytes([body[-1] ^ 1]) if body else body
        return web.Response(status=status, headers=headers, body=body)


@dataclass
class RegistryFloods:
    """Answers without end."""

    about: str = "/manifests/"

    async def __call__(self, step: Step) -> web.StreamResponse | None:
        if step.request.method != "GET" or self.about not in step.request.path:
            return None
        answer = web.StreamResponse()
        await answer.prepare(step.request)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                await answer.write(bytes(1024 * 1024))
        return answer


@dataclass
class RegistryRedirects:
    """Leads readers of blobs to another place, as object stores do."""

    to: str
    status: int = 307

    async def __call__(self, step: Step) -> web.StreamResponse | None:
        if step.request.method != "GET" or "/blobs/sha256:" not in step.request.path:
            return None
        return web.Response(status=self.status, headers={"Location": self.to + step.request.path})


@dataclass
class RegistryPaginates:
    """Lists tags in short pages."""

    size: int = 2

    async def __call__(self, step: Step) -> web.StreamResponse | None:
        if not step.request.path.endswith("/tags/list"):
            return None
        status, _, body = await step.proxy.forward(step, b"")
        tags = sorted(json.loads(body).get("tags") or [])
        last = step.request.query.get("last", "")
        page = [tag for tag in tags if tag > last][: self.size]
        link = (
            f'<{step.request.path}?n={self.size}&last={page[-1]}>; rel="next"' if page and page[-1] != tags[-1] else ""
        )
        return web.json_response({"name": "x", "tags": page}, status=status, headers={"Link": link} if link else {})


@dataclass
class RegistryRefusesMount:
    """Begins an upload where a mount was asked for, as the protocol allows."""

    async def __call__(self, step: Step) -> web.StreamResponse | None:
        if step.writes != "begin" or "mount" not in step.request.query:
            return None
        status, headers, body = await step.proxy.forward(replace(step, path=step.request.path), b"")
        return web.Response(status=status, headers=headers, body=body)
