"""The Pythons of this machine: which there are, which can be had, and bringing one here."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bindery.errors import PythonUnavailable
from bindery.process import Finished, ProcessTimeout, run

#: Older ones cannot run a current kernel.
OLDEST = (3, 8)
_QUERY_SECONDS = 10.0
_LIST_SECONDS = 20.0
_REACH_SECONDS = 2.0
_INSTALL_SECONDS = 300.0
_QUERY = """
import json, platform, sys
print(json.dumps([platform.python_version(), platform.python_implementation(), sys.base_prefix,
getattr(sys, "_base_executable", sys.executable)]))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python that is installed: `version` in full, `prefix` the folder it lives in."""

    executable: Path
    version: str
    implementation: str
    prefix: Path

    @property
    def feature(self) -> str:
        """Its version as a repository names it, such as "3.12"."""
        return ".".join(self.version.split(".")[:2])

    @property
    def identity(self) -> str:
        """What environments made with it depend on."""
        libc = "-".join(part for part in platform.libc_ver() if part)
        words = (self.implementation.lower(), self.version, sys.platform, platform.machine(), libc)
        return "-".join(word for word in words if word)

    @property
    def library(self) -> tuple[Path, ...]:
        """The folders of its standard library: without them it runs nothing."""
        return tuple(path for path in self.prefix.glob(f"lib*/python{self.feature}") if path.is_dir())


def own_interpreter() -> Interpreter:
    """The one that runs us, below any virtual environment."""
    executable = Path(getattr(sys, "_base_executable", sys.executable))
    return Interpreter(executable, platform.python_version(), platform.python_implementation(), Path(sys.base_prefix))


@dataclass
class Interpreters:
    """What `find_interpreters` found out. `downloads` are versions that uv can bring here, newest first.

    Those are known once `look_further` was awaited: it asks the network.
    """

    uv: Path
    own: Interpreter
    environment: Mapping[str, str]
    installed: dict[str, Interpreter] = field(default_factory=dict)
    downloads: tuple[str, ...] = ()
    _looked: asyncio.Lock = field(default_factory=asyncio.Lock)
    _known: bool = False

    @property
    def here(self) -> tuple[str, ...]:
        """Versions such as "3.12": our own, then the other installed ones."""
        there = sorted(set(self.installed) - {self.own.feature}, key=_as_numbers, reverse=True)
        return (self.own.feature, *there)

    @property
    def available(self) -> tuple[str, ...]:
        """The installed versions, then those that can be brought here."""
        return tuple(dict.fromkeys([*self.here, *self.downloads]))

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where Pythons live, those that will be brought here included."""
        data = Path(self.environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
        brought = Path(self.environment.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
        return (brought, *(interpreter.prefix for interpreter in self.installed.values()))

    async def look_further(self) -> None:
        """Find out, once, what uv can bring here."""
        async with self._looked:
            if not self._known:
                await self._read_downloads()
                self._known = True

    def has(self, version: str) -> bool:
        """Whether a version can be had here, perhaps after a download."""
        return self._installed(version) is not None or version in self.downloads

    async def get(self, version: str) -> Interpreter:
        """The interpreter of a version such as "3.12", brought here if need be.

        Raises `PythonUnavailable`, which lists what there is.
        """
        found = self._installed(version)
        if found is None:
            await self.look_further()
        if found is None and version in self.downloads:
            found = await self._download(version)
        if found is None:
            raise self.unavailable(version)
        return found

    def unavailable(self, version: str) -> PythonUnavailable:
        """The error that says that a version is not to be had, and which are."""
        return PythonUnavailable(
            f"Python {version} is not available here.",
            hint=f"Available: {', '.join(self.available)}. Ask for one of these (runtime.txt, requires-python), or "
            f"let the operator install Python {version}.",
        )

    def _installed(self, version: str) -> Interpreter | None:
        if version in (self.own.feature, self.own.version):
            return self.own
        found = self.installed.get(".".join(version.split(".")[:2]))
        return found if found is not None and found.executable.exists() else None

    async def _download(self, version: str) -> Interpreter | None:
        await _uv(self.uv, ["python", "install", "--no-bin", version], self.environment, _INSTALL_SECONDS)
        await self._read_installed()
        return self._installed(version)

    async def _read_installed(self) -> None:
        listed = await _list(self.uv, ["--only-installed"], self.environment)
        paths = {str(item["path"]): None for item in listed if item.get("path") and _is_plain(item)}
        found = await asyncio.gather(*(query(Path(path)) for path in paths))
        for interpreter in found:
            if interpreter is not None and _as_numbers(interpreter.feature) >= OLDEST:
                self.installed.setdefault(interpreter.feature, interpreter)

    async def _read_downloads(self) -> None:
        listed = [item for item in await _list(self.uv, ["--only-downloads"], self.environment) if _is_plain(item)]
        urls = [str(item["url"]) for item in listed if item.get("url")]
        if not urls or not await asyncio.to_thread(_answers, urls[0]):
            return
        features = {f"{item['version_parts']['major']}.{item['version_parts']['minor']}" for item in listed}
        usable = [feature for feature in features if _as_numbers(feature) >= OLDEST]
        self.downloads = tuple(sorted(usable, key=_as_numbers, reverse=True))


async def find_interpreters(uv: Path, environ: Mapping[str, str]) -> Interpreters:
    """Look for all Pythons of this machine.

    Interpreters that do not answer are left out. Takes at most some seconds; the event loop goes on meanwhile.
    """
    found = Interpreters(uv, own_interpreter(), {**environ, "UV_NO_PROGRESS": "1"})
    await found._read_installed()
    return found


async def find_downloads(uv: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Versions that uv can bring to this machine, newest first."""
    found = Interpreters(uv, own_interpreter(), {**environ, "UV_NO_PROGRESS": "1"})
    await found.look_further()
    return found.downloads


async def query(executable: Path) -> Interpreter | None:
    """Ask an interpreter what it is; None if it does not answer as one."""
    try:
        ended = await run([executable, "-I", "-S", "-c", _QUERY], env=dict(os.environ), timeout_seconds=_QUERY_SECONDS)
        version, implementation, prefix, base = json.loads(ended.stdout)
    except (OSError, ProcessTimeout, ValueError):
        return None
    return Interpreter(Path(base), str(version), str(implementation), Path(prefix))


async def _list(uv: Path, options: Sequence[str], environ: Mapping[str, str]) -> list[dict[str, Any]]:
    ended = await _uv(uv, ["python", "list", *options, "--output-format", "json"], environ, _LIST_SECONDS)
    try:
        listed = json.loads(ended.stdout)
    except ValueError:
        return []
    return [item for item in listed if isinstance(item, dict)]


async def _uv(uv: Path, options: Sequence[str], environ: Mapping[str, str], seconds: float) -> Finished:
    try:
        return await run([uv, *options], env=environ, timeout_seconds=seconds, cwd=Path("/"))
    except (OSError, ProcessTimeout) as problem:
        return Finished(1, b"", str(problem).encode())


def _answers(url: str) -> bool:
    """Whether the server behind a URL can be reached from here, whatever it answers."""
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_REACH_SECONDS) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def _is_plain(item: Mapping[str, Any]) -> bool:
    """A released CPython of the ordinary kind."""
    ordinary = item.get("implementation") == "cpython" and item.get("variant", "default") == "default"
    return ordinary and str(item.get("version", "")).replace(".", "").isdigit()


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
