"""Composed images under a real Docker Engine, and on a real node of a cluster."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pytest

from bindery.cluster import Cluster
from registry.client import ClientSettings, open_client
from registry.compose import Composed, ConfigChanges, compose
from registry.compression import Compression
from registry.folder import folder_items
from registry.layer import LayerSettings, Part, make_layer
from registry.names import Reference
from tests.support.cluster import cluster, cluster_registry
from tests.support.cluster_images import published
from tests.support.docker import engine, os_image
from tests.support.registry import running_registry
from tests.support.wait import until

_LOOK = "id -u; pwd; echo $GREETING; stat -c '%u %a %n' . folder run; cat folder/* link; ./run; touch mine"
_SEEN = [
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


async def test_docker_pulls_and_runs_it(tmp_path: Path) -> None:
    docker = await asyncio.to_thread(engine)
    base_name = await asyncio.to_thread(os_image)
    run = partial(asyncio.to_thread, docker.run)
    async with running_registry(tmp_path) as registry:
        base = Reference.parse(f"{registry.host}/runtime/base:1")
        target = Reference.parse(f"{registry.host}/team/img:1")
        await run("tag", base_name, str(base))
        try:
            await run("push", str(base))
            composed = await _composed(tmp_path, base, target, Compression.GZIP)
            await run("pull", "--quiet", str(target))
            said = await run("run", "--rm", "--network=none", str(target), "sh", "-c", _LOOK)
            assert said.splitlines() == _SEEN
            assert composed.digest in await run("image", "inspect", "--format", "{{.RepoDigests}}", str(target))
            assert len((await run("history", "--quiet", str(target))).splitlines()) > 1
        finally:
            await run("image", "rm", str(base))
            if await asyncio.to_thread(docker.has_image, str(target)):
                await run("image", "rm", str(target))


@pytest.mark.parametrize("compression", Compression)
async def test_a_node_pulls_and_runs_it(tmp_path: Path, compression: Compression) -> None:
    if compression is Compression.ZSTD:
        pytest.importorskip("backports.zstd")
    base = Reference.parse(await asyncio.to_thread(lambda: published(os_image())))
    target = Reference.parse(f"{cluster_registry()}/team/img:{secrets.token_hex(4)}")
    await _composed(tmp_path, base, target, compression)
    async with Cluster(cluster().settings()) as api:
        pod = api.path("pods", name := f"composed-{secrets.token_hex(3)}")
        container = {"name": "it", "image": str(target), "command": ["sh", "-c", _LOOK]}
        spec = {"restartPolicy": "Never", "containers": [container]}
        await api.ask("POST", api.path("pods"), body={"metadata": {"name": name}, "spec": spec})

        async def is_over() -> bool:
            return (await api.ask("GET", pod))["status"]["phase"] in {"Succeeded", "Failed"}

        await until(is_over, 60, "the pod has ended")
        async with aclosing(api.lines(f"{pod}/log", query={}, silent_seconds=10)) as lines:
            assert [line.decode().rstrip() async for line in lines] == _SEEN


async def _composed(folder: Path, base: Reference, target: Reference, compression: Compression) -> Composed:
    await asyncio.to_thread(_tree, folder / "tree")
    files = [Part("home/jovyan", folder_items(folder / "tree"))]
    layer = await make_layer(files, folder / "layer", LayerSettings(compression=compression))
    changes = ConfigChanges(env={"GREETING": "hello"}, workdir="/home/jovyan", user="1000", labels={"a": "b"})
    async with open_client(ClientSettings.of(plain_http={target.repository.host})) as client:
        return await compose(client, base, target, [layer], changes)


def _tree(folder: Path) -> None:
    (folder / "folder").mkdir(parents=True)
    (folder / "folder" / "file").write_text("a file\n")
    (folder / "link").symlink_to("folder/file")
    (folder / "run").write_text("#!/bin/sh\necho it runs\n")
    (folder / "run").chmod(0o755)
