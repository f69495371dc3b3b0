"""Making an environment with the uv of the image."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from builder.engines import commands
from builder.inside import compiled

#: Ends a build step whose reason uv has told already.
UV_FAILED = 65
#: Ends a build step in which packages' own code would have to run.
SOURCE_NEEDED = 67
#: Ends a build step in which an environment should have grown from another one, and cannot.
OTHER_VERSIONS = 68
#: What Python runs when it starts; the first is uv's own.
_STARTERS = ("*.pth", "sitecustomize*", "usercustomize*")
_OWN_STARTER = "_virtualenv.pth"
#: Says where a virtual environment's Python has its own library.
_CONFIGURATION = "pyvenv.cfg"


@dataclass(frozen=True)
class InsideHands:
    """`Hands` in a build: programs run one after the other, and what they say is the log.

    `wheels_only`: no code of packages may run, because the cache is that of all builds. Where that is not possible the
    step ends with `SOURCE_NEEDED`: it can be done again with a cache of its own.
    """

    python: Path
    target: Path
    sources: Path
    scratch: Path
    environment: Mapping[str, str]
    wheels_only: bool = False

    @property
    def _own_python(self) -> Path:
        return self.target / "bin" / "python"

    @property
    def _packages(self) -> Path:
        return next((self.target / "lib").glob("python3*/site-packages"))

    @property
    def _build_options(self) -> list[str]:
        return ["--no-build"] if self.wheels_only else []

    async def say(self, line: str) -> None:
        """Tell the visitor something."""
        sys.stdout.write(line)
        sys.stdout.flush()

    def write(self, name: str, text: str) -> Path:
        """Write a file of the build's own."""
        path = self.scratch / name
        path.write_text(text, encoding="utf-8")
        return path

    async def create(self) -> None:
        """Make the target an empty virtual environment."""
        self._uv(commands.create(self.python, self.target))
        shutil.copyfile(self.target / _CONFIGURATION, self.scratch / _CONFIGURATION)

    def adopt(self) -> None:
        """Take the target as it is, an environment that was made with wheels only."""
        shutil.copyfile(self.target / _CONFIGURATION, self.scratch / _CONFIGURATION)

    async def resolve(
        self, inputs: Sequence[Path], *, constraints: Sequence[Path] = (), overrides: str = "", preferred: str = ""
    ) -> Path:
        """Decide every version that the inputs need; versions in `preferred` are taken where nothing speaks against."""
        lock = self.write("lock.txt", preferred)
        changed = self.write("overrides.txt", overrides) if overrides else None
        words = commands.resolve(self.python, lock, inputs, constraints, changed)
        self._uv([*words, *self._build_options], quiet=True)
        return lock

    async def install(self, *arguments: str | Path) -> None:
        """Run `uv pip install` for the target."""
        # uv starts the environment's Python, to learn about it.
        self._check_that_python_starts_alone()
        self._uv([*commands.install(self._own_python, arguments, copy=True), *self._build_options])

    async def export(self, folder: Path, name: str) -> Path:
        """The uv.lock in `folder` as one that can be installed, without the project itself."""
        lock = self.scratch / f"pylock.{name}.toml"
        self._uv(commands.export(self.python, folder, lock))
        return lock

    async def freeze(self) -> str:
        """What is installed in the target, one a line."""
        if self.wheels_only:
            return "".join(f"{line}\n" for line in sorted(map(_line, distributions(path=[str(self._packages)]))))
        return self._run(["uv", *commands.freeze(self._own_python)], output=subprocess.PIPE)

    def settle_paths(self) -> None:
        """Nothing to do: the target is made where it stays."""

    async def compile_bytecode(self) -> None:
        """Compile the target's sources."""
        program = Path(compiled.__file__)
        cache = Path(self.environment.get("UV_CACHE_DIR", self.scratch)) / "bindery-bytecode"
        self._run([self.python, "-I", "-S", program, self._packages, cache])

    def _check_that_python_starts_alone(self) -> None:
        """Packages may leave code that runs whenever Python starts, or another program in Python's place."""
        if not self.wheels_only:
            return
        planted = [path for name in _STARTERS for path in self._packages.glob(name) if path.name != _OWN_STARTER]
        before, now = ((folder / _CONFIGURATION).read_bytes() for folder in (self.scratch, self.target))
        replaced = self._own_python.resolve() != self.python.resolve() or before != now
        if planted or replaced:
            raise SystemExit(SOURCE_NEEDED)

    def _uv(self, words: commands.Words, *, quiet: bool = False) -> None:
        self._run(["uv", *words], output=subprocess.DEVNULL if quiet else None)

    def _run(self, words: commands.Words, output: int | None = None) -> str:
        ended = subprocess.run(words, env=self.environment, cwd=self.sources, stdout=output, text=True)
        if ended.returncode != 0:
            raise SystemExit(UV_FAILED)
        return ended.stdout or ""


def _line(package: Distribution) -> str:
    """A package as `freeze` lists it."""
    origin = package.read_text("direct_url.json")
    if origin:
        return f"{package.name} @ {json.loads(origin)['url']}"
    return f"{package.name}=={package.version}"
