"""Reading a file of an image without starting it."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import PurePosixPath

from builder.engines.docker_cli import Docker


async def read_file(docker: Docker, image: str, path: str) -> bytes | None:
    """A file's content; links are followed. None when it is not there."""
    created = await docker.run("create", image, "true")
    if created.returncode != 0:
        return None
    container = created.stdout.decode().strip()
    try:
        copied = await docker.run("cp", "--follow-link", f"{container}:{path}", "-")
    finally:
        await asyncio.shield(docker.run("rm", "--force", container))
    if copied.returncode != 0:
        return None
    with tarfile.open(fileobj=io.BytesIO(copied.stdout)) as archive:
        members = [item for item in archive.getmembers() if item.isfile()]
        named = [item for item in members if PurePosixPath(item.name).name == PurePosixPath(path).name]
        reader = archive.extractfile((named or members)[0]) if members else None
        return None if reader is None else reader.read()
