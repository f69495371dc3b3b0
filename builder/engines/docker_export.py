"""What makes a repository's image without us: one Dockerfile, and a context with a folder for each of its stages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from builder.engines.base import BuildJob
from builder.engines.content import without_login
from builder.engines.layered import content, environment, library
from builder.engines.layered.runtime import Runtimes
from builder.engines.layered.workshop import Workshop
from builder.plan import Kind

LOCK = "environment.lock"
RUNTIME, PYTHON, PACK, ENVIRONMENT, IMAGE = "runtime", "python", "pack", "environment", "image"

_HEADER = """\
# The image of {source}
# at {commit}. BuildKit builds it, which is Docker's own builder since version 23; older ones want DOCKER_BUILDKIT=1.
#
#   docker build -t NAME FOLDER
#   docker run -p 8888:8888 NAME
#
# Behind a proxy that changes certificates, or with a package index of your own, add these to docker build:
#   --secret id=bindery-ca,src=CERTIFICATES.pem
#   --secret id=bindery-settings,src=FILE     with lines such as UV_DEFAULT_INDEX=https://index.example.org/simple

"""


@dataclass(frozen=True)
class Exported:
    """What `docker build` needs to know beside the folder: where in it the Dockerfile is, and build arguments."""

    dockerfile: str = "Dockerfile"
    arguments: Mapping[str, str] = field(default_factory=dict)


async def export(job: BuildJob, shop: Workshop, runtimes: Runtimes, lock: str) -> Exported:
    """Make the shop's folder a context with a Dockerfile. A repository's own Dockerfile stays as it is.

    `lock`: what an environment that was built of this plan has, or "".
    """
    kind = job.plan.kind
    if kind is Kind.DOCKERFILE:
        await environment.work_tree(job, shop, shop.folder).write(job.repo_url)
        return Exported(job.plan.files[0], environment.ARGUMENTS)
    if kind in library.KINDS:
        stages = await _of_library(job, shop, runtimes)
    else:
        stages = await _of_python(job, shop, runtimes, lock)
    header = _HEADER.format(source=_line(without_login(job.repo_url)), commit=job.commit)
    files = {"Dockerfile": header + "\n".join(stages), **({LOCK: lock} if lock else {})}
    for name, text in files.items():
        await asyncio.to_thread((shop.folder / name).write_text, text, encoding="utf-8")
    return Exported()


async def _of_python(job: BuildJob, shop: Workshop, runtimes: Runtimes, lock: str) -> list[str]:
    plan, folder, below = job.plan, shop.folder, RUNTIME
    parts = [await runtimes.prepare_base(shop, folder / RUNTIME, stage=RUNTIME)]
    if plan.python != runtimes.system_python:
        below = PYTHON
        parts.append(await runtimes.prepare_python(plan.python, RUNTIME, shop, folder / PYTHON, stage=PYTHON))
    await environment.prepare(job, shop, runtimes, folder / ENVIRONMENT, lock)
    # The cache is this image's own, so packages may run code of theirs.
    packages = environment.dockerfile(job, shop, runtimes, below, wheels_only=False, stage=ENVIRONMENT)
    same, place = plan.needs_tree, folder / IMAGE
    image = await content.prepare(job, shop, runtimes, ENVIRONMENT, place, same=same, stage=IMAGE)
    return [*parts, packages, image]


async def _of_library(job: BuildJob, shop: Workshop, runtimes: Runtimes) -> list[str]:
    steps = await library.read_steps(job, shop)
    await asyncio.to_thread(library.write_pack, steps, shop.folder / PACK)
    await library.write_environment(job, shop, steps, shop.folder / ENVIRONMENT)
    same = job.plan.needs_tree
    await library.write_content(job, shop, shop.folder / IMAGE, same=same)
    return [
        library.pack_dockerfile(shop, runtimes, steps, stage=PACK),
        library.environment_dockerfile(job, shop, runtimes, steps, PACK, stage=ENVIRONMENT),
        library.content_dockerfile(job, shop, steps, ENVIRONMENT, same=same, stage=IMAGE),
    ]


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
