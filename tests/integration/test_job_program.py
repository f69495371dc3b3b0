"""The program of a build's Job, run as a Job runs it, with the Docker Engine as its back end."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bindery.process import run_lines
from bindery.settings import BuildBackEnd
from builder.engines.job_context import upload_context
from builder.job.order import LOGINS, ORDER, SECRET_PREFIX, Order
from builder.job.records import Reason, Record, Verdict
from registry.client import ClientSettings, RegistryClient, open_client
from registry.credentials import DockerConfig
from registry.names import Reference
from tests.support import docker
from tests.support.registry import Registry, docker_config, running_registry

_SECONDS = 240.0


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    (tmp_path / "registry").mkdir()
    async with running_registry(tmp_path / "registry", "basic") as found:
        yield found


@pytest.fixture
async def client(registry: Registry, tmp_path: Path) -> AsyncIterator[RegistryClient]:
    logins = DockerConfig(docker_config(tmp_path / "docker", [registry.host]))
    async with open_client(ClientSettings.of(), logins) as found:
        yield found


def place(order: Order, folder: Path, logins: dict[str, object]) -> Path:
    """Write what a Job's Secret has; returns where the Job may write."""
    folder.mkdir()
    (folder / ORDER).write_text(order.to_json())
    (folder / LOGINS).write_text(json.dumps(logins))
    (folder / f"{SECRET_PREFIX}word").write_text("sesame")
    work = folder.parent / "work"
    work.mkdir()
    return work


async def carried_out(order: Order, folder: Path, logins: dict[str, object]) -> tuple[list[str], Verdict]:
    """What the program says, and its verdict."""
    work = place(order, folder, logins)
    records: list[Record] = []

    def read(line: str) -> None:
        if record := Record.decode(line):
            records.append(record)

    environment = {**docker.engine().environment, "BINDERY_JOB_WORK": str(work)}
    code = await run_lines(
        [sys.executable, "-m", "builder.job", folder], env=environment, timeout_seconds=_SECONDS, on_line=read
    )
    assert not any(work.iterdir())
    assert [record.number for record in records] == list(range(1, len(records) + 1))
    last = records[-1].verdict
    assert last is not None
    assert (code == 0) == (last.reason is None)
    return [record.text for record in records[:-1]], last


async def ordered(client: RegistryClient, registry: Registry, folder: Path, step: str) -> Order:
    """An order for a Dockerfile with this step."""
    context = folder / "context"
    context.mkdir()
    (context / "made").write_text("brought along")
    dockerfile = folder / "Dockerfile"
    mount = "--mount=type=secret,id=word --mount=type=bind,target=/mnt/context"
    dockerfile.write_text(f"FROM {docker.os_image()}\nCOPY made /srv/\nRUN {mount} echo {uuid.uuid4()} && {step}\n")
    name = f"{registry.host}/team/bindery-context:{uuid.uuid4().hex}"
    await upload_context(client, Reference.parse(name), dockerfile, context)
    return Order(
        context=name,
        target=f"{registry.host}/team/image:{os.getpid()}",
        back_end=BuildBackEnd.DOCKER,
        address=docker.engine().host,
        reads=("/srv/told", "/srv/made", "/srv/none"),
        labels={"bindery.version": "of a test"},
        timeout_seconds=_SECONDS,
    )


async def test_it_builds_pushes_and_tells_what_the_image_says(
    client: RegistryClient, registry: Registry, tmp_path: Path
) -> None:
    step = "cat /run/secrets/word >/srv/told && cat /mnt/context/made && echo"
    order = await ordered(client, registry, tmp_path, step)
    logins = json.loads((tmp_path / "docker" / "config.json").read_text())
    said, verdict = await carried_out(order, tmp_path / "order", logins)
    assert verdict.reason is None, verdict
    assert verdict.files == {"/srv/told": b"sesame", "/srv/made": b"brought along"}
    assert "brought along\n" in said
    manifest = await client.image(Reference.parse(order.target), "amd64")
    config = json.loads(await client.blob(Reference.parse(order.target).repository, manifest.config))
    assert config["config"]["Labels"]["bindery.version"] == "of a test"
    assert not docker.engine().has_image(order.target)


async def test_what_fails_is_told_with_its_words(client: RegistryClient, registry: Registry, tmp_path: Path) -> None:
    order = await ordered(client, registry, tmp_path, "echo this is why && exit 7")
    logins = json.loads((tmp_path / "docker" / "config.json").read_text())
    said, verdict = await carried_out(order, tmp_path / "order", logins)
    assert verdict.reason is Reason.STEP
    assert "exit code: 7" in verdict.words
    assert "this is why\n" in said
    assert await client.head(Reference.parse(order.target)) is None


async def test_a_login_that_is_refused_is_no_fault_of_the_repository(
    client: RegistryClient, registry: Registry, tmp_path: Path
) -> None:
    order = await ordered(client, registry, tmp_path, "true")
    _, verdict = await carried_out(order, tmp_path / "order", {"auths": {}})
    assert verdict.reason is Reason.REGISTRY
    assert "no login" in verdict.words


async def test_an_engine_that_is_not_there_is_named(client: RegistryClient, registry: Registry, tmp_path: Path) -> None:
    order = await ordered(client, registry, tmp_path, "true")
    away = Order(**{**order.__dict__, "address": "unix:///nowhere/docker.sock"})
    logins = json.loads((tmp_path / "docker" / "config.json").read_text())
    _, verdict = await carried_out(away, tmp_path / "order", logins)
    assert verdict.reason is Reason.TOOL
    assert "does not answer" in verdict.words
