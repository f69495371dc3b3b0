"""An image that only a registry has is brought here before its session starts."""

from __future__ import annotations

import asyncio
import contextlib
import io
import secrets
import tarfile
from pathlib import Path

import pytest

from bindery.docker_api import DockerApi, EngineRefused
from bindery.errors import SessionFailed
from launcher.spawners.docker_images import Images
from registry.credentials import DockerConfig
from tests.support.docker import Engine, engine
from tests.support.registry import docker_config, running_registry


def push_small_image(docker: Engine, reference: str, folder: Path, config: Path) -> None:
    """Put an image of one file into a registry, and take it out of the engine."""
    with tarfile.open(folder / "root.tar", "w") as archive:
        content = secrets.token_bytes(1000)
        info = tarfile.TarInfo("file")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    docker.run("import", str(folder / "root.tar"), reference)
    docker.run("--config", str(config), "push", "--quiet", reference)
    docker.run("image", "rm", reference)


async def test_a_pulled_image_is_found(tmp_path: Path) -> None:
    async with running_registry(tmp_path, "basic") as registry, DockerApi(engine().host) as api:
        environment = docker_config(tmp_path / "config", [registry.host])
        reference = f"{registry.host}/team/small:{secrets.token_hex(4)}"
        await asyncio.to_thread(push_small_image, engine(), reference, tmp_path, tmp_path / "config")
        assert not engine().has_image(reference)
        try:
            found = await Images(api, DockerConfig(environment), pull_seconds=60).find(reference)
            assert reference in found["RepoTags"]
        finally:
            with contextlib.suppress(EngineRefused):
                await api.ask("DELETE", f"/images/{reference}")


async def test_what_the_registry_does_not_have_is_not_here_any_more(tmp_path: Path) -> None:
    async with running_registry(tmp_path) as registry, DockerApi(engine().host) as api:
        images = Images(api, DockerConfig({}), pull_seconds=60)
        with pytest.raises(SessionFailed, match="not here any more"):
            await images.find(f"{registry.host}/team/none:1")


async def test_a_registry_that_refuses_is_told_of(tmp_path: Path) -> None:
    async with running_registry(tmp_path, "basic") as registry, DockerApi(engine().host) as api:
        images = Images(api, DockerConfig({"HOME": str(tmp_path)}), pull_seconds=60)
        with pytest.raises(SessionFailed, match="could not be brought") as failed:
            await images.find(f"{registry.host}/team/small:1")
    assert "basic auth" in failed.value.hint


async def test_a_registry_that_is_down_is_told_of(tmp_path: Path) -> None:
    async with DockerApi(engine().host) as api:
        with pytest.raises(SessionFailed, match="could not be brought") as failed:
            await Images(api, DockerConfig({"HOME": str(tmp_path)}), pull_seconds=60).find("127.0.0.1:1/team/small:1")
    assert "refused" in failed.value.hint
