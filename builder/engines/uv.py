"""uv: how it is run in a build, and what its errors mean."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uv as uv_package

from bindery.errors import (
    BinderyError,
    BuildTimedOut,
    DiskFull,
    InstallFailed,
    InvalidDependencyFile,
    ToolMissing,
    Unsatisfiable,
)
from bindery.process import ProcessTimeout, run_lines
from bindery.sandbox import Sandbox, inherited
from builder.engines.leftovers import BUILD_VARIABLE, ROOT_VARIABLE, end_build
from builder.engines.narration import Say

#: Settings of uv that an operator may make by environment: where packages come from, and how to reach that place.
_SETTINGS = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|INDEX_STRATEGY|INDEX_\w+_(USERNAME|PASSWORD)|OFFLINE|"
    r"HTTP_\w+|REQUEST_TIMEOUT|SYSTEM_CERTS|NATIVE_TLS|INSECURE_HOST|CONFIG_FILE|CONCURRENT_\w+|EXCLUDE_NEWER|LINK_MODE)"
)
_LAST_LINES = 400
#: Lines that tell a visitor nothing.
_SILENT = ("Using Python ", "Using CPython ", "warning: The `--pylock` option is experimental")
_MESSAGE_LENGTH = 600


def find_uv() -> Path | None:
    """The uv that was installed with Bindery, or else one on PATH."""
    try:
        return Path(uv_package.find_uv_bin())
    except FileNotFoundError:
        found = shutil.which("uv")
        return Path(found) if found else None


@dataclass(frozen=True)
class Bench:
    """What the programs of one build run with.

    `home` is a folder of the build's own, empty at first. Lines that programs write are said, with the folders in
    `renamed` (longest first) shown by their other name.
    """

    build_id: str
    root: Path
    home: Path
    sandbox: Sandbox
    say: Say
    timeout_seconds: float
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of every program of this build."""
        return inherited(os.environ) | {
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            BUILD_VARIABLE: self.build_id,
            ROOT_VARIABLE: str(self.root),
        }

    async def run(
        self,
        argv: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        cwd: Path,
        writable: Sequence[Path] = (),
        readable: Sequence[Path] = (),
        links: Mapping[Path, Path] | None = None,
    ) -> tuple[int, str]:
        """Run a program in the box, say what it says, and return its exit code and the end of its output."""
        last: deque[str] = deque(maxlen=_LAST_LINES)

        async def on_line(line: str) -> None:
            for path, name in self.renamed.items():
                line = line.replace(path, name)
            last.append(line)
            if line.startswith(_SILENT):
                return
            await self.say(line if line.endswith("\n") else f"{line}\n")

        command = self.sandbox.wrap(argv, writable=[self.home, *writable], readable=readable, links=links)
        try:
            code = await run_lines(
                command, env=environment, timeout_seconds=self.timeout_seconds, on_line=on_line, cwd=cwd
            )
        except ProcessTimeout as error:
            raise BuildTimedOut(f"The build took longer than {self.timeout_seconds:g} seconds.") from error
        finally:
            if not self.sandbox.active:
                await asyncio.shield(asyncio.to_thread(end_build, self.root, self.build_id))
        return code, "".join(last)


