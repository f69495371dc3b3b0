"""The Docker Engine, spoken to through the `docker` client."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bindery.errors import BuildTimedOut, DiskFull, ToolMissing
from bindery.process import Finished, ProcessTimeout, run, run_lines
from builder.engines.docker_progress import Progress

#: Seconds for a question to the engine.
ASK_SECONDS = 60.0
PULL_SECONDS = 1800.0
#: From this version on the client does BuildKit only through its plugin buildx.
_FIRST_WITHOUT_BUILDKIT = 23
_AWAY = re.compile(
    r"cannot connect to the docker daemon|error during connect|is the docker daemon running|connection refused|"
    r"connection reset|unexpected EOF|failed to dial|transport is closing|code = Unavailable|error reading from server|"
    r"permission denied while trying to connect",
    re.IGNORECASE,
)
_NO_SPACE = re.compile(r"no space left on device|disk quota exceeded|os error 28\b", re.IGNORECASE)


class StepFailed(Exception):
    """A step of a build failed. `output` is the end of what its programs wrote, `words` what BuildKit says."""

    def __init__(self, output: str, words: str) -> None:
        super().__init__(words)
        self.output = output
        self.words = words


@dataclass(frozen=True)
class Image:
    """An image in the engine's own store. `created_at` is a Unix time; layers are shared, so sizes do not add up."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    created_at: float
    size_bytes: int
    architecture: str


@dataclass(frozen=True)
class Recipe:
    """One build: a Dockerfile for a context. `secrets` are files that steps may read and that stay in no image."""

    dockerfile: Path
    context: Path
    tag: str
    secrets: Mapping[str, Path] = field(default_factory=dict)
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    headings: bool = False


@dataclass(frozen=True)
class Docker:
    """A client that can build with BuildKit, and the engine that answers it; `find_docker` gives one."""

    program: Path
    client_version: str
    engine_version: str
    buildx: bool
    environment: Mapping[str, str]

    @property
    def description(self) -> str:
        """Which way builds go, for the operator."""
        way = "buildx" if self.buildx else "the client's own BuildKit"
        return f"engine {self.engine_version}, client {self.client_version} ({self.program}), builds by {way}"

    async def run(self, *words: str | Path, timeout_seconds: float = ASK_SECONDS) -> Finished:
        """Run the client; raises `ToolMissing` when the engine does not answer, `DiskFull` when that is the reason."""
        try:
            ended = await run([self.program, *words], env=self.environment, timeout_seconds=timeout_seconds)
        except (OSError, ProcessTimeout) as error:
            raise away(str(error)) from error
        if ended.returncode != 0:
            _check(ended.stderr.decode(errors="replace"))
        return ended

    async def image(self, name: str) -> Image | None:
        """What the engine's store knows of an image."""
        ended = await self.run("image", "inspect", name)
        return _image(json.loads(ended.stdout)[0]) if ended.returncode == 0 else None

    async def names(self, repository: str) -> list[str]:
        """All tagged images of a repository, as `repository:tag`."""
        ended = await self.run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository)
        return [line for line in ended.stdout.decode().split() if not line.endswith(":<none>")]

    async def untag(self, *names: str) -> None:
        """Take names away; images without any other name go with them. One that is not there is no error."""
        if names:
            await self.run("image", "rm", *names)

    async def build(
        self,
        recipe: Recipe,
        on_line: Callable[[str], Awaitable[None]],
        *,
        timeout_seconds: float,
        marks: Mapping[str, str] | None = None,
    ) -> None:
        """Build an image; it gets its name when everything else is done.

        Cancelling ends the build in the engine too. Raises `StepFailed`, `ToolMissing`, `DiskFull`, `BuildTimedOut`.
        """
        progress = Progress(recipe.headings)

        async def read(line: str) -> None:
            if told := progress.read(line):
                await on_line(told)

        environment = {**self.environment, **recipe.build_args, **(marks or {})}
        try:
            code = await run_lines(self._words(recipe), env=environment, timeout_seconds=timeout_seconds, on_line=read)
        except ProcessTimeout as error:
            raise BuildTimedOut(f"The build took longer than {timeout_seconds:g} seconds.") from error
        except OSError as error:
            raise away(str(error)) from error
        if code != 0:
            output, words = "".join(progress.output), "\n".join(progress.words).strip()
            _check(words)
            raise StepFailed(output, words)

    def _words(self, recipe: Recipe) -> list[str | Path]:
        start = ["buildx", "build", "--builder", "default", "--load"] if self.buildx else ["build"]
        words: list[str | Path] = [self.program, *start, "--progress", "plain", "--file", recipe.dockerfile]
        words += ["--tag", recipe.tag]
        for name, path in recipe.secrets.items():
            words += ["--secret", f"id={name},src={path}"]
        # Only the name: other users of this machine can read command lines.
        words += [word for name in recipe.build_args for word in ("--build-arg", name)]
        words += [word for name, value in recipe.labels.items() for word in ("--label", f"{name}={value}")]
        return [*words, recipe.context]


