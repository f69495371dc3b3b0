"""Building with Buildah: no daemon, no privileges where the node knows user namespaces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bindery.errors import BuildTimedOut, DiskFull, ToolMissing
from bindery.process import Finished, ProcessTimeout, run, run_lines
from builder.engines.layered.making import NO_SPACE, StepFailed
from builder.job.back_end import PushFailed, Say, Site
from builder.job.buildah_progress import BuildahProgress
from builder.job.order import Order

_ASK_SECONDS = 120.0
_PUSH_SECONDS = 3600.0
_PUSH_ATTEMPTS = 3
_CLEAR_SECONDS = 600.0

#: Whoever may chroot gets out of a chroot, and the pod's own files have the login for the registry.
_BOUNDS = ("--cap-drop", "CAP_SYS_CHROOT")
_REGISTRIES = """\
unqualified-search-registries = ["docker.io"]
short-name-mode = "permissive"
"""


@dataclass(frozen=True)
class Buildah:
    """The `BackEnd` of Buildah with chroot isolation; the storage driver is overlay where that works, else vfs."""

    program: str = "buildah"

    async def build(self, order: Order, site: Site, say: Say) -> None:
        """See `BackEnd`. A build of the same image by a Job before it is there no more."""
        await asyncio.to_thread(_write_registries, site.work, order)
        driver = await self._driver(site)
        await self._clear(site)
        if driver != "overlay":
            await say("This node cannot stack layers for builds, so each one is copied: it takes longer\n")
        progress = BuildahProgress(order.headings)

        async def read(line: str) -> None:
            if told := progress.read(line):
                await say(told)

        environment = {**self._environment(site, driver), **order.build_args}
        try:
            words = [self.program, *build_words(order, site)]
            code = await run_lines(words, env=environment, timeout_seconds=order.timeout_seconds, on_line=read)
        except ProcessTimeout as error:
            raise BuildTimedOut(f"The build took longer than {order.timeout_seconds:g} seconds.") from error
        except OSError as error:
            raise ToolMissing(f"Buildah is not in the builder's image: {error}") from error
        if code != 0:
            output, said = "".join(progress.output), "\n".join(progress.words)
            if NO_SPACE.search(f"{said}\n{output[-2000:]}"):
                raise DiskFull("The build's node has no space left.")
            raise StepFailed(output, said)

    async def read(self, order: Order, site: Site, path: str) -> bytes | None:
        """See `BackEnd`. The image's own `cat` says it, not one that a package has put first on PATH."""
        made = await self._ask(site, "from", "--pull-never", "--quiet", order.target)
        container = made.stdout.decode().strip()
        if made.returncode != 0 or not container:
            return None
        place = str(PurePosixPath("/", path))
        words = ["run", "--isolation", "chroot", *_BOUNDS, "--user", "1000", container, "--", "/bin/cat", place]
        said = await self._ask(site, *words)
        await self._ask(site, "rm", container)
        return said.stdout if said.returncode == 0 else None

    async def push(self, order: Order, site: Site, say: Say) -> None:
        """See `BackEnd`."""
        ended, place = Finished(1), f"docker://{order.reached(order.target)}"
        for _ in range(_PUSH_ATTEMPTS):
            ended = await self._ask(site, "push", "--quiet", *_logins(site), order.target, place, seconds=_PUSH_SECONDS)
            if ended.returncode == 0:
                return
        raise PushFailed(ended.stderr.decode(errors="replace").strip())

    async def _clear(self, site: Site) -> None:
        """Remove what Jobs that were ended left in the node's folder, and all of it when the disk gets full."""
        turn = site.turn
        if turn is None or not turn.alone:
            return
        await self._ask(site, "rm", "--all", seconds=_CLEAR_SECONDS)
        if await asyncio.to_thread(lambda: turn.is_full):
            await self._ask(site, "rmi", "--all", "--force", seconds=_CLEAR_SECONDS)
        await asyncio.to_thread(turn.share)

    async def _ask(self, site: Site, *words: str, seconds: float = _ASK_SECONDS) -> Finished:
        environment = self._environment(site, await self._driver(site))
        return await run([self.program, *words], env=environment, timeout_seconds=seconds)

    async def _driver(self, site: Site) -> str:
        """The storage driver of this Job, found out once."""
        kept = site.work / "driver"
        if not kept.exists():
            words = [self.program, "info"]
            try:
                tried = await run(words, env=self._environment(site, "overlay"), timeout_seconds=_ASK_SECONDS)
            except OSError as error:
                raise ToolMissing(f"Buildah is not in the builder's image: {error}") from error
            kept.write_text("overlay" if tried.returncode == 0 else "vfs", encoding="ascii")
        return kept.read_text(encoding="ascii")

    def _environment(self, site: Site, driver: str) -> dict[str, str]:
        storage = site.work / "storage.conf"
        if not storage.exists() or driver not in storage.read_text(encoding="utf-8"):
            layers = site.work if site.turn is None else site.turn.folder
            storage.write_text(storage_settings(site.work, layers, driver), encoding="utf-8")
        return {
            **site.environment,
            "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_STORAGE_CONF": str(storage),
            "CONTAINERS_REGISTRIES_CONF": str(site.work / "registries.conf"),
            "XDG_RUNTIME_DIR": str(site.work / "run"),
            # Which layers the registry has is kept beside them.
            "XDG_DATA_HOME": str((site.work if site.turn is None else site.turn.folder) / "data"),
            "TMPDIR": str(site.work / "tmp"),
            "NO_COLOR": "1",
        }


def storage_settings(work: Path, layers: Path, driver: str) -> str:
    """Where Buildah keeps layers, and how. What is mounted is a matter of this Job alone."""
    places = f'graphroot = "{layers}/storage"\nrunroot = "{work}/run"\nrootless_storage_path = "{layers}/storage"\n'
    return f'[storage]\ndriver = "{driver}"\n{places}'


def registry_settings(order: Order) -> str:
    """Which registries are spoken to without TLS, where short names lead, and where those of our own images do."""
    tables = [f'location = "{host}"\ninsecure = true\n' for host in order.plain_http]
    if order.relay:
        place = order.reached(f"{order.location}/").rstrip("/")
        tables.append(f'prefix = "{order.location}"\nlocation = "{place}"\ninsecure = true\n')
    return _REGISTRIES + "".join(f"\n[[registry]]\n{table}" for table in tables)


def build_words(order: Order, site: Site) -> list[str]:
    """The command line of a build, without the program."""
    words = [
        "build",
        "--isolation",
        "chroot",
        "--format",
        "docker",
        "--tag",
        order.target,
        "--file",
        str(site.dockerfile),
    ]
    words += _logins(site)
    words += _BOUNDS
    if order.cache:
        cache = order.reached(order.cache)
        words += ["--layers", "--cache-from", cache, "--cache-to", cache]
    else:
        words += ["--layers=false"]
    words += _options("--secret", (f"id={name},src={path}" for name, path in site.secrets.items()))
    # Only the name: the value is in the environment.
    words += _options("--build-arg", order.build_args)
    words += _options("--label", (f"{name}={value}" for name, value in order.labels.items()))
    return [*words, str(site.context)]


def _options(name: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (name, value)]


def _logins(site: Site) -> list[str]:
    path = site.logins / "config.json"
    return ["--authfile", str(path)] if path.exists() else []


def _write_registries(work: Path, order: Order) -> None:
    for name in ("run", "tmp"):
        (work / name).mkdir(parents=True, exist_ok=True)
    (work / "registries.conf").write_text(registry_settings(order), encoding="utf-8")