@dataclass(frozen=True)
class Uv:
    """uv with a cache in the data directory.

    The cache is Bindery's own, on the file system of the environments: so their files are hard links to it, which
    makes an environment in a fraction of the time that copies take. A user's own cache is left alone, because whoever
    writes to a hard link writes to the cache, and builds run code of strangers. Environments are only ever read after
    they are made. In the box, links need one mount for both ends: environments are made beside the cache. Where links
    are impossible uv copies.
    """

    program: Path | None
    cache: Path

    @property
    def bytecode(self) -> Path:
        """What was compiled, for other environments with the same files. Only our own program writes there."""
        return self.cache.parent / "bytecode"

    def require(self) -> Path:
        """The program; raises `ToolMissing` when there is none."""
        if self.program is None or not self.program.exists():
            raise ToolMissing(
                "uv is not installed, so no environment can be built.",
                hint="The operator can install it where Bindery is installed: pip install uv",
            )
        return self.program

    async def run(
        self,
        bench: Bench,
        arguments: Sequence[str | Path],
        *,
        cwd: Path,
        writable: Sequence[Path] = (),
        readable: Sequence[Path] = (),
        links: Mapping[Path, Path] | None = None,
        to_file: Path | None = None,
    ) -> None:
        """Run uv; with `to_file` what it prints goes there. Raises what its failure means."""
        program = self.require()
        for folder in (self.cache, self.bytecode):
            folder.mkdir(parents=True, exist_ok=True)
        command: list[str | Path] = [program, *arguments]
        target = "/dev/null" if to_file is None else str(to_file)
        command = ["/bin/sh", "-c", 'target=$1; shift; exec "$@" >"$target"', "uv", target, *command]
        code, output = await bench.run(
            command,
            environment=bench.environment | self._variables(),
            cwd=cwd,
            writable=[self.cache.parent, *writable],
            readable=[self.bytecode, program, *_configuration_files(), *readable],
            links=links,
        )
        if code != 0:
            raise failure(output, code)

    def _variables(self) -> dict[str, str]:
        chosen = {name: value for name, value in os.environ.items() if _SETTINGS.fullmatch(name)}
        files = _configuration_files()
        configuration = {"UV_CONFIG_FILE": str(files[0])} if files else {"UV_NO_CONFIG": "1"}
        return {
            **configuration,
            **chosen,
            "UV_CACHE_DIR": str(self.cache),
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "NO_COLOR": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
        }


def _configuration_files() -> list[Path]:
    """The operator's own uv.toml: packages come from where the operator's come from. A repository's is never read."""
    named = os.environ.get("UV_CONFIG_FILE")
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = Path(named) if named else folder / "uv" / "uv.toml"
    return [path] if path.is_file() else []


def failure(output: str, code: int) -> BinderyError:
    """What the end of uv's output means."""
    words = _last_words(output) or f"uv ended with code {code}."
    for pattern, error, message, hint in _MEANINGS:
        if re.search(pattern, output, re.IGNORECASE):
            return error(message.format(words=words), hint=hint)
    return InstallFailed(f"Installing the dependencies failed: {words}")


def _last_words(output: str) -> str:
    """uv's error as one line: from its first mark of an error on, without drawing."""
    lines = output.splitlines()
    marked = (number for number, line in enumerate(lines) if re.match(r"\s*(error:|\u00d7|hint:)", line))
    start = next(marked, max(len(lines) - 5, 0))
    text = " ".join(re.sub(r"^[^\w`'\"(\[{/<.]+", "", line) for line in lines[start:])
    text = re.sub(r"\s+", " ", text.removeprefix("error: ")).strip().replace(" cause: ", ": ")
    text = text.removeprefix("No solution found when resolving dependencies: ")
    return text if len(text) <= _MESSAGE_LENGTH else text[:_MESSAGE_LENGTH].rsplit(" ", 1)[0] + " ..."


_MEANINGS: tuple[tuple[str, type[BinderyError], str, str | None], ...] = (
    (
        r"no space left on device|disk quota exceeded|os error 28\b",
        DiskFull,
        "There is no space left for the environment.",
        None,
    ),
    (
        r"no solution found when resolving|is unsatisfiable|requirements are unsatisfiable",
        Unsatisfiable,
        "The requirements cannot be satisfied: {words}",
        "Loosen or correct the requirements named here; a name that was not found may be misspelt.",
    ),
    (
        r"couldn't parse requirement|expected package name|failed to parse|invalid utf-?8|did not contain valid utf-8|"
        r"toml parse error|unsupported requirement|invalid (url|version|requirement)|unexpected '",
        InvalidDependencyFile,
        "A dependency file cannot be read: {words}",
        "Correct the line; the log shows where it is.",
    ),
    (
        r"dns error|error sending request|could not resolve host|unable to access|connection (refused|reset)|"
        r"operation timed out|failed to fetch",
        InstallFailed,
        "A package could not be downloaded: {words}",
        "Try again in a moment; if it stays so, check the address, or tell the operator.",
    ),
    (
        r"failed to build|failed to prepare|build backend returned an error",
        InstallFailed,
        "A package could not be built from source: {words}",
        "Ask for a version that has a wheel for this Python; the log shows the package's own words.",
    ),
)
