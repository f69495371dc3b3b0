"""Where the docker part takes place: an OS image that nobody has built on yet, a registry, and what has to go again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import aiohttp

from tests.bench.place import Place, timed
from tests.support import docker
from tests.support.docker import Engine
from tests.support.registry import Registry, running_registry
from tests.support.service import Service, environment
from tests.support.wait import until

_MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
_TOKEN = "bench"


@dataclass(frozen=True)
class DockerPlace:
    """`mark` is in the names of all that is made here; `base` is the image that both sides build on."""

    place: Place
    engine: Engine
    registry: Registry
    mark: str
    base: str

    @property
    def environment(self) -> dict[str, str]:
        """For programs that use the engine."""
        return self.engine.environment

    @contextlib.asynccontextmanager
    async def service(self, name: str, **settings: str) -> AsyncIterator[Place]:
        """A service on Docker, with a data directory of this name."""
        own = {
            "BINDERY_ENGINE": "docker",
            "BINDERY_BUILD__OS_IMAGE": self.base,
            "BINDERY_SESSION__MAX_TOTAL": "0",
            "DOCKER_HOST": self.engine.host,
            "PATH": self.environment["PATH"],
        }
        place = replace(self.place)
        place.service = Service(self.place.folder / name, environment(self.place.git, **own, **settings))
        await place.service.start()
        try:
            yield place
        finally:
            await place.service.stop()
            await self.end_sessions()

    async def plain(self, name: str, ref: str, image: str) -> float:
        """Seconds that plain repo2docker takes for a ref of a repository."""
        program = [sys.executable, "-m", "tests.bench.plain_repo2docker"]
        return await timed(*program, f"{self.place.git.url}/{name}", ref, self.base, image, using=self.environment)

    async def docker(self, *words: str) -> float:
        """Seconds that a command of Docker's client takes."""
        return await timed(self.engine.client, *words, using=self.environment)

    async def start_bare(self, image: str) -> float:
        """Seconds from `docker run` to the server's first answer."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        name = f"{self.mark}-{uuid4().hex[:8]}"
        words = ["--detach", "--name", name, "--publish", f"127.0.0.1:{port}:8888", "--env", f"JUPYTER_TOKEN={_TOKEN}"]
        began = time.perf_counter()
        await self.docker("run", *words, image)
        await until(lambda: _answers(port), 120, "the container answers")
        return time.perf_counter() - began

    async def end_sessions(self) -> None:
        """Remove all containers made here."""
        words = ["ps", "--all", "--quiet", "--filter", f"name={self.mark}"]
        if found := (await asyncio.to_thread(self.engine.run, *words)).split():
            await self.docker("rm", "--force", *found)

    def size(self, image: str) -> int:
        """Bytes of an image, unpacked."""
        return int(self.engine.run("image", "inspect", "--format", "{{.Size}}", image))

    async def layers(self, image: str) -> dict[str, int]:
        """The layers that a node pulls for an image of the registry, and their bytes."""
        name, _, tag = image.removeprefix(f"{self.registry.host}/").rpartition(":")
        url = f"http://{self.registry.host}/v2/{name}/manifests/{tag}"
        async with aiohttp.ClientSession() as client, client.get(url, headers={"Accept": _MANIFESTS}) as response:
            manifest = json.loads(await response.read())
        return {layer["digest"]: layer["size"] for layer in manifest["layers"]}


@contextlib.asynccontextmanager
async def docker_place(place: Place) -> AsyncIterator[DockerPlace]:
    """An engine, a registry and an OS image with a layer of its own, so that no layer cache knows it."""
    engine, mark = docker.engine(), f"bench{uuid4().hex[:8]}"
    folder = place.folder / "docker"
    folder.mkdir()
    base = _base_image(engine, folder, mark)
    try:
        async with running_registry(folder) as registry:
            here = DockerPlace(place, engine, registry, mark, base)
            try:
                yield here
            finally:
                await here.end_sessions()
    finally:
        await asyncio.to_thread(_remove_images, engine, base)


def _base_image(engine: Engine, folder: Path, mark: str) -> str:
    context = folder / "base"
    context.mkdir()
    (context / "mark").write_text(mark)
    (context / "Dockerfile").write_text(f"FROM {docker.os_image()}\nCOPY mark /etc/bench\n")
    argv = [str(engine.client), "build", "--quiet", "--tag", f"{mark}:os", str(context)]
    subprocess.run(argv, env=engine.environment | {"DOCKER_BUILDKIT": "1"}, check=True, capture_output=True)
    return f"{mark}:os"


def _remove_images(engine: Engine, base: str) -> None:
    """Remove all images that were built on `base`, whatever they are called."""
    top = json.loads(engine.run("image", "inspect", "--format", "{{json .RootFS.Layers}}", base))[-1]
    shown = "{{.Id}} {{json .RootFS.Layers}}"
    for image in set(engine.run("image", "ls", "--quiet", "--no-trunc").split()):
        # Others may remove theirs meanwhile.
        with contextlib.suppress(subprocess.CalledProcessError):
            if top in engine.run("image", "inspect", "--format", shown, image):
                engine.run("image", "rm", "--force", image)


async def _answers(port: int) -> bool:
    url = f"http://127.0.0.1:{port}/api/status"
    try:
        async with (
            aiohttp.ClientSession() as client,
            client.get(url, headers={"Authorization": f"token {_TOKEN}"}) as response,
        ):
            return response.status == 200
    except (aiohttp.ClientError, OSError):
        return False