async def find_docker(environ: Mapping[str, str] = os.environ) -> Docker:
    """The first client on PATH that can build with BuildKit, with an engine that answers.

    Raises `ToolMissing`, which says what is wrong.
    """
    problems = []
    for program in _programs(environ):
        environment = {**environ, "DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "NO_COLOR": "1"}
        try:
            return await _probe(program, environment)
        except ToolMissing as problem:
            problems.append(f"{program}: {problem.message}")
    raise away("; ".join(problems) or "there is no docker program on PATH")


def away(reason: str) -> ToolMissing:
    """The error that says that there is no engine to build with."""
    hint = "Start the Docker Engine, let this user reach it (DOCKER_HOST), then run: bindery doctor"
    return ToolMissing(f"The Docker Engine does not answer: {reason.strip()[:400]}", hint=hint)


def _programs(environ: Mapping[str, str]) -> list[Path]:
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    found = (shutil.which("docker", path=folder) for folder in folders if folder)
    resolved = {Path(path).resolve(): Path(path) for path in found if path}
    return list(resolved.values())


async def _probe(program: Path, environment: Mapping[str, str]) -> Docker:
    try:
        ended, plugin = await asyncio.gather(
            run([program, "version", "--format", "{{json .}}"], env=environment, timeout_seconds=ASK_SECONDS),
            run([program, "buildx", "version"], env=environment, timeout_seconds=ASK_SECONDS),
        )
    except (OSError, ProcessTimeout) as error:
        raise ToolMissing(str(error)) from error
    if ended.returncode != 0:
        raise ToolMissing(ended.stderr.decode(errors="replace").strip() or "it gave no answer")
    versions: dict[str, Any] = json.loads(ended.stdout)
    server = versions.get("Server") or {}
    if not server.get("Version"):
        raise ToolMissing(ended.stderr.decode(errors="replace").strip() or "no engine answers")
    client = str(versions["Client"]["Version"])
    buildx = plugin.returncode == 0
    major = re.match(r"\d+", client)
    if not buildx and major and int(major[0]) >= _FIRST_WITHOUT_BUILDKIT:
        raise ToolMissing(f"version {client} needs the plugin docker-buildx to build")
    if server.get("Os", "linux") != "linux":
        raise ToolMissing(f"the engine makes {server['Os']} containers, not Linux ones")
    return Docker(program, client, str(server["Version"]), buildx, environment)


def _check(words: str) -> None:
    if _NO_SPACE.search(words):
        raise DiskFull("There is no space left for images.", hint="The operator has to free space: docker system df")
    if _AWAY.search(words):
        raise away(words.splitlines()[-1] if words else "")


def _image(found: Mapping[str, Any]) -> Image:
    return Image(
        id=str(found["Id"]),
        tags=tuple(found.get("RepoTags") or ()),
        labels=dict((found.get("Config") or {}).get("Labels") or {}),
        created_at=_moment(str(found.get("Created", ""))),
        size_bytes=int(found.get("Size", 0)),
        architecture=str(found.get("Architecture", "")),
    )


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def described(names: Sequence[str], shown: int = 5) -> str:
    """Some names as a sentence's part."""
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")
