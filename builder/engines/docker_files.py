"""Reading a file of an image without starting it."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import PurePosixPath

from bindery.process import Finished


async def copied_file(docker: Callable[..., Awaitable[Finished]], image: str, path: str) -> bytes | None:
    """A file's content, copied with the client that `docker` runs; links are followed. None when it is not there."""
    created = await docker("create", image, "true")
    if created.returncode != 0:
        return None
    container = created.stdout.decode().strip()
    try:
        copied = await docker("cp", "--follow-link", f"{container}:{path}", "-")
    finally:
        await asyncio.shield(docker("rm", "--force", container))
    if copied.returncode != 0:
        return None
    with tarfile.open(fileobj=io.BytesIO(copied.stdout)) as archive:
        members = [item for item in archive.getmembers() if item.isfile()]
        named = [item for item in members if PurePosixPath(item.name).name == PurePosixPath(path).name]
        reader = archive.extractfile((named or members)[0]) if members else None
        return None if reader is None else reader.read()
