"""The Docker Engine, spoken to through the `docker` client."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bindery.docker_api import DockerApi, EngineRefused
from bindery.errors import BuildTimedOut, DiskFull, EngineUnavailable, InternalError, ToolMissing
from bindery.process import Finished, ProcessTimeout, run, run_lines
from builder.dockerfile import MAX_VALUE, render
from builder.engines.docker_files import copied_file
from builder.engines.docker_progress import Progress
from builder.engines.layered.making import NO_SPACE, Image, Recipe, StepFailed

#: Seconds for a question to the engine.
ASK_SECONDS = 60.0
PULL_SECONDS = 1800.0
_LAST_WORDS = 2000
#: From this version on the client does BuildKit only through its plugin buildx.
_FIRST_WITHOUT_BUILDKIT = 23
_AWAY = re.compile(
    r"cannot connect to the docker daemon|error during connect|is the docker daemon running|connection refused|"
    r"connection reset|unexpected EOF|failed to dial|transport is closing|code = Unavailable|error reading from server|"
    r"permission denied while trying to connect",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Docker:
    """A client that can build with BuildKit, and the engine that answers it; `find_docker` gives one.

    What is asked often goes through the engine's `api`, where that is given: a client takes longer to start.
    """

    program: Path
    client_version: str
    engine_version: str
    buildx: bool
    environment: Mapping[str, str]
    api: DockerApi | None = None

    @property
    def description(self) -> str:
        """Which way builds go, for the operator."""
        way = "buildx" if self.buildx else "the client's own BuildKit"
        return f"engine {self.engine_version}, client {self.client_version} ({self.program}), builds by {way}"

    async def run(
        self, *words: str | Path, timeout_seconds: float = ASK_SECONDS, input_bytes: bytes | None = None
    ) -> Finished:
        """Run the client; raises `ToolMissing` when the engine does not answer, `DiskFull` when that is the reason."""
        try:
            ended = await run(
                [self.program, *words], env=self.environment, timeout_seconds=timeout_seconds, input_bytes=input_bytes
            )
        except (OSError, ProcessTimeout) as error:
            raise away(str(error)) from error
        if ended.returncode != 0:
            _check(ended.stderr.decode(errors="replace"))
        return ended

    async def image(self, name: str) -> Image | None:
        """What the engine's store knows of an image."""
        if self.api is not None:
            return await _asked(self.api, name)
        ended = await self.run("image", "inspect", name)
        return _image(json.loads(ended.stdout)[0]) if ended.returncode == 0 else None

    def name(self, repository: str, tag: str) -> str:
        """See `ImageMaker`. The engine's store has all of our images."""
        return f"{repository}:{tag}"

    async def bring(self, name: str) -> Image:
        """See `ImageMaker`."""
        if found := await self.image(name):
            return found
        pulled = await self.run("pull", "--quiet", name, timeout_seconds=PULL_SECONDS)
        found = await self.image(name)
        if found is None:
            hint = "Name a Debian or Ubuntu image that the engine has or can pull: BINDERY_BUILD__OS_IMAGE."
            reason = pulled.stderr.decode(errors="replace").strip()
            raise ToolMissing(f"The OS image {name} is not to be had: {reason[:300]}", hint=hint)
        return found

    async def read_file(self, name: str, path: str) -> bytes | None:
        """See `ImageMaker`."""
        return await copied_file(self.run, name, path)

    async def label(self, image: str, name: str, labels: Mapping[str, str]) -> None:
        """See `ImageMaker`. A label that is too long for a Dockerfile's line is left out."""
        kept = {key: value for key, value in labels.items() if len(value) <= MAX_VALUE}
        text = render("labelled.j2", image=image, labels=kept)
        words = [*self._start(), "--quiet", "--tag", name, "-"]
        ended = await self.run(*words, input_bytes=text.encode())
        if ended.returncode != 0:
            reason = ended.stderr.decode(errors="replace")[-300:]
            raise InternalError(f"The image {name} could not be labelled: {reason}")

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
    ) -> Mapping[str, bytes]:
        """See `ImageMaker`. Cancelling ends the build in the engine too."""
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
            # What a step writes, it writes to the engine's own disk.
            _check_space(output[-_LAST_WORDS:])
            raise StepFailed(output, words)
        found = {path: await self.read_file(recipe.tag, path) for path in recipe.reads}
        return {path: data for path, data in found.items() if data is not None}

    def _start(self) -> list[str]:
        return ["buildx", "build", "--builder", "default", "--load"] if self.buildx else ["build"]

    def _words(self, recipe: Recipe) -> list[str | Path]:
        words: list[str | Path] = [self.program, *self._start(), "--progress", "plain", "--file", recipe.dockerfile]
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


def _check_space(words: str) -> None:
    if NO_SPACE.search(words):
        hint = "The operator has to free space: bindery gc, docker builder prune, docker system df"
        raise DiskFull("There is no space left for images.", hint=hint)


def _check(words: str) -> None:
    _check_space(words)
    if _AWAY.search(words):
        raise away(words.splitlines()[-1] if words else "")


async def _asked(api: DockerApi, name: str) -> Image | None:
    try:
        return _image(await api.ask("GET", f"/images/{name}/json", seconds=ASK_SECONDS))
    except EngineRefused as refused:
        if refused.status in (400, 404):
            return None
        raise away(refused.message) from refused
    except EngineUnavailable as error:
        raise away(error.message) from error


def _image(found: Mapping[str, Any]) -> Image:
    return Image(
        id=str(found["Id"]),
        tags=tuple(found.get("RepoTags") or ()),
        labels=dict((found.get("Config") or {}).get("Labels") or {}),
        created_at=moment(str(found.get("Created", ""))),
        size_bytes=int(found.get("Size", 0)),
        architecture=str(found.get("Architecture", "")),
    )


def moment(text: str) -> float:
    """The engine's time as a Unix time; 0 when it is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def described(names: Sequence[str], shown: int = 5) -> str:
    """Some names as a sentence's part."""
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")
