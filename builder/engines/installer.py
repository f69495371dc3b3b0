"""Making environments and putting packages into them, with uv, in the box."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bindery.errors import BuildTimedOut, DiskFull, InstallFailed
from builder.engines import bytecode, commands
from builder.engines.interpreters import Interpreter
from builder.engines.uv import Bench, SourceNeeded, Uv
from registry.directory import remove_tree
from registry.overlay import site_packages
from registry.untrusted import read_plain, read_plain_text, write_plain

#: Files of an environment that name the folder of a package installed from the tree.
_INSPECT_SECONDS = 120.0
_PATH_FILES = ("*.pth", "__editable__*.py", "*.egg-link", "*.dist-info/direct_url.json")


@dataclass(frozen=True)
class Installer:
    """The hands of one build: they make the environment `target` for `interpreter`.

    `scratch` is a folder of its own; `sources` the one that relative paths in requirements start from. A target that
    is a link is made where the link leads, beside uv's cache; any other gets copies. `private`: whether uv goes the
    private way of the two that `Uv` describes. The shared way raises `SourceNeeded` where it does not lead on.
    """

    uv: Uv
    bench: Bench
    interpreter: Interpreter
    scratch: Path
    sources: Path
    target: Path
    private: bool = False

    @property
    def python(self) -> Path:
        return self.target / "bin" / "python"

    @property
    def _links(self) -> dict[Path, Path]:
        return {self.target: self.target.readlink()} if self.target.is_symlink() else {}

    async def say(self, line: str) -> None:
        """Tell the visitor something."""
        await self.bench.say(line)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the build's own."""
        path = self.scratch / name
        write_plain(path, text)
        return path

    def _read(self, path: Path) -> str:
        """Read a file that a program in the box wrote."""
        try:
            return read_plain_text(path)
        except OSError as error:
            raise InstallFailed(f"The build left no readable {path.name}.") from error

    async def create(self) -> None:
        """Make the target an empty virtual environment."""
        await self._uv(commands.create(self.interpreter.executable, self.target), look=True)

    async def resolve(
        self, inputs: Sequence[Path], *, constraints: Sequence[Path] = (), overrides: str = "", preferred: str = ""
    ) -> Path:
        """Decide every version that the inputs need; versions in `preferred` are taken where nothing speaks against."""
        lock = self.write("lock.txt", preferred)
        changed = self.write("overrides.txt", overrides) if overrides else None
        await self._uv(commands.resolve(self.interpreter.executable, lock, inputs, constraints, changed))
        # Building a package to learn what it needs ran its code, where the lock lies.
        return self.write(lock.name, self._read(lock))

    async def install(self, *arguments: str | Path, readable: Sequence[Path] = ()) -> None:
        """Run `uv pip install` for the target."""
        words = commands.install(self.python, arguments, copy=self.private or not self._links)
        if self.private:
            if self._filled:
                await self.freeze()
            await self._uv(words, readable=readable)
            return
        ground = self._ground()
        await self._uv([*words, "--no-build"], readable=readable, look=not self._filled)
        if self._ground() != ground:
            raise SourceNeeded("A package replaces the environment's Python.")

    async def export(self, folder: Path, name: str) -> Path:
        """The uv.lock in `folder` as one that can be installed, without the project itself."""
        lock = self.scratch / f"pylock.{name}.toml"
        await self._uv(commands.export(self.interpreter.executable, folder, lock))
        return lock

    async def freeze(self) -> str:
        """What is installed in the target, one a line."""
        frozen = self.scratch / "frozen.txt"
        try:
            await self._uv(commands.freeze(self.python), to_file=frozen, timeout_seconds=_INSPECT_SECONDS)
        except BuildTimedOut as error:
            raise InstallFailed(
                f"The environment's Python did not start within {_INSPECT_SECONDS:g} seconds.",
                hint="A package left something in site-packages that keeps Python from starting, such as a .pth file.",
            ) from error
        return self._read(frozen)

    def settle_paths(self) -> None:
        """Let what names the place where a linked target is made name its final place instead: editable installs."""
        for target, draft in self._links.items():
            packages = site_packages(target)
            for pattern in _PATH_FILES:
                for file in packages.glob(pattern):
                    _replace(file, os.fsencode(draft), os.fsencode(target))

    async def compile_bytecode(self) -> None:
        """Compile the target's sources, or link what was compiled for another environment."""
        program = Path(bytecode.__file__)
        cache = self.bench.home / "bytecode" if self.private else self.uv.bytecode
        code, _ = await self.bench.run(
            [self.interpreter.executable, "-I", "-S", program, site_packages(self.target), cache],
            environment=self.bench.environment,
            cwd=self.scratch,
            writable=self._drafts(),
            readable=[program, self.interpreter.prefix],
            links=self._links,
        )
        if code != 0:
            raise InstallFailed("Compiling the environment's bytecode failed.")

    def _drafts(self) -> list[Path]:
        """Where the target is made: its own place only, or all places beside the cache, for links to it."""
        places = [self.sources, self.target]
        made = list(self._links.values()) if self.private else [self.uv.cache.parent]
        return [*made, *(path for path in places if not any(map(path.is_relative_to, self._links)))]

    @property
    def _filled(self) -> bool:
        return any(site_packages(self.target).glob("*.dist-info"))

    def _ground(self) -> tuple[str, bytes]:
        """What decides which Python the target has."""
        try:
            return str(self.python.readlink()), read_plain(self.target / "pyvenv.cfg")
        except OSError:
            return "", b""

    async def _uv(
        self,
        arguments: Sequence[str | Path],
        *,
        readable: Sequence[Path] = (),
        to_file: Path | None = None,
        look: bool = False,
        timeout_seconds: float | None = None,
    ) -> None:
        """Run uv. The shared way lets it run a Python only to `look` at one that has nothing of a package."""
        await self.uv.run(
            self.bench,
            arguments,
            cwd=self.sources,
            writable=[self.scratch, *self._drafts()],
            readable=[self.interpreter.prefix, *readable],
            links=self._links,
            to_file=to_file,
            private=self.private,
            hidden=() if self.private or look else self.interpreter.library,
            timeout_seconds=timeout_seconds,
        )


def _replace(file: Path, old: bytes, new: bytes) -> None:
    """Change a file's text, in a new file: the old one may be a hard link to the cache."""
    try:
        text = read_plain(file)
    except OSError:
        return
    if old in text:
        file.unlink()
        file.write_bytes(text.replace(old, new))


@contextlib.asynccontextmanager
async def folders(*paths: Path, remove: Path) -> AsyncIterator[None]:
    """Make folders for the time of the block; `remove`, which holds them, is gone afterwards."""
    try:
        with disk_errors():
            for path in paths:
                path.mkdir(parents=True, exist_ok=True)
            yield
    finally:
        await asyncio.shield(asyncio.to_thread(remove_tree, remove))


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Say "disk full" where the system does."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("There is no space left for the environment.") from error
        raise
