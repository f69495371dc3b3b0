"""The process engine: environments as directories made by uv, images as directories beside them."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from bindery import __version__
from bindery.errors import EngineCannotServe
from bindery.sandbox import Sandbox, find_sandbox
from bindery.settings import Settings
from builder.engines.base import BuildJob, EnvironmentInfo, Running
from builder.engines.content import WorkTree, without_login
from builder.engines.environment import make_environment, write_files
from builder.engines.installer import Installer, folders
from builder.engines.interpreters import Interpreter, Interpreters, find_interpreters, own_interpreter
from builder.engines.leftovers import builds_with_leftovers, remove_leftovers
from builder.engines.narration import Say, ago, narrate
from builder.engines.postbuild import run_post_build
from builder.engines.server import make_server, server_id
from builder.engines.uv import Bench, SourceNeeded, Uv, find_uv
from builder.plan import Kind, Plan, PlanContext
from db.events import Event
from registry.directory import DirectoryStore, StoredEnvironment, StoredImage, remove_tree, size
from registry.untrusted import write_plain

#: Version of the rules by which this engine makes environments.
BUILDER_VERSION = "process-1"
_KINDS = frozenset({Kind.PYTHON, Kind.PIPFILE})
_SHORT_KEY = 12
_OTHER_ENGINES = "Launch it on a Bindery with the docker or kubernetes engine"


class ProcessEngine:
    """The `EnvironmentBuilder` of the process engine; `open` makes one."""

    def __init__(
        self, settings: Settings, *, store: DirectoryStore, sandbox: Sandbox, uv: Uv, interpreters: Interpreters
    ) -> None:
        self._settings = settings
        self._store = store
        self._uv = uv
        self._interpreters = interpreters
        self._active: set[str] = set()
        self.sandbox = sandbox

    @classmethod
    async def open(cls, settings: Settings, *, uv: Path | None = None) -> Self:
        """Find out what this machine has: uv, Pythons, bubblewrap."""
        store = DirectoryStore(settings.data_dir)
        await asyncio.to_thread(store.root.mkdir, parents=True, exist_ok=True)
        program = uv or find_uv()
        sandbox, interpreters = await asyncio.gather(
            find_sandbox(enabled=settings.build.sandbox, hidden=[store.root]), _interpreters(program)
        )
        # Sessions run with them too, wherever they lie.
        sandbox = replace(sandbox, kept=(*sandbox.kept, *interpreters.folders))
        tool = Uv(program, store.root / "cache" / "uv")
        return cls(settings, store=store, sandbox=sandbox, uv=tool, interpreters=interpreters)

    @property
    def context(self) -> PlanContext:
        """What plans for this engine depend on, with the Pythons that are there."""
        return PlanContext(
            builder_version=BUILDER_VERSION,
            runtime=self._interpreters.own.identity,
            default_python=self._settings.build.default_python or self._interpreters.own.feature,
            available_pythons=self._interpreters.here,
        )

    async def wider_context(self) -> PlanContext:
        """The same, with the Pythons that could be brought here too: finding those takes a moment at first."""
        await self._interpreters.look_further()
        return replace(self.context, available_pythons=self._interpreters.available)

    def check(self, plan: Plan) -> tuple[str, ...]:
        """Refuse what a virtual environment cannot be: other languages, containers, system packages."""
        if plan.kind not in _KINDS:
            name = plan.files[0] if plan.files else plan.kind.value
            raise EngineCannotServe(
                f"{name} needs the docker or kubernetes engine; this service has the process engine.",
                hint=f"{_OTHER_ENGINES}, or ask for Python packages in requirements.txt.",
            )
        if plan.apt and not self._settings.build.allow_missing_apt:
            raise EngineCannotServe(
                f"apt.txt asks for system packages ({_some(plan.apt)}), which need the docker or kubernetes engine.",
                hint=f"{_OTHER_ENGINES}, or let the operator go on without them (--allow-missing-apt).",
            )
        if not self._interpreters.has(plan.python):
            raise self._interpreters.unavailable(plan.python)
        if plan.apt:
            return (f"WARNING: apt.txt is NOT honoured. These system packages may be missing: {_some(plan.apt)}.",)
        return ()

    async def find(self, key: str) -> EnvironmentInfo | None:
        """The finished environment of this key, if there is one."""
        found = await asyncio.to_thread(self._store.environment, key)
        if found is None:
            return None
        return EnvironmentInfo(found.key, found.created_at, found.lock, found.joined, found.size_bytes)

    async def server_environment(self, say: Say | None = None) -> Path:
        """The environment that runs JupyterLab for all repositories; made once, however many ask for it."""
        say = say or _say_nothing
        own = self._interpreters.own
        identity = server_id(f"{own.identity}\n{own.executable}")
        path = self._store.server_path(identity)
        if await asyncio.to_thread(self._store.server, identity):
            return path
        async with self._store.making(path, lambda: say("The server environment is being made: waiting\n")):
            if await asyncio.to_thread(self._store.server, identity):
                return path
            begun = time.monotonic()
            await say("Making the server environment (JupyterLab), once for all repositories\n")
            name = f"server-{secrets.token_hex(4)}"
            async with self._draft(path):
                async with self._installer(name, own, say, path) as installer:
                    await make_server(installer)
                    self._store.settle(path)
                self._store.finish_server(identity, {"python": own.version, "created_at": time.time()})
            await say(f"The server environment is ready, after {time.monotonic() - begun:.1f} s\n")
        return path

    def environment(self, job: BuildJob) -> AsyncGenerator[Event, None]:
        """Make sure that the environment of the job's plan is there."""

        async def work(say: Say) -> None:
            await self._environment(job, say)

        return narrate(work)

    def image(self, job: BuildJob) -> AsyncGenerator[Event, None]:
        """Add content and post-build steps; the image is there when the generator ends."""

        async def work(say: Say) -> None:
            await self._image(job, say)

        return narrate(work)

    async def reap(self, running: Running) -> None:
        """Remove what builds other than those `running` left behind, processes included."""
        seen = await asyncio.to_thread(builds_with_leftovers, self._store.root)
        gone = seen - {*await running(), *self._active}
        await asyncio.to_thread(remove_leftovers, self._store.root, gone)
        await asyncio.to_thread(self._store.sweep)

    async def _environment(self, job: BuildJob, say: Say) -> StoredEnvironment:
        key = job.plan.environment_key
        path = self._store.environment_path(key)
        short = key[:_SHORT_KEY]
        if found := await asyncio.to_thread(self._store.environment, key):
            await say(f"Environment {short} is known, built {ago(found.created_at)}: reused\n")
            return found
        async with self._store.making(path, lambda: say(f"Environment {short} is being built already: waiting\n")):
            if found := await asyncio.to_thread(self._store.environment, key):
                await say(f"Environment {short} was built meanwhile: reused\n")
                return found
            if not job.plan.needs_tree:
                with suppress(SourceNeeded):
                    return await self._make_environment(job, path, say, private=False)
                await say("A package has to be built from its source: once more, apart from the shared cache\n")
            return await self._make_environment(job, path, say, private=True)

    async def _make_environment(self, job: BuildJob, path: Path, say: Say, *, private: bool) -> StoredEnvironment:
        plan, begun = job.plan, time.monotonic()
        self._uv.require()
        interpreter = await self._interpreters.get(plan.python)
        key = plan.environment_key
        if plan.needs_tree or not private:
            await say(
                f"Building environment {key[:_SHORT_KEY]} with Python {interpreter.version} ({plan.python_reason})\n"
            )
        source = path / "source" if plan.needs_tree else None
        made_by = self._installer(job.build_id, interpreter, say, path, source, private=private)
        async with self._draft(path):
            async with made_by as installer:
                await self._bring_files(job, installer)
                lock, joined = await make_environment(plan, installer)
                self._store.settle(path)
            if source:
                lock = lock.replace(f"file://{source}", ".")
                if "-e ." not in lock:
                    await asyncio.to_thread(remove_tree, source)
            write_plain(path / "lock.txt", lock)
            total = await asyncio.to_thread(size, path)
            made = StoredEnvironment(key, path, interpreter.version, lock, joined, total, time.time())
            self._store.finish_environment(made)
        await say(f"Environment {key[:_SHORT_KEY]} is ready, after {time.monotonic() - begun:.1f} s\n")
        return made

    async def _bring_files(self, job: BuildJob, installer: Installer) -> None:
        plan, source = job.plan, installer.sources
        if plan.needs_tree:
            await asyncio.to_thread(remove_tree, source)
            await WorkTree(source, job.repository, job.commit, installer.bench).write(job.repo_url)
            return
        tree = await job.listing(self._settings.fetch)
        steps = tuple(path for step in plan.installs for path in step.paths)
        await write_files(tree, (*plan.files, *steps), source)

    async def _image(self, job: BuildJob, say: Say) -> None:
        path = self._store.image_path(job.image)
        if await asyncio.to_thread(self._store.find, job.image):
            await say(f"Image {job.image} is there: reused\n")
            return
        # The environment was spoken of when it was made or found.
        known = await asyncio.to_thread(self._store.environment, job.plan.environment_key)
        environment = known or await self._environment(job, say)
        server = environment.path if environment.joined else await self.server_environment(say)
        async with self._store.making(path, lambda: say("The image is being made already: waiting\n")):
            if not await asyncio.to_thread(self._store.find, job.image):
                await self._make_image(job, path, environment, server, say)

    async def _make_image(
        self, job: BuildJob, path: Path, environment: StoredEnvironment, server: Path, say: Say
    ) -> None:
        plan, content = job.plan, path / "content"
        overlay = path / "overlay" if plan.post_build else None
        interpreter = await self._interpreters.get(plan.python)
        async with self._emptied(path):
            async with self._installer(job.build_id, interpreter, say, path / "overlay") as installer:
                await say(f"Adding the repository's files at {job.commit[:_SHORT_KEY]}\n")
                executables = [name for name in (plan.post_build, plan.start) if name]
                await WorkTree(content, job.repository, job.commit, installer.bench).write(job.repo_url, executables)
                if plan.post_build and overlay:
                    await say(f"Running {plan.post_build}\n")
                    if await run_post_build(installer, plan.post_build, content=content, environment=environment):
                        server = overlay
            image = StoredImage(
                reference=job.image,
                content=content,
                environment=environment.path,
                overlay=overlay,
                server=server,
                start=plan.start,
                environment_key=environment.key,
                labels=_labels(job),
                size_bytes=await asyncio.to_thread(size, path),
                created_at=time.time(),
            )
            self._store.finish_image(image)

    @asynccontextmanager
    async def _installer(
        self,
        build_id: str,
        interpreter: Interpreter,
        say: Say,
        target: Path,
        sources: Path | None = None,
        *,
        private: bool = True,
    ) -> AsyncGenerator[Installer, None]:
        scratch = self._store.root / "builds" / build_id / "engine"
        source = sources or scratch / "source"
        home = scratch / "home"
        draft = self._store.draft_path(target)
        renamed = {
            **{f"file://{folder}": "." for folder in (source, draft / "source")},
            **{f"{folder}/": "" for folder in (source, draft / "source", scratch)},
            str(source): ".",
            str(self._store.root): "",
        }
        bench = Bench(
            build_id, self._store.root, home, self.sandbox, say, self._settings.build.timeout_seconds, renamed
        )
        self._active.add(build_id)
        try:
            async with folders(scratch / "files", home / "tmp", source, remove=scratch):
                yield Installer(self._uv, bench, interpreter, scratch / "files", source, target, private)
        finally:
            self._active.discard(build_id)
            with suppress(OSError):
                scratch.parent.rmdir()

    @asynccontextmanager
    async def _draft(self, path: Path) -> AsyncGenerator[None, None]:
        """Begin an environment or server; leave nothing of it if the block fails.

        What makes others find it is the last thing in the block: afterwards it is theirs too.
        """
        await asyncio.to_thread(self._store.begin, path)
        try:
            yield
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._store.discard, path))
            raise

    @asynccontextmanager
    async def _emptied(self, path: Path) -> AsyncGenerator[None, None]:
        """Begin with no `path`, and leave none if the block fails; as in `_draft`, others find it at the very end."""
        await asyncio.to_thread(remove_tree, path)
        try:
            yield
        except BaseException:
            await asyncio.shield(asyncio.to_thread(remove_tree, path))
            raise


async def _interpreters(uv: Path | None) -> Interpreters:
    if uv is None:
        return Interpreters(Path("uv"), own_interpreter(), os.environ)
    return await find_interpreters(uv, os.environ)


def _labels(job: BuildJob) -> dict[str, str]:
    return {
        "org.opencontainers.image.source": without_login(job.repo_url),
        "org.opencontainers.image.revision": job.commit,
        "bindery.environment": job.plan.environment_key,
        "bindery.version": __version__,
    }


def _some(names: tuple[str, ...], shown: int = 8) -> str:
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")


async def _say_nothing(line: str) -> None:
    return None
