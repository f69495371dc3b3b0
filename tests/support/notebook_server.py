"""A client of one notebook server: its REST API and a kernel's WebSocket, over the server's own address."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass
from typing import Any

import aiohttp

from launcher.spawners.base import Address

#: Seconds until a server or kernel that does not answer fails the test.
LIMIT_SECONDS = 30.0


@dataclass(frozen=True)
class NotebookServer:
    """The server at `address`, below `base_url`, asked with `token`."""

    address: Address
    base_url: str
    token: str

    async def status(self, path: str = "api/status", *, token: str | None = None) -> int:
        """The HTTP status of one request."""
        async with self._client(self.token if token is None else token) as client, client.get(self._url(path)) as got:
            return got.status

    async def wait(self) -> NotebookServer:
        """Wait until it answers."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not await self._answers():
                await asyncio.sleep(0.005)
        return self

    async def ask(self, method: str, path: str, **body: Any) -> Any:
        """The JSON answer of one request."""
        async with (
            self._client(self.token) as client,
            client.request(method, self._url(path), json=body or None) as answer,
        ):
            assert answer.status < 300, await answer.text()
            return await answer.json() if answer.content_type == "application/json" else None

    async def text(self, path: str) -> str:
        """A page."""
        async with self._client(self.token) as client, client.get(self._url(path)) as answer:
            return await answer.text()

    async def run(self, code: str, *, kernel: str = "python3") -> str:
        """What `code` prints in a new kernel."""
        started = await self.ask("POST", "api/kernels", name=kernel)
        try:
            async with asyncio.timeout(LIMIT_SECONDS), self._client(self.token) as client:
                return await self._execute(client, started["id"], code)
        finally:
            await self.ask("DELETE", f"api/kernels/{started['id']}")

    async def type(self, keys: str, *, until: str) -> str:
        """What a new terminal shows after `keys`, as soon as `until` is in it."""
        name = (await self.ask("POST", "api/terminals"))["name"]
        shown = ""
        async with (
            asyncio.timeout(LIMIT_SECONDS),
            self._client(self.token) as client,
            client.ws_connect(self._url(f"terminals/websocket/{name}")) as terminal,
        ):
            await terminal.send_json(["stdin", keys])
            while until not in shown:
                kind, *rest = await terminal.receive_json()
                shown += rest[0] if kind == "stdout" else ""
        return shown

    async def _execute(self, client: aiohttp.ClientSession, kernel_id: str, code: str) -> str:
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": "", "session": "", "date": ""}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "user_expressions": {}}
        message = {**_EMPTY, "channel": "shell", "header": {**header, "version": "5.3"}, "content": content}
        printed = ""
        async with client.ws_connect(self._url(f"api/kernels/{kernel_id}/channels")) as channel:
            await channel.send_json(message)
            async for frame in channel:
                got = json.loads(frame.data)
                if got["parent_header"].get("msg_id") != header["msg_id"]:
                    continue
                if got["msg_type"] == "stream":
                    printed += got["content"]["text"]
                elif got["msg_type"] == "error":
                    raise AssertionError("\n".join(got["content"]["traceback"]))
                elif got["msg_type"] == "status" and got["content"]["execution_state"] == "idle":
                    return printed
        raise AssertionError("the kernel's channel was closed")

    async def _answers(self) -> bool:
        try:
            return await self.status() == 200
        except (aiohttp.ClientError, OSError):
            return False

    def _url(self, path: str) -> str:
        host = "localhost" if self.address.socket else f"{self.address.host}:{self.address.port}"
        return f"http://{host}{self.base_url}{path}"

    def _client(self, token: str) -> aiohttp.ClientSession:
        connector = aiohttp.UnixConnector(self.address.socket) if self.address.socket else None
        headers = {"Authorization": f"token {token}"} if token else {}
        return aiohttp.ClientSession(connector=connector, headers=headers)


_EMPTY: dict[str, Any] = {"parent_header": {}, "metadata": {}, "buffers": []}
