"""The image of one commit: an environment, the repository's files, and what postBuild does to them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bindery.errors import PostBuildFailed
from builder.dockerfile import render
from builder.engines.base import BuildJob
from builder.engines.layered.context import write_context
from builder.engines.layered.environment import work_tree
from builder.engines.layered.images import ENVIRONMENT, ENVIRONMENTS, REVISION, SOURCE, image_labels
from builder.engines.layered.making import StepFailed
from builder.engines.layered.runtime import Runtimes
from builder.engines.layered.workshop import Workshop, meaning
from builder.inside.program import POST_BUILD_FAILED
from builder.plan import Kind


async def build(job: BuildJob, shop: Workshop, runtimes: Runtimes) -> None:
    """Make the image of a commit whose environment is there."""
    environment = shop.maker.name(ENVIRONMENTS, job.plan.environment_key)
    if job.plan.kind is Kind.DOCKERFILE:
        await shop.maker.label(environment, job.image, image_labels(job))
        return
    context = shop.folder / "image"
    await asyncio.to_thread(context.mkdir)
    same = job.plan.needs_tree and await has_commit(job, shop, environment)
    text = await prepare(job, shop, runtimes, environment, context, same=same)
    if job.plan.post_build:
        await shop.say(f"Running {job.plan.post_build}\n")
    try:
        await shop.try_build(text, context, job.image, login=False)
    except StepFailed as problem:
        raise failure(job, problem) from problem


async def prepare(
    job: BuildJob,
    shop: Workshop,
    runtimes: Runtimes,
    environment: str,
    context: Path,
    *,
    same: bool,
    stage: str = "",
) -> str:
    """Write the context; return the Dockerfile. `same`: the environment has the commit's files already."""
    plan, folder = job.plan, shop.settings.build.content_folder
    if not same:
        await shop.say(f"Adding the repository's files at {job.commit[:12]}\n")
        executables = [name for name in (plan.post_build, plan.start) if name]
        await work_tree(job, shop, context / "content").write(job.repo_url, executables)
    if plan.post_build:
        step = {
            "python": runtimes.interpreter(plan.python),
            "target": ENVIRONMENT,
            "sources": folder,
            "script": plan.post_build,
        }
        await asyncio.to_thread(write_context, context, step)
    return render(
        "content.j2",
        stage=stage,
        environment=environment,
        copy=not same,
        forget_git=plan.needs_tree and not same,
        folder=folder,
        start=f"{folder}/{plan.start}" if plan.start else None,
        post_build=plan.post_build,
        labels=image_labels(job),
    )


async def has_commit(job: BuildJob, shop: Workshop, environment: str) -> bool:
    """Whether an environment that was made from a whole tree was made from this very commit."""
    found = await shop.maker.image(environment)
    wanted = image_labels(job)
    return found is not None and all(found.labels.get(name) == wanted[name] for name in (SOURCE, REVISION))


def failure(job: BuildJob, problem: StepFailed) -> Exception:
    if job.plan.post_build and f"exit code: {POST_BUILD_FAILED}" in problem.words:
        said = problem.output.strip().splitlines()
        ended = next((line for line in reversed(said) if line.startswith(f"{job.plan.post_build} ended with")), "")
        return PostBuildFailed(ended or f"{job.plan.post_build} failed.")
    return meaning(problem)
