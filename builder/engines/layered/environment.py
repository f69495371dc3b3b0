"""Environment images: a runtime with a repository's packages, or what its own Dockerfile makes."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from bindery.errors import BinderyError, InstallFailed
from bindery.sandbox import no_sandbox
from builder.dockerfile import render
from builder.engines.base import BuildJob
from builder.engines.content import WorkTree
from builder.engines.environment import write_files
from builder.engines.layered.context import write_context
from builder.engines.layered.growth import Ground, Grounds, wanted_ground
from builder.engines.layered.images import (
    ENVIRONMENT,
    ENVIRONMENTS,
    FACTS,
    environment_facts,
    environment_info,
    environment_labels,
    image_labels,
)
from builder.engines.layered.making import StepFailed
from builder.engines.layered.runtime import HOME, USER, Runtimes
from builder.engines.layered.workshop import Workshop, meaning
from builder.engines.uv import Bench
from builder.inside.hands import OTHER_VERSIONS, SOURCE_NEEDED, UV_FAILED
from builder.plan import Plan, Source

#: What a repository's own Dockerfile may ask for.
ARGUMENTS = {"NB_USER": USER, "NB_UID": "1000", "REPO_DIR": HOME}
#: uv's words where nothing but building from source would help.
_NEEDS_SOURCE = re.compile(
    r"building (from source|source distributions)[^.]*disabled|no usable wheels|marked as `--no-build`|"
    r"has no wheels|no binary distribution|no compatible wheel|doesn't have a .*wheel",
    re.IGNORECASE,
)


async def build_python(job: BuildJob, shop: Workshop, runtimes: Runtimes) -> None:
    """Make the environment image of a Python plan."""
    plan = job.plan
    runtime = await runtimes.get(plan.python, shop)
    short = plan.environment_key[:12]
    await shop.say(f"Building environment {short} with Python {plan.python} ({plan.python_reason})\n")
    facts = await _grown(job, shop, runtimes, runtime) if _needs_no_code(plan) else None
    if facts is None:
        context = shop.folder / "environment"
        await prepare(job, shop, runtimes, context)
        facts = await _install(job, shop, runtimes, context, runtime)
    await finish(job, shop, facts)


async def prepare(
    job: BuildJob, shop: Workshop, runtimes: Runtimes, context: Path, lock: str = "", lower: str | None = None
) -> None:
    """Write the context of a Python plan's environment; versions in `lock` are taken where nothing speaks against.

    With `lower`, the lock of another environment, it grows from that.
    """
    plan = job.plan
    folder = shop.settings.build.content_folder
    step = {
        "plan": plan.to_dict(),
        "python": runtimes.interpreter(plan.python),
        "target": ENVIRONMENT,
        "sources": folder if plan.needs_tree else "/mnt/bindery/files",
        "preferred": lock,
    }
    await asyncio.to_thread(write_context, context, step if lower is None else {**step, "lower": lower})
    await _bring_files(job, shop, context)


async def _grown(job: BuildJob, shop: Workshop, runtimes: Runtimes, runtime: str) -> dict[str, Any] | None:
    """What a plan's environment tells of itself that could be grown from another one; None where there is none."""
    grounds, wanted = await _wanted_ground(job, shop, runtime)
    ground = await asyncio.to_thread(grounds.best, wanted)
    if ground is None:
        return None
    found = await environment_info(shop.maker, ground.key)
    if found is None or found.joined:
        await asyncio.to_thread(grounds.drop, ground)
        return None
    await shop.say(f"Growing it from environment {ground.key[:12]}\n")
    context = shop.folder / "grown"
    await prepare(job, shop, runtimes, context, lower=found.lock)
    below = shop.maker.name(ENVIRONMENTS, ground.key)
    text = dockerfile(job, shop, runtimes, below, wheels_only=True, apt=())
    try:
        facts = environment_facts(await shop.try_build(text, context, shop.draft, reads=(FACTS,)))
    except StepFailed as problem:
        if f"exit code: {OTHER_VERSIONS}" in problem.words:
            await asyncio.to_thread(grounds.drop, ground)
        elif f"exit code: {UV_FAILED}" in problem.words and not _NEEDS_SOURCE.search(problem.output):
            raise meaning(problem) from problem
        await shop.say("That does not do: making it from nothing\n")
        return None
    await asyncio.to_thread(grounds.add, replace(wanted, depth=ground.depth + 1))
    return facts


async def _wanted_ground(job: BuildJob, shop: Workshop, runtime: str) -> tuple[Grounds, Ground]:
    tree = await job.listing(shop.settings.fetch)
    wanted = await asyncio.to_thread(wanted_ground, job.plan, tree, runtime)
    return Grounds(shop.cache / "grounds"), wanted


