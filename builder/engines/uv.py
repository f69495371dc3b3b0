"""uv: how it is run in a build, and what its errors mean."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
_ERROR = re.compile(r"\s*(error:|\u00d7)")
#: uv's words where a package's code, or an environment's Python, would have had to run.
_SOURCE_NEEDED = re.compile(
    r"failed to (download and )?build|failed to inspect|querying python|usable wheels|from source is disabled|"
    r"building source distributions? .*disabled|no-binary",
    re.IGNORECASE,
)


class SourceNeeded(InstallFailed):
    """A package has to be built, and the shared cache is no place for that."""


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
        hidden: Sequence[Path] = (),
        timeout_seconds: float | None = None,
        hold_errors: bool = False,
    ) -> tuple[int, str]:
        """Run a program in the box, say what it says, and return its exit code and the end of its output.

        With `hold_errors` nothing is said from its first error on: `errors` finds that in the output.
        """
        last: deque[str] = deque(maxlen=_LAST_LINES)
        limit = timeout_seconds or self.timeout_seconds
        held = False

        async def on_line(line: str) -> None:
            for path, name in self.renamed.items():
                line = line.replace(path, name)
            last.append(line)
            nonlocal held
            held = held or (hold_errors and _ERROR.match(line) is not None)
            if held or line.startswith(_SILENT):
                return
            await self.say(line if line.endswith("\n") else f"{line}\n")

        sandbox = replace(self.sandbox, hidden=(*self.sandbox.hidden, *hidden))
        command = sandbox.wrap(argv, writable=[self.home, *writable], readable=readable, links=links)
        try:
            code = await run_lines(command, env=environment, timeout_seconds=limit, on_line=on_line, cwd=cwd)
        except ProcessTimeout as error:
            raise BuildTimedOut(f"The build took longer than {limit:g} seconds.") from error
        finally:
            if not self.sandbox.active:
                await asyncio.shield(asyncio.to_thread(end_build, self.root, self.build_id))
        return code, "".join(last)


@dataclass(frozen=True)
class Uv:
    """uv with a cache in the data directory.

    The cache is Bindery's own, on the file system of the environments: so their files are hard links to it, which
    makes an environment in a fraction of the time that copies take. Whoever writes to such a file writes to all
    environments that have it, and builds run code of strangers. So there are two ways, and `run` takes either:

    - The shared way. uv may write to the cache and to the drafts beside it, and runs nothing of a package: it installs
      wheels only, and in the box Python has no standard library, so nothing can be built, not even to learn what it
      needs. An environment's own Python is looked at while it is empty; what uv remembers of that serves afterwards,
      so no `.pth` file runs either. Versions are chosen as they would be anyway, not by who has a wheel.
    - The private way, where that fails with `SourceNeeded`, and from the start where a repository's own files are
      installed or its code has run. The whole environment is made anew with a cache of the build's own that goes
      with it, as copies; of what others see nothing is writable but the environment's own draft.

    Without a box nothing keeps a build from writing anywhere. In the box, links need one mount for both ends:
    environments are made beside the cache. Where links are impossible uv copies.
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
        private: bool = False,
        hidden: Sequence[Path] = (),
        timeout_seconds: float | None = None,
    ) -> None:
        """Run uv, the shared way or the private one; with `to_file` what it prints goes there.

        Raises what its failure means.
        """
        program = self.require()
        cache = bench.home / "uv-cache" if private else self.cache
        for folder in (cache, self.bytecode):
            folder.mkdir(parents=True, exist_ok=True)
        shared = [] if private else [self.cache.parent]
        command: list[str | Path] = [program, *arguments]
        target = "/dev/null" if to_file is None else str(to_file)
        command = ["/bin/sh", "-c", 'target=$1; shift; exec "$@" >"$target"', "uv", target, *command]
        code, output = await bench.run(
            command,
            environment=bench.environment | _variables(cache) | ({"UV_LINK_MODE": "copy"} if private else {}),
            cwd=cwd,
            writable=[*shared, *writable],
            readable=[*([] if private else [self.bytecode]), program, *_configuration_files(), *readable],
            links=links,
            hidden=hidden,
            timeout_seconds=timeout_seconds,
            hold_errors=not private,
        )
        if code == 0:
            return
        problem = failure(output, code)
        if not private:
            if _SOURCE_NEEDED.search(output) and not isinstance(problem, DiskFull):
                raise SourceNeeded(problem.message, hint=problem.hint)
            await bench.say(errors(output))
        raise problem


def _variables(cache: Path) -> dict[str, str]:
    chosen = {name: value for name, value in os.environ.items() if _SETTINGS.fullmatch(name)}
    files = _configuration_files()
    configuration = {"UV_CONFIG_FILE": str(files[0])} if files else {"UV_NO_CONFIG": "1"}
    return {
        **configuration,
        **chosen,
        "UV_CACHE_DIR": str(cache),
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


def errors(output: str) -> str:
    """uv's output from its first error on."""
    lines = output.splitlines(keepends=True)
    start = next((number for number, line in enumerate(lines) if _ERROR.match(line)), len(lines))
    return "".join(lines[start:])


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
