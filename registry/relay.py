"""A registry for builds: it passes on what their permits allow, with a login that builds never see.

It speaks the part of the distribution protocol (OCI Distribution Specification 1.1) that pulling and pushing needs.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import aiohttp
from aiohttp import web
from yarl import URL

from bindery.errors import BinderyError, InvalidImageReference, RegistryRefused
from registry.names import Reference, Repository
from registry.permits import Permit, Permits
from registry.transport import Answer, Call, Transport
from registry.wire import Body, Passing

#: Longest time, in seconds, that one request may take: the largest layer on the slowest line.
_LONGEST_SECONDS = 3600.0
_MAX_MANIFEST_BYTES = 8 * 1024 * 1024
_SHUTDOWN_SECONDS = 5.0
_SENT = ("Accept", "Content-Type", "Content-Range", "Range")
_ANSWERED = (
    "Content-Type",
    "Content-Length",
    "Content-Range",
    "Accept-Ranges",
    "Range",
    "ETag",
    "Retry-After",
    "Docker-Content-Digest",
    "Docker-Upload-UUID",
    "Docker-Distribution-Api-Version",
)
#: What builds are told as the registry says it, its refusal of our own login aside.
_TOLD = frozenset(range(400, 500)) - {401}
_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 429: "TOOMANYREQUESTS"}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Relay:
    """What stands between builds and the registry `host`.

    - A build shows its permit as the password of a Basic login; the permit says which repositories it may use.
    - Bodies are passed on as they come, in both directions; none is kept.
    - Uploads go on at any relay that has the same secret.
    """

    def __init__(self, transport: Transport, host: str, permits: Permits) -> None:
        self._transport = transport
        self._host = host
        self._permits = permits
        self._introduced = False

    @contextlib.asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[int]:
        """Answer on a port, whose number this is (0 asks for any that is free), until the block ends."""
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_MANIFEST_BYTES, middlewares=[_in_words])
        for method in ("GET", "PUT"):
            app.router.add_route(method, "/v2/{name:.+}/manifests/{reference}", self._manifest)
        app.router.add_get("/v2/{name:.+}/blobs/{digest:[a-z0-9]+:[0-9a-f]+}", self._blob)
        app.router.add_post("/v2/{name:.+}/blobs/uploads/", self._begin)
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            app.router.add_route(method, "/v2/{name:.+}/blobs/uploads/{place}", self._upload)
        app.router.add_get("/v2/", self._root)
        return app

    async def _root(self, request: web.Request) -> web.StreamResponse:
        self._permit(request)
        return web.json_response({})

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        push, reference = request.method == "PUT", _reference(self._host, request.match_info)
        body = Body.of(await request.read()) if push else None
        return await self._pass(request, f"manifests/{reference.identifier}", reference.tag, push=push, body=body)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        return await self._pass(request, f"blobs/{request.match_info['digest']}", push=False)

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        source = query.get("from")
        if source is not None and not self._permit(request).allows(source, push=False):
            # As of a registry that mounts nothing: the upload begins.
            query = {}
        return await self._pass(request, "blobs/uploads/", push=True, body=_body(request), query=query)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        place = self._permits.unseal(request.match_info["name"], request.match_info["place"])
        return await self._pass(request, "", push=True, body=_body(request), query=request.query, url=place)

    async def _pass(
        self,
        request: web.Request,
        path: str,
        tag: str | None = None,
        *,
        push: bool,
        body: Body | None = None,
        query: Mapping[str, str] | None = None,
        url: URL | None = None,
    ) -> web.StreamResponse:
        """Have the registry answer a request, if the permit allows it."""
        repository = Repository(self._host, request.match_info["name"])
        if not self._permit(request).allows(repository.path, tag, push=push):
            verb = "write" if push else "read"
            raise web.HTTPForbidden(reason=f"This build has no permit to {verb} this in {repository.path}")
        if body is not None:
            await self._introduce(repository)
        call = Call(
            request.method,
            repository,
            path,
            "pull,push" if push else "pull",
            url=url,
            query=query or {},
            headers={name: request.headers[name] for name in _SENT if name in request.headers},
            body=body,
            accept=_TOLD,
        )
        async with asyncio.timeout(_LONGEST_SECONDS), self._transport.open(call) as answer:
            headers = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
            if push and answer.status in (202, 204):
                headers |= self._goes_on(repository.path, answer)
            return await _answer(request, web.StreamResponse(status=answer.status, headers=headers), answer)

    def _goes_on(self, path: str, answer: aiohttp.ClientResponse) -> dict[str, str]:
        """Where an upload goes on, through this relay."""
        place = self._transport.follow(Answer(answer.status, answer.headers, b"", answer.url), "Location")
        return {} if place is None else {"Location": f"/v2/{path}/blobs/uploads/{self._permits.seal(path, place)}"}

    async def _introduce(self, repository: Repository) -> None:
        """Learn how the registry wants its login before a body comes, which can be read only once."""
        if not self._introduced:
            await self._transport.fetch(Call("HEAD", repository, "manifests/latest", "pull,push", accept=_TOLD))
            self._introduced = True

    def _permit(self, request: web.Request) -> Permit:
        try:
            kind, _, login = request.headers.get("Authorization", "").partition(" ")
            token = base64.b64decode(login, validate=True).decode().partition(":")[2] if kind == "Basic" else ""
            return self._permits.read(token)
        except (RegistryRefused, binascii.Error, UnicodeError):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": 'Basic realm="builds"'}) from None


def _reference(host: str, found: Mapping[str, str]) -> Reference:
    """The image that a path names. Raises `InvalidImageReference`: paths are put together of nothing else."""
    repository, identifier = Repository(host, found["name"]), found["reference"]
    return Reference(repository, digest=identifier) if ":" in identifier else Reference(repository, identifier)


async def _answer(
    request: web.Request, response: web.StreamResponse, source: aiohttp.ClientResponse
) -> web.StreamResponse:
    """Hand an answer on; where it ends too early, so does the connection."""
    await response.prepare(request)
    try:
        if request.method != "HEAD":
            async for piece in source.content.iter_any():
                await response.write(piece)
        await response.write_eof()
    except BaseException:
        if request.transport is not None:
            request.transport.abort()
        raise
    return response


def _body(request: web.Request) -> Body | None:
    """The body that comes with a request, to be passed on once."""
    return Body(request.content.iter_any, request.content_length) if request.body_exists else None


@web.middleware
async def _in_words(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Answer with the protocol's errors; what has begun to be answered breaks off."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _error(error.status, error.reason, error.headers)
    except Passing as fault:
        return _error(fault.error.status, fault.error.message)
    except TimeoutError:
        return _error(503, "The registry takes too long.")
    except InvalidImageReference as error:
        return _error(400, error.message)
    except RegistryRefused as error:
        return _error(403, error.message)
    except BinderyError as error:
        return _error(error.status, error.message)


def _error(status: int, words: str, headers: Mapping[str, str] | None = None) -> web.Response:
    kept = {name: value for name, value in (headers or {}).items() if name == "WWW-Authenticate"}
    said = {"errors": [{"code": _CODES.get(status, "UNKNOWN"), "message": words}]}
    return web.json_response(said, status=status, headers=kept)