def _needs_no_code(plan: Plan) -> bool:
    """Whether wheels alone may do: nothing of the repository is installed."""
    return not (plan.needs_tree or any(step.source is Source.PROJECT for step in plan.installs))


async def build_dockerfile(job: BuildJob, shop: Workshop) -> None:
    """Build a repository's own Dockerfile as it is, with the whole repository as its context."""
    plan, context = job.plan, shop.folder / "content"
    await shop.say(f"Building {plan.files[0]}\n")
    await work_tree(job, shop, context).write(job.repo_url)
    tree = await job.listing(shop.settings.fetch)
    text = tree.read(plan.files[0], 1024 * 1024).decode(errors="replace")
    # Strangers' steps get no caches but their own.
    arguments = {**ARGUMENTS, "BUILDKIT_CACHE_MOUNT_NS": plan.environment_key}
    try:
        await shop.try_build(
            text, context, shop.draft, arguments=arguments, headings=True, secrets=False, cache=job.repo_url
        )
    except StepFailed as problem:
        raise _dockerfile_failed(plan.files[0], problem) from problem
    await finish(job, shop, {"lock": "", "joined": True})


def work_tree(job: BuildJob, shop: Workshop, path: Path) -> WorkTree:
    """The files of the job's commit, to be written at `path`."""
    bench = Bench(job.build_id, shop.root, shop.folder, no_sandbox("in an image's build"), shop.say, 0)
    return WorkTree(path, job.repository, job.commit, bench)


async def _bring_files(job: BuildJob, shop: Workshop, context: Path) -> None:
    plan = job.plan
    if plan.needs_tree:
        executables = [name for name in (plan.post_build, plan.start) if name]
        await work_tree(job, shop, context / "content").write(job.repo_url, executables)
        return
    tree = await job.listing(shop.settings.fetch)
    steps = tuple(path for step in plan.installs for path in step.paths)
    (context / "files").mkdir()
    await write_files(tree, (*plan.files, *steps), context / "files")


async def _install(job: BuildJob, shop: Workshop, runtimes: Runtimes, context: Path, runtime: str) -> dict[str, Any]:
    """Install wheels only, with the cache that all builds share; where that is not enough, run packages' own code.

    What a stranger's code can write to must never be installed from by others: such a build gets a cache of its own.
    """
    if _needs_no_code(job.plan):
        try:
            text = dockerfile(job, shop, runtimes, runtime, wheels_only=True)
            facts = environment_facts(await shop.try_build(text, context, shop.draft, reads=(FACTS,)))
            if not facts["joined"]:
                grounds, ground = await _wanted_ground(job, shop, runtime)
                await asyncio.to_thread(grounds.add, ground)
            return facts
        except StepFailed as problem:
            if f"exit code: {SOURCE_NEEDED}" not in problem.words and not _NEEDS_SOURCE.search(problem.output):
                raise meaning(problem) from problem
        await shop.say("Packages have to run code of their own: installing them apart from other repositories'\n")
    text = dockerfile(job, shop, runtimes, runtime, wheels_only=False)
    return environment_facts(await shop.build(text, context, shop.draft, reads=(FACTS,)))


def dockerfile(
    job: BuildJob,
    shop: Workshop,
    runtimes: Runtimes,
    runtime: str,
    *,
    wheels_only: bool,
    stage: str = "",
    apt: tuple[str, ...] | None = None,
) -> str:
    """A Python plan's packages on top of a runtime, with its system packages unless they are others."""
    plan = job.plan
    return render(
        "environment.j2",
        stage=stage,
        runtime=runtime,
        apt=plan.apt if apt is None else apt,
        apt_cache=shop.cache_name(runtimes.system),
        uv_cache=shop.cache_name("1000" if wheels_only else plan.environment_key),
        wheels_only=wheels_only,
        tree=plan.needs_tree,
        folder=shop.settings.build.content_folder,
    )


async def finish(job: BuildJob, shop: Workshop, facts: dict[str, object]) -> None:
    """Give a finished draft its labels and its name."""
    key = job.plan.environment_key
    labels = environment_labels(key, facts)
    if job.plan.needs_tree:
        labels = image_labels(job) | labels
    try:
        await shop.maker.label(shop.draft, shop.maker.name(ENVIRONMENTS, key), labels)
    finally:
        await asyncio.shield(shop.maker.untag(shop.draft))


def _dockerfile_failed(path: str, problem: StepFailed) -> BinderyError:
    reason = problem.words.splitlines()[-1] if problem.words else "a step failed"
    return InstallFailed(f"{path} cannot be built: {reason[:300]}")
