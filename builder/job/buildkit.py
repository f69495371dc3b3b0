"""Building with a BuildKit daemon, rootless or not, beside the Job or anywhere in the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from bindery.errors import BuildTimedOut, DiskFull, EngineUnavailable, ToolMissing
from bindery.process import Finished, ProcessTimeout, run, run_lines
from builder.engines.docker_progress import Progress
from builder.engines.layered.making import NO_SPACE, StepFailed
from builder.job.back_end import PushFailed, Say, Site
from builder.job.order import Order

_READ_SECONDS = 120.0
#: What `buildctl` says where no daemon answers, or the registry does not take the image.
_AWAY = ("failed to list workers", "connection refused", "no such host", "transport: Error while dialing")
_PUSHING = ("failed to push", "failed to authorize", "unexpected status from PUT", "unexpected status from HEAD")


@dataclass(frozen=True)
class BuildKit:
    """The `BackEnd` of BuildKit's `buildctl`; the daemon pushes as it builds, so `push` has nothing left to do."""

    program: str = "buildctl"

    async def build(self, order: Order, site: Site, say: Say) -> None:
        """See `BackEnd`."""
        progress = Progress(order.headings)

        async def read(line: str) -> None:
            if told := progress.read(line):
                await say(told)

        environment = {**site.environment, "DOCKER_CONFIG": str(site.logins), "NO_COLOR": "1"}
        try:
            words = [self.program, *build_words(order, site)]
            code = await run_lines(words, env=environment, timeout_seconds=order.timeout_seconds, on_line=read)
        except ProcessTimeout as error:
            raise BuildTimedOut(f"The build took longer than {order.timeout_seconds:g} seconds.") from error
        except OSError as error:
            raise ToolMissing(f"buildctl is not in the builder's image: {error}") from error
        if code != 0:
            raise _failure(order, "".join(progress.output), "\n".join(progress.words).strip())

    async def read(self, order: Order, site: Site, path: str) -> bytes | None:
        """See `BackEnd`. A build of its own copies the file out of the image that was pushed."""
        folder, out = site.work / "reading", site.work / "read"
        await asyncio.to_thread(folder.mkdir, exist_ok=True)
        place = PurePosixPath("/", path)
        text = f"FROM {order.target} AS image\nFROM scratch\nCOPY --from=image {place} /{place.name}\n"
        await asyncio.to_thread((folder / "Dockerfile").write_text, text, encoding="utf-8")
        words = [*_address(order), "build", "--frontend", "dockerfile.v0", "--progress", "plain"]
        words += ["--local", f"context={folder}", "--local", f"dockerfile={folder}"]
        environment = {**site.environment, "DOCKER_CONFIG": str(site.logins)}
        ended: Finished = await run(
            [self.program, *words, "--output", f"type=local,dest={out}"],
            env=environment,
            timeout_seconds=_READ_SECONDS,
        )
        found = out / place.name
        return await asyncio.to_thread(found.read_bytes) if ended.returncode == 0 and found.is_file() else None

    async def push(self, order: Order, site: Site, say: Say) -> None:
        """See `BackEnd`."""


def build_words(order: Order, site: Site) -> list[str]:
    """The command line of a build, without the program."""
    insecure = order.target.partition("/")[0] in order.plain_http
    words = [*_address(order), "build", "--frontend", "dockerfile.v0", "--progress", "plain"]
    words += ["--local", f"context={site.context}", "--local", f"dockerfile={site.dockerfile.parent}"]
    words += ["--opt", f"filename={site.dockerfile.name}"]
    words += _options("--opt", (f"build-arg:{name}={value}" for name, value in order.build_args.items()))
    words += _options("--opt", (f"label:{name}={value}" for name, value in order.labels.items()))
    words += _options("--secret", (f"id={name},src={path}" for name, path in site.secrets.items()))
    if order.cache:
        extra = ",registry.insecure=true" if insecure else ""
        words += ["--import-cache", f"type=registry,ref={order.cache}{extra}"]
        words += ["--export-cache", f"type=registry,ref={order.cache},mode=max,ignore-error=true{extra}"]
    plain = ",registry.insecure=true" if insecure else ""
    return [*words, "--output", f"type=image,name={order.target},push=true{plain}"]


def _address(order: Order) -> Sequence[str]:
    return ["--addr", order.address] if order.address else []


def _options(name: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (name, value)]


def _failure(order: Order, output: str, words: str) -> Exception:
    if NO_SPACE.search(words):
        return DiskFull("The BuildKit daemon has no space left.")
    if any(sign in words for sign in _AWAY):
        return EngineUnavailable(f"The BuildKit daemon at {order.address or 'its usual place'} does not answer.")
    if any(sign in words for sign in _PUSHING):
        return PushFailed(words.splitlines()[-1])
    return StepFailed(output, words)
