"""A client of a notebook server: its REST API, and a kernel's channels over WebSocket (Jupyter messaging 5.3)."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass
class Executed:
    """What a cell gave."""

    status: str = ""
    text: str = ""
    mime_types: set[str] = field(default_factory=set)
    #: The kernel said that it is idle; that may come before its reply, by another channel.
    idle: bool = False


@dataclass
class Notebook:
    """One session's server; `url` ends with a slash."""

    client: aiohttp.ClientSession
    url: str

    async def get(self, path: str) -> Any:
        """GET a JSON document of the REST API."""
        async with self.client.get(self.url + path) as response:
            assert response.status == 200, (response.status, await response.text())
            return await response.json()

    @contextlib.asynccontextmanager
    async def kernel(self, name: str = "python3") -> AsyncIterator[Kernel]:
        """A kernel while the block runs."""
        async with self.client.post(f"{self.url}api/kernels", json={"name": name}) as response:
            assert response.status == 201, (response.status, await response.text())
            kernel_id = (await response.json())["id"]
        async with self.client.ws_connect(f"{self.url}api/kernels/{kernel_id}/channels") as socket:
            yield Kernel(socket)
        async with self.client.delete(f"{self.url}api/kernels/{kernel_id}") as response:
            assert response.status == 204

    async def terminal(self, line: str, until: str, seconds: float = 30) -> str:
        """What a new terminal shows of a line that was typed, up to the text `until`."""
        async with self.client.post(f"{self.url}api/terminals") as response:
            assert response.status == 200, (response.status, await response.text())
            name = (await response.json())["name"]
        shown = ""
        async with (
            asyncio.timeout(seconds),
            self.client.ws_connect(f"{self.url}terminals/websocket/{name}") as socket,
        ):
            await socket.send_json(["stdin", f"{line}\r"])
            while until not in shown:
                kind, *texts = await socket.receive_json()
                shown += texts[0] if kind == "stdout" else ""
        return shown


@dataclass
class Kernel:
    """A running kernel."""

    socket: aiohttp.ClientWebSocketResponse

    async def run(self, code: str, seconds: float = 60) -> Executed:
        """Execute a cell and wait for its end."""
        message_id = uuid.uuid4().hex
        await self.socket.send_json(_execute_request(message_id, code))
        done = Executed()
        async with asyncio.timeout(seconds):
            while True:
                message = await self.socket.receive_json()
                if message.get("parent_header", {}).get("msg_id") == message_id and _take(done, message):
                    return done


def _execute_request(message_id: str, code: str) -> dict[str, Any]:
    header = {"msg_id": message_id, "msg_type": "execute_request", "username": "", "session": "t", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    return {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
        "buffers": [],
    }


def _take(done: Executed, message: dict[str, Any]) -> bool:
    """Add a message to what the cell gave; whether it was the last."""
    kind, content = message["header"]["msg_type"], message["content"]
    if kind == "stream":
        done.text += content["text"]
    elif kind in ("execute_result", "display_data"):
        done.mime_types |= content["data"].keys()
        done.text += content["data"].get("text/plain", "")
    elif kind == "error":
        done.text += "\n".join(content["traceback"])
    elif kind == "execute_reply":
        done.status = content["status"]
    elif kind == "status":
        done.idle = content["execution_state"] == "idle"
    return done.idle and bool(done.status)


@contextlib.asynccontextmanager
async def notebook(ready: dict[str, Any]) -> AsyncIterator[Notebook]:
    """The server that a `ready` event names."""
    headers = {"Authorization": f"token {ready['token']}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=60)) as client:
        yield Notebook(client, ready["url"])
