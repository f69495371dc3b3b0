"""Composed images under a real Docker Engine."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from registry.client import open_client
from registry.compose import ConfigChanges, compose
from registry.compression import Compression
from registry.folder import folder_items
from registry.layer import LayerSettings, Part, make_layer
from registry.names import Reference
from tests.support.docker import engine, os_image
from tests.support.images import QUICK
from tests.support.registry import running_registry

_LOOK = "id -u; pwd; echo $GREETING; stat -c '%u %a %n' . folder run; cat folder/* link; ./run; touch mine"


@pytest.mark.parametrize("compression", Compression)
async def test_docker_pulls_and_runs_it(tmp_path: Path, compression: Compression) -> None:
    if compression is Compression.ZSTD:
        pytest.importorskip("backports.zstd")
        if int((await asyncio.to_thread(engine)).run("version", "--format", "{{.Server.Version}}").split(".")[0]) < 23:
            pytest.skip("Docker reads zstd from version 23 on")
    await asyncio.to_thread(_tree, tmp_path / "tree")
    docker = await asyncio.to_thread(engine)
    base_name = await asyncio.to_thread(os_image)
    run = partial(asyncio.to_thread, docker.run)
    async with running_registry(tmp_path) as registry, open_client(QUICK) as client:
        base = Reference.parse(f"{registry.host}/runtime/base:1")
        target = Reference.parse(f"{registry.host}/team/img:1")
        await run("tag", base_name, str(base))
        try:
            await run("push", str(base))
            files = [Part("home/jovyan", folder_items(tmp_path / "tree"))]
            layer = await make_layer(files, tmp_path / "layer", LayerSettings(compression=compression))
            changes = ConfigChanges(env={"GREETING": "hello"}, workdir="/home/jovyan", user="1000", labels={"a": "b"})
            composed = await compose(client, base, target, [layer], changes)
            await run("pull", "--quiet", str(target))
            said = await run("run", "--rm", "--network=none", str(target), "sh", "-c", _LOOK)
            assert said.splitlines() == [
                "1000",
                "/home/jovyan",
                "hello",
                "1000 755 .",
                "1000 755 folder",
                "1000 755 run",
                "a file",
                "a file",
                "it runs",
            ]
            assert composed.digest in await run("image", "inspect", "--format", "{{.RepoDigests}}", str(target))
            assert len((await run("history", "--quiet", str(target))).splitlines()) > 1
        finally:
            await run("image", "rm", str(base))
            if await asyncio.to_thread(docker.has_image, str(target)):
                await run("image", "rm", str(target))


def _tree(folder: Path) -> None:
    (folder / "folder").mkdir(parents=True)
    (folder / "folder" / "file").write_text("a file\n")
    (folder / "link").symlink_to("folder/file")
    (folder / "run").write_text("#!/bin/sh\necho it runs\n")
    (folder / "run").chmod(0o755)
