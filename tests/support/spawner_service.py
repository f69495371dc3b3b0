"""A process that owns a process spawner, to be killed: starts one session of each image named and waits for ever.

python -m tests.support.spawner_service DATA_DIR SERVER sandbox|bare IMAGE...
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bindery.sandbox import find_sandbox
from launcher.spawners.base import SessionRequest
from launcher.spawners.process import ProcessSpawner
from registry.directory import DirectoryStore
from tests.support.notebook_server import NotebookServer

#: What outlives a kernel that ends, and leaves its process group.
DAEMON = "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)"


async def main(data_dir: str, server: str, sandboxed: str, *images: str) -> None:
    async def current() -> Path:
        return Path(server)

    sandbox = await find_sandbox(enabled=sandboxed == "sandbox", hidden=[Path(data_dir)])
    async with ProcessSpawner(DirectoryStore(Path(data_dir)), server=current, sandbox=sandbox) as spawner:
        for number, image in enumerate(images):
            request = SessionRequest(f"owned-{number}", image, "/", "secret", {})
            await spawner.start(request)
            address = await spawner.address(request.name)
            assert address is not None
            notebook = await NotebookServer(address, "/", "secret").wait()
            await notebook.ask("POST", "api/kernels", name="python3")
            await notebook.run(DAEMON)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
