"""A cluster's API as Bindery uses it: plain JSON over the official client's connections and logins."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException

from bindery.errors import ClusterRefused, EngineUnavailable
from bindery.settings import KubernetesSettings

#: Requests under way at the same time, streams not counted: a crowd must not open a connection each.
MOST_REQUESTS = 32
#: How often a request is sent that the API is too busy for, and the longest wait in between, in seconds.
ATTEMPTS = 4
LONGEST_WAIT_SECONDS = 5.0

_GROUPS = {
    "pods": "api/v1",
    "secrets": "api/v1",
    "configmaps": "api/v1",
    "events": "api/v1",
    "services": "api/v1",
    "jobs": "apis/batch/v1",
}
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_BUSY = (429, 500, 502, 503, 504)
_MESSAGE = 500
_FAREWELL_SECONDS = 0.1

Object = dict[str, Any]


class Cluster:
    """A client of one cluster and namespace, for the event loop; open it before use.

    - Everything asked here may be asked twice without harm, so what the API was too busy for is asked again, and so is
      what went over a connection that was stale.
    - Raises `ClusterRefused` for an answer that is an error, `EngineUnavailable` for none within the time limit.
    """

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        self._client: ApiClient | None = None
        self._turns = asyncio.Semaphore(MOST_REQUESTS)
        self.namespace = settings.namespace
        #: Requests sent so far, streams included.
        self.requests = 0

    async def __aenter__(self) -> Self:
        self._client = await self._connected()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()  # type: ignore[no-untyped-call]
            self._client = None
            # The client does not wait until the other side has taken leave of connections that were cut.
            await asyncio.sleep(_FAREWELL_SECONDS)

    def path(self, kind: str, name: str = "", part: str = "", *, namespace: str = "") -> str:
        """The path of all things of a kind, such as `pods`, of one of them, or of a part of it, such as `log`."""
        words = [_GROUPS[kind], "namespaces", namespace or self.namespace, kind, name, part]
        return "/" + "/".join(word for word in words if word)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """One request; the answer as JSON."""
        answer: Object = json.loads(await self._answered(method, path, query, body, content_type) or b"{}")
        return answer

    async def text(self, path: str, *, query: Mapping[str, str] | None = None) -> str:
        """What the API says as text, such as a pod's log."""
        said = await self._answered("GET", path, query, None, "application/json")
        return said.decode(errors="replace")

    async def lines(
        self,
        path: str,
        *,
        query: Mapping[str, str],
        silent_seconds: float,
        on_open: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[bytes, None]:
        """A stream's lines, such as those of a watch or of a log that is followed.

        It ends when the API ends it, and with `EngineUnavailable` when nothing came for `silent_seconds`. `on_open` is
        called when the API has agreed to it, which may be long before the first line.
        """
        limits = aiohttp.ClientTimeout(sock_connect=self._settings.request_timeout_seconds, sock_read=silent_seconds)
        try:
            answer = await self._send("GET", path, query, None, "application/json", limits)
            try:
                await _accept(answer)
                on_open()
                async for line in answer.content:
                    yield line
            finally:
                # A stream that is left has no farewell to wait for.
                if answer.connection is not None and answer.connection.transport is not None:
                    answer.connection.transport.abort()
                answer.close()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unavailable(error) from error

    async def _answered(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Object | None, content_type: str
    ) -> bytes:
        limits = aiohttp.ClientTimeout(total=self._settings.request_timeout_seconds)
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                async with self._turns, await self._send(method, path, query, body, content_type, limits) as answer:
                    wait = _asked_to_wait(answer)
                    if wait is None or last:
                        await _accept(answer)
                        return await answer.read()
            except aiohttp.ServerDisconnectedError as error:
                if last:
                    raise _unavailable(error) from error
                wait = 0.0
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise _unavailable(error) from error
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Object | None,
        content_type: str,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        client = self._client
        assert client is not None, "not open"
        self.requests += 1
        _, url, headers, sent_body, _ = await client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            sent = await client.call_api(method, url, headers, sent_body, _request_timeout=limits)
        except ApiException as error:
            raise _unavailable(error) from error
        answer: aiohttp.ClientResponse = sent.response
        return answer

    async def _connected(self) -> ApiClient:
        settings = self._settings
        connection = Configuration()
        connection.connection_pool_maxsize = 0
        try:
            if settings.kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config(client_configuration=connection)  # type: ignore[no-untyped-call]
                self.namespace = self.namespace or (_SERVICE_ACCOUNT / "namespace").read_text().strip()
            else:
                await self._log_in(connection)
            return ApiClient(connection)
        except Exception as error:  # A broken file makes the client stumble in any way.
            raise EngineUnavailable(
                f"There is no way to a cluster: {error}",
                hint="Run in a pod with a service account, set KUBECONFIG, or name a file in "
                "BINDERY_KUBERNETES__KUBECONFIG.",
            ) from error

    async def _log_in(self, connection: Configuration) -> None:
        file = str(self._settings.kubeconfig) if self._settings.kubeconfig else os.environ.get("KUBECONFIG")
        context = self._settings.context or None
        loader = await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=file, context=context, client_configuration=connection, persist_config=False
        )
        with contextlib.suppress(config.ConfigException, KeyError):
            self.namespace = self.namespace or loader.current_context["context"].get("namespace", "")
        self.namespace = self.namespace or "default"


def _asked_to_wait(answer: aiohttp.ClientResponse) -> float | None:
    """For how many seconds the API wants to be left alone before it is asked the same again."""
    if answer.status not in _BUSY:
        return None
    try:
        return min(float(answer.headers["Retry-After"]), LONGEST_WAIT_SECONDS)
    except (KeyError, ValueError):
        return None


async def _accept(answer: aiohttp.ClientResponse) -> None:
    if answer.status >= 400:
        raise refusal(answer.status, await answer.read())


def refusal(answer: int, body: bytes) -> ClusterRefused | EngineUnavailable:
    """What an error of the API means; `body` is the status object that it sends."""
    try:
        status = json.loads(body)
        message, reason = str(status["message"]), str(status.get("reason", ""))
    except (ValueError, KeyError, TypeError):
        message, reason = body.decode(errors="replace").strip() or f"HTTP {answer}", ""
    if answer in _BUSY:
        return EngineUnavailable(f"The cluster's API cannot answer now: {message[:_MESSAGE]}")
    return ClusterRefused(f"The cluster's API says: {message[:_MESSAGE]}", answer=answer, reason=reason)


def _unavailable(error: Exception) -> EngineUnavailable:
    reason = "it took too long" if isinstance(error, TimeoutError) else str(error)
    return EngineUnavailable(f"The cluster's API does not answer: {reason}")
