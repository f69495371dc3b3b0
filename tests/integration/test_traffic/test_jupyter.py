"""A real Jupyter server on a Unix socket, behind the service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import websockets

from launcher.spawners.base import Address
from tests.integration.test_traffic.conftest import Serve
from tests.integration.test_traffic.test_requests import echo
from tests.support.traffic import get, visitor
from web.traffic import Route

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bindery-tests" / "jupyter"
TOKEN = "Authorization: token secret"


@pytest.fixture(scope="module")
def program() -> Path:
    """A Jupyter server, installed once."""
    found = CACHE / "bin" / "jupyter-server"
    if not found.exists():
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if uv is None:
            pytest.skip("uv is not installed, so no Jupyter server can be made")
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, CACHE], check=True, timeout=60)
        python = CACHE / "bin" / "python"
        subprocess.run([uv, "pip", "install", "-q", "--python", python, "jupyter_server"], check=True, timeout=300)
    return found


@contextlib.asynccontextmanager
async def jupyter(program: Path, folder: Path) -> AsyncIterator[Route]:
    socket, work = folder / "jupyter.sock", folder / "work"
    work.mkdir()
    process = await asyncio.create_subprocess_exec(
        program,
        f"--ServerApp.sock={socket}",
        "--ServerApp.base_url=/user/lab/",
        f"--ServerApp.root_dir={work}",
        "--ServerApp.allow_remote_access=True",
        "--allow-root",
        "--no-browser",
        env=os.environ | {"JUPYTER_TOKEN": "secret", "HOME": str(folder), "SHELL": "/bin/sh"},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await answers(socket, process)
        yield Route(Address(socket=str(socket)))
    finally:
        process.terminate()
        await process.wait()


async def answers(socket: Path, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while True:
            assert process.returncode is None, "the server ended"
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(str(socket))
                writer.close()
                return
            await asyncio.sleep(0.05)


async def test_jupyter_behind_the_service(serve: Serve, program: Path, tmp_path: Path) -> None:
    async with jupyter(program, tmp_path) as route, serve(echo) as (port, known, _), visitor(port) as client:
        known.fast["lab"] = route
        status = await client.ask(get("/user/lab/api/status", TOKEN))
        assert status.status == 200, status.body
        assert json.loads(status.body)["kernels"] == 0
        assert (await client.ask(get("/user/lab/api/status"))).status == 403
        assert (await client.ask(get("/health"))).status == 200

        content = json.dumps({"type": "file", "format": "text", "content": "x" * 5_000_000}).encode()
        put = get("/user/lab/api/contents/big.txt", TOKEN, f"Content-Length: {len(content)}", method="PUT")
        assert (await client.ask(put + content)).status == 201
        answer = await client.ask(get("/user/lab/api/contents/big.txt", TOKEN))
        assert json.loads(answer.body)["size"] == 5_000_000
        assert (await client.ask(get("/user/lab/api/status", TOKEN, method="HEAD"), bodiless=True)).status in (200, 405)

        made = await client.ask(get("/user/lab/api/terminals", TOKEN, "Content-Length: 0", method="POST"))
        await in_a_terminal(port, json.loads(made.body)["name"])


async def in_a_terminal(port: int, name: str) -> None:
    url = f"ws://127.0.0.1:{port}/user/lab/terminals/websocket/{name}?token=secret"
    async with websockets.connect(url, proxy=None, origin=websockets.Origin(f"http://127.0.0.1:{port}")) as connection:
        await connection.send(json.dumps(["stdin", "echo answer $((6 * 7))\r"]))
        printed = ""
        async with asyncio.timeout(20):
            while "answer 42" not in printed:
                kind, *text = json.loads(await connection.recv())
                printed += text[0] if kind == "stdout" else ""
