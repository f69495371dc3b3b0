"""One order carried out: context, build, files, push; and what a failure means."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tarfile
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

from bindery.errors import BinderyError, BuildTimedOut, DiskFull, RegistryFull, ToolMissing
from bindery.settings import BuildBackEnd
from builder.engines.layered.making import NO_SPACE, StepFailed
from builder.job import memory
from builder.job.back_end import BackEnd, PushFailed, Say, Site
from builder.job.buildah import Buildah
from builder.job.buildkit import BuildKit
from builder.job.cache import Turn, used
from builder.job.docker_socket import DockerSocket
from builder.job.order import AUTHORITIES, CONTEXT, DOCKERFILE, ORDER, SECRET_PREFIX, Order
from builder.job.records import Reason, Verdict
from registry.client import ClientSettings, RegistryClient, open_client
from registry.credentials import DockerConfig
from registry.names import Reference

#: Where a Job may write; a volume of its own is mounted there.
_WORK = "BINDERY_JOB_WORK"
#: A folder of the node that outlasts it.
_CACHE = "BINDERY_JOB_CACHE"
_REASONS = (
    ((BuildTimedOut,), Reason.TIME),
    ((DiskFull, RegistryFull), Reason.DISK),
    ((ToolMissing,), Reason.TOOL),
    ((BinderyError, PushFailed), Reason.REGISTRY),
)


def back_end(order: Order) -> BackEnd:
    """Who carries out this order."""
    makers: Mapping[BuildBackEnd, BackEnd] = {
        BuildBackEnd.BUILDAH: Buildah(),
        BuildBackEnd.BUILDKIT: BuildKit(),
        BuildBackEnd.DOCKER: DockerSocket(),
    }
    return makers[order.back_end]


async def carry_out(folder: Path, say: Say) -> Verdict:
    """Carry out the order of a folder; whatever happens, the verdict tells it."""
    before = memory.kills()
    work = Path(tempfile.mkdtemp(prefix="job-", dir=os.environ.get(_WORK)))
    try:
        order = Order.from_json(await asyncio.to_thread((folder / ORDER).read_text, encoding="utf-8"))
        with _turn() as turn:
            return Verdict(files=await _carry_out(order, folder, work, turn, say))
    except StepFailed as problem:
        if memory.kills() > before:
            return Verdict(Reason.MEMORY, _memory_words(), problem.output)
        return Verdict(Reason.STEP, str(problem), problem.output)
    except Exception as error:
        return _verdict(error)
    finally:
        # Layers of Buildah belong to other users of its namespace: what cannot be removed goes with the pod.
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)


async def _carry_out(order: Order, folder: Path, work: Path, turn: Turn | None, say: Say) -> Mapping[str, bytes]:
    await _bring_context(order, folder, work)
    site = Site(
        work=work,
        context=work / CONTEXT,
        dockerfile=work / DOCKERFILE,
        secrets=await asyncio.to_thread(_secrets, folder),
        logins=folder,
        environment=_environment(folder),
        turn=turn,
    )
    builder = back_end(order)
    await builder.build(order, site, say)
    found = {path: await builder.read(order, site, path) for path in order.reads}
    await say(f"Pushing {Reference.parse(order.target).repository}\n")
    await builder.push(order, site, say)
    return {path: data for path, data in found.items() if data is not None}


def _turn() -> contextlib.AbstractContextManager[Turn | None]:
    folder = os.environ.get(_CACHE)
    return used(Path(folder)) if folder else contextlib.nullcontext()


def _environment(folder: Path) -> dict[str, str]:
    """Programs trust the site's authorities when they speak to registries."""
    authorities = folder / AUTHORITIES
    return {**os.environ, **({"SSL_CERT_FILE": str(authorities)} if authorities.exists() else {})}


def _secrets(folder: Path) -> dict[str, Path]:
    return {path.name.removeprefix(SECRET_PREFIX): path for path in sorted(folder.glob(f"{SECRET_PREFIX}*"))}


async def _bring_context(order: Order, folder: Path, work: Path) -> None:
    authorities = folder / AUTHORITIES
    bundle = authorities if await asyncio.to_thread(authorities.exists) else None
    settings = ClientSettings.of(plain_http=order.plain_http, ca_bundle=bundle)
    reference = Reference.parse(order.reached(order.context))
    logins = DockerConfig({"DOCKER_CONFIG": str(folder)})
    path = work / "context.tar.gz"
    async with open_client(settings, logins) as client:
        await _download(client, reference, path)
    await asyncio.to_thread(_unpack, path, work)


async def _download(client: RegistryClient, reference: Reference, path: Path) -> None:
    manifest = await client.manifest(reference)
    with path.open("wb") as file:
        async with contextlib.aclosing(client.stream_blob(reference.repository, manifest.layers[0])) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)


def _unpack(path: Path, work: Path) -> None:
    """What the worker has packed: only files, folders and links of one work tree, each below `work`."""
    with tarfile.open(path) as archive:
        for member in archive:
            place = (work / member.name).resolve()
            if not place.is_relative_to(work.resolve()):
                raise tarfile.TarError(f"{member.name!r} leads out of the context")
            archive.extract(member, work, set_attrs=True, numeric_owner=True)
    path.unlink()
    (work / CONTEXT).mkdir(exist_ok=True)


def _verdict(error: Exception) -> Verdict:
    words = error.message if isinstance(error, BinderyError) else str(error)
    if isinstance(error, OSError) and NO_SPACE.search(words):
        return Verdict(Reason.DISK, "The build's node has no space left.")
    for kinds, reason in _REASONS:
        if isinstance(error, kinds):
            return Verdict(reason, words)
    return Verdict(Reason.INTERNAL, words, "".join(traceback.format_exception(error)))


def _memory_words() -> str:
    limit = memory.limit()
    amount = "" if limit is None else f" of {limit / 2**20:.0f} MiB"
    return f"The build used up its memory{amount}, so a program in it was ended."
