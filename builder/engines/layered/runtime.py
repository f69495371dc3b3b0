"""Runtime images: operating system, uv and server environment, shared by all repositories; one for each Python."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bindery import __version__
from bindery.errors import PythonUnavailable
from bindery.settings import BuildSettings
from builder.dockerfile import render
from builder.engines.interpreters import find_downloads
from builder.engines.layered.context import copy_program, linux_uv, tools_digest, write_context
from builder.engines.layered.making import Image, ImageMaker
from builder.engines.layered.workshop import Workshop
from builder.engines.uv import find_uv

#: Version of the rules by which images are made.
BUILDER_VERSION = "docker-1"
RUNTIMES = "bindery/runtime"
USER = "jovyan"
HOME = "/home/jovyan"
SERVER = "/opt/bindery/server"

_SYSTEM_PYTHON = "/usr/bin/python3"
#: The Python of releases that the official images name by /etc/os-release.
_SYSTEM_PYTHONS = {
    ("debian", "11"): "3.9", ("debian", "12"): "3.11", ("debian", "13"): "3.13",
    ("ubuntu", "22.04"): "3.10", ("ubuntu", "24.04"): "3.12", ("ubuntu", "25.04"): "3.13", ("ubuntu", "25.10"): "3.13",
    ("ubuntu", "26.04"): "3.14",
}  # fmt: skip
#: What the server runs on where the system's own Python is too old for it, or unknown.
_SERVER_PYTHON = "3.12"
_OLDEST_SERVER = (3, 11)
_KEY_LENGTH = 16


@dataclass(frozen=True)
class Runtimes:
    """What `find_runtimes` found out; `system_python` is "" when it is not known, `key` the key of all runtimes."""

    maker: ImageMaker
    settings: BuildSettings
    os_image: Image
    system_python: str
    downloads: tuple[str, ...]
    key: str

    @property
    def available(self) -> tuple[str, ...]:
        """Pythons that repositories can have, best first."""
        return tuple(dict.fromkeys([*filter(None, [self.system_python]), *self.downloads]))

    @property
    def default_python(self) -> str:
        """The Python of a repository that asks for none."""
        return self.settings.default_python or self.system_python or _SERVER_PYTHON

    @property
    def server_python(self) -> str:
        """A path in the image, or a version that uv has to bring."""
        numbers = tuple(int(part) for part in self.system_python.split(".")) if self.system_python else ()
        return _SYSTEM_PYTHON if numbers >= _OLDEST_SERVER else _SERVER_PYTHON

    @property
    def system(self) -> str:
        """The operating system's identity, short."""
        return self.os_image.id.partition(":")[2][:12]

    def interpreter(self, python: str) -> str:
        """Where a repository's Python is in its runtime: a path, or a version that uv finds."""
        return _SYSTEM_PYTHON if python == self.system_python else python

    def unavailable(self, python: str) -> PythonUnavailable:
        """The error that says that a version is not to be had, and which are."""
        return PythonUnavailable(
            f"Python {python} is not available here.",
            hint=f"Available: {', '.join(self.available) or 'none'}. Ask for one of these (runtime.txt, "
            f"requires-python), or let the operator choose another OS image.",
        )

    async def get(self, python: str, shop: Workshop) -> str:
        """The name of the runtime image for a Python, made if it is not there."""
        base = self.maker.name(RUNTIMES, self.key)
        async with shop.alone(base):
            if await self.maker.image(base) is None:
                await self._make_base(base, shop)
        if python == self.system_python:
            return base
        name = self.maker.name(RUNTIMES, f"{self.key}-py{python}")
        async with shop.alone(name):
            if await self.maker.image(name) is None:
                await self._make_python(python, base, name, shop)
        return name

    async def _make_base(self, name: str, shop: Workshop) -> None:
        begun = time.monotonic()
        await shop.say(f"Making the runtime image from {self.settings.os_image}, once for all repositories\n")
        context = shop.folder / "runtime"
        text = await self.prepare_base(shop, context)
        await shop.build(text, context, name, labels={"bindery.version": __version__})
        await shop.say(f"The runtime image is ready, after {time.monotonic() - begun:.1f} s\n")

    async def prepare_base(self, shop: Workshop, context: Path, stage: str = "") -> str:
        """Write the context of the runtime for the system's own Python; return its Dockerfile."""
        step = {"python": self.server_python, "target": SERVER, "sources": "/mnt/bindery/step"}
        await asyncio.to_thread(write_context, context, step)
        program = await linux_uv(shop.cache, self.os_image.architecture)
        await asyncio.to_thread(copy_program, program, context)
        return render(
            "runtime.j2",
            stage=stage,
            os_image=self.settings.os_image,
            apt_cache=shop.cache_name(self.system),
            uv_cache=shop.cache_name("0"),
            user=USER,
            home=HOME,
            folder=self.settings.content_folder,
            server_python=self.server_python,
        )

    async def _make_python(self, python: str, base: str, name: str, shop: Workshop) -> None:
        await shop.say(f"Bringing Python {python}, once for all repositories\n")
        context = shop.folder / "python"
        text = await self.prepare_python(python, base, shop, context)
        await shop.build(text, context, name, failed=self.unavailable(python))

    async def prepare_python(self, python: str, base: str, shop: Workshop, context: Path, stage: str = "") -> str:
        """The same for a further Python on top of that runtime."""
        await asyncio.to_thread(write_context, context, {})
        return render("python.j2", stage=stage, runtime=base, python=python, uv_cache=shop.cache_name("0"))


async def find_runtimes(maker: ImageMaker, settings: BuildSettings) -> Runtimes:
    """Bring the OS image to where builds can use it, and find out which Pythons there are. Raises `ToolMissing`."""
    found, interpreters = await asyncio.gather(maker.bring(settings.os_image), _downloads())
    system = await _system_python(maker, settings.os_image)
    parts = [BUILDER_VERSION, found.id, system, settings.content_folder, tools_digest()]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_KEY_LENGTH]
    return Runtimes(maker, settings, found, system, tuple(interpreters), key)


async def _system_python(maker: ImageMaker, image: str) -> str:
    release = await maker.read_file(image, "/etc/os-release") or b""
    facts = dict(word.split("=", 1) for word in shlex.split(release.decode(errors="replace")) if "=" in word)
    return _SYSTEM_PYTHONS.get((facts.get("ID", ""), facts.get("VERSION_ID", "")), "")


async def _downloads() -> Sequence[str]:
    program = find_uv()
    return () if program is None else await find_downloads(program, os.environ)
