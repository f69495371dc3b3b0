"""Images of conda, R, Julia and Nix: the scripts are the repo2docker library's, the stages ours.

A pack image (system and language, shared by all repositories that need the same), the environment, the content.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from pathlib import Path, PurePosixPath

from bindery.errors import BinderyError, InstallFailed
from builder.buildpacks.repo2docker_steps import LibrarySteps, library_steps
from builder.dockerfile import render
from builder.engines.base import BuildJob
from builder.engines.environment import write_files
from builder.engines.layered.content import failure, has_commit
from builder.engines.layered.context import write_context
from builder.engines.layered.environment import finish, work_tree
from builder.engines.layered.images import ENVIRONMENTS, LOCK, environment_facts, image_labels
from builder.engines.layered.making import StepFailed
from builder.engines.layered.runtime import HOME, USER, Runtimes
from builder.engines.layered.workshop import Workshop
from builder.plan import Kind

KINDS = frozenset({Kind.CONDA, Kind.R, Kind.JULIA, Kind.NIX})
PACKS = "bindery/pack"
#: What the library's scripts use and its own base image has.
_BASE_PACKAGES = ("bzip2", "gnupg", "wget", "xz-utils")
_EXECUTABLE = ("repo2docker-entrypoint", "python3-login", "nix-shell-wrapper", ".bash", ".sh")


async def build_environment(job: BuildJob, shop: Workshop, runtimes: Runtimes) -> None:
    """Make the environment image of a plan that the library's scripts carry out."""
    steps = await read_steps(job, shop)
    pack = await _pack(steps, shop, runtimes)
    await shop.say(f"Building environment {job.plan.environment_key[:12]} as {steps.buildpack} does\n")
    context = shop.folder / "environment"
    await write_environment(job, shop, steps, context)
    text = environment_dockerfile(job, shop, runtimes, steps, pack)
    try:
        files = await shop.try_build(text, context, shop.draft, reads=(LOCK,))
    except StepFailed as problem:
        raise _meaning(job, problem) from problem
    await finish(job, shop, environment_facts(files))


async def build_image(job: BuildJob, shop: Workshop) -> None:
    """Make the image of a commit whose environment is there."""
    steps = await read_steps(job, shop)
    environment = shop.maker.name(ENVIRONMENTS, job.plan.environment_key)
    same = job.plan.needs_tree and await has_commit(job, shop, environment)
    context = shop.folder / "image"
    await write_content(job, shop, context, same=same)
    text = content_dockerfile(job, shop, steps, environment, same=same)
    try:
        await shop.try_build(text, context, job.image, login=False)
    except StepFailed as problem:
        raise failure(job, problem) from problem


def write_pack(steps: LibrarySteps, context: Path) -> None:
    """Write the context of a pack image."""
    write_context(context, {})
    _write_library_files(steps, context / "files")


async def write_environment(job: BuildJob, shop: Workshop, steps: LibrarySteps, context: Path) -> None:
    """Write the context of an environment."""
    await asyncio.to_thread(write_context, context, {})
    await _bring_early_files(job, shop, steps, context / "files")
    if job.plan.needs_tree:
        await _bring_tree(job, shop, context)


async def write_content(job: BuildJob, shop: Workshop, context: Path, *, same: bool) -> None:
    """Write the context of a commit's image. `same`: the environment has the commit's files already."""
    await asyncio.to_thread(write_context, context, {})
    if not same:
        await shop.say(f"Adding the repository's files at {job.commit[:12]}\n")
        await _bring_tree(job, shop, context)


def pack_dockerfile(shop: Workshop, runtimes: Runtimes, steps: LibrarySteps, stage: str = "") -> str:
    """System and language: nothing of the repository but the versions it asks for."""
    return render(
        "pack.j2",
        stage=stage,
        os_image=runtimes.settings.os_image,
        apt_cache=shop.cache_name(runtimes.system),
        user=USER,
        home=HOME,
        folder=runtimes.settings.content_folder,
        packages=sorted({*steps.packages, *_BASE_PACKAGES}),
        build_env=steps.build_env,
        path=steps.path,
        build=steps.build,
        env=steps.env,
    )


def environment_dockerfile(
    job: BuildJob, shop: Workshop, runtimes: Runtimes, steps: LibrarySteps, pack: str, stage: str = ""
) -> str:
    """What the dependency files ask for, on top of a pack image."""
    return render(
        "pack_environment.j2",
        stage=stage,
        runtime=pack,
        apt=job.plan.apt,
        apt_cache=shop.cache_name(runtimes.system),
        early_files=steps.early_files,
        early=steps.early,
        tree=job.plan.needs_tree,
        late=steps.late,
        folder=runtimes.settings.content_folder,
    )


def content_dockerfile(
    job: BuildJob, shop: Workshop, steps: LibrarySteps, environment: str, *, same: bool, stage: str = ""
) -> str:
    """The repository's files, and what has to be done with them."""
    plan, folder = job.plan, shop.settings.build.content_folder
    start = f"{folder}/{plan.start}" if plan.start else None
    if plan.kind is Kind.NIX:
        # It runs the repository's own start script itself.
        start = steps.start
    return render(
        "pack_content.j2",
        stage=stage,
        environment=environment,
        forget_git=plan.needs_tree and not same,
        copy=not same,
        late=() if plan.needs_tree else steps.late,
        start=start,
        post_build=plan.post_build,
        folder=folder,
        labels=image_labels(job),
    )


async def read_steps(job: BuildJob, shop: Workshop) -> LibrarySteps:
    """What the library would do with the job's commit."""
    return await library_steps(await job.listing(shop.settings.fetch))


async def _pack(steps: LibrarySteps, shop: Workshop, runtimes: Runtimes) -> str:
    """The name of the pack image for these steps, made if it is not there."""
    text = pack_dockerfile(shop, runtimes, steps)
    parts = [runtimes.key, text, json.dumps({place: data.hex() for place, data in sorted(steps.files.items())})]
    name = shop.maker.name(PACKS, hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:16])
    async with shop.alone(name):
        if await shop.maker.image(name) is None:
            begun = time.monotonic()
            await shop.say(f"Making the base of all {steps.buildpack} repositories like this one\n")
            context = shop.folder / "pack"
            await asyncio.to_thread(write_pack, steps, context)
            try:
                await shop.try_build(text, context, name)
            except StepFailed as problem:
                raise InstallFailed(f"{steps.buildpack} cannot be set up: {_last(problem)}") from problem
            await shop.say(f"It is ready, after {time.monotonic() - begun:.1f} s\n")
    return name


def _write_library_files(steps: LibrarySteps, folder: Path) -> None:
    for place, data in steps.files.items():
        path = folder.joinpath(*PurePosixPath(place.replace("${NB_USER}", USER)).parts[1:])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if place.endswith(_EXECUTABLE) else 0o644)


async def _bring_tree(job: BuildJob, shop: Workshop, context: Path) -> None:
    executables = [name for name in (job.plan.post_build, job.plan.start) if name]
    await work_tree(job, shop, context / "content").write(job.repo_url, executables)


async def _bring_early_files(job: BuildJob, shop: Workshop, steps: LibrarySteps, folder: Path) -> None:
    tree = await job.listing(shop.settings.fetch)
    await asyncio.to_thread(folder.mkdir, parents=True)
    await write_files(tree, tuple(steps.early_files), folder)


def _meaning(job: BuildJob, problem: StepFailed) -> BinderyError:
    name = job.plan.files[0] if job.plan.files else job.plan.kind.value
    return InstallFailed(f"What {name} asks for cannot be installed: {_last(problem)}")


def _last(problem: StepFailed) -> str:
    """The last thing that was said, as one line."""
    lines = [line.strip() for line in problem.output.splitlines() if line.strip()]
    return (lines[-1] if lines else problem.words)[:300]
