"""Composed images: what is in them, what they cost, and a second opinion."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bindery.errors import ImageNotFound, RegistryBroken
from registry.client import RegistryClient, open_client
from registry.compose import ConfigChanges, compose
from registry.compression import Compression
from registry.manifests import DOCKER_MANIFEST, OCI_MANIFEST, Manifest
from registry.names import Reference, Repository
from tests.support.images import QUICK, layer_of, push_image, skopeo
from tests.support.registry import Registry, running_registry
from tests.support.registry_faults import faulty

BASE_CONFIG = {"Env": ["PATH=/usr/bin", "A=1"], "Labels": {"kept": "yes"}, "Cmd": ["sh"], "User": "root"}
CHANGES = ConfigChanges(
    labels={"repository": 'https://example.org/"x"'},
    env={"A": "2", "B": "=3"},
    workdir="/home/jovyan",
    user="1000",
    entrypoint=("/start",),
    created="2026-01-02T03:04:05Z",
    created_by="a commit",
)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    (tmp_path / "registry").mkdir()
    async with running_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with open_client(QUICK) as opened:
        yield opened


async def _base(tmp_path: Path, registry: Registry, client: RegistryClient, **options: Any) -> Reference:
    reference = Reference.parse(f"{registry.host}/runtime/base:1")
    await push_image(client, reference, [layer_of(tmp_path, "base", {"base.txt": "base"})], BASE_CONFIG, **options)
    return reference


def _config(reference: Reference) -> dict[str, Any]:
    return dict(json.loads(skopeo("inspect", "--config", "--tls-verify=false", f"docker://{reference}")))


@pytest.mark.parametrize("docker", [False, True])
async def test_a_composed_image_says_what_it_should(
    tmp_path: Path, registry: Registry, client: RegistryClient, docker: bool
) -> None:
    base = await _base(tmp_path, registry, client, docker=docker)
    target = Reference.parse(f"{registry.host}/team/img:abc")
    layer = layer_of(tmp_path, "content", {"notebook.ipynb": "{}"})
    composed = await compose(client, base, target, [layer], CHANGES)
    below, made = _config(base), _config(target)
    assert made["config"] == {
        "Env": ["PATH=/usr/bin", "A=2", "B==3"],
        "Labels": {"kept": "yes", "repository": 'https://example.org/"x"'},
        "Cmd": ["sh"],
        "User": "1000",
        "WorkingDir": "/home/jovyan",
        "Entrypoint": ["/start"],
    }
    assert made["rootfs"]["diff_ids"] == [*below["rootfs"]["diff_ids"], layer.diff_id]
    assert made["history"] == [*below["history"], {"created": CHANGES.created, "created_by": "a commit"}]
    manifest = await client.manifest(target)
    assert manifest.media_type == (DOCKER_MANIFEST if docker else OCI_MANIFEST)
    assert (composed.digest, composed.size) == (manifest.digest, manifest.size)
    assert composed.uploaded == layer.size + manifest.config.size + len(manifest.raw)


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("docker", [False, True])
async def test_others_can_unpack_it(
    tmp_path: Path, registry: Registry, client: RegistryClient, docker: bool, compression: Compression
) -> None:
    if compression is Compression.ZSTD:
        pytest.importorskip("backports.zstd")
    base = await _base(tmp_path, registry, client, docker=docker)
    target = Reference.parse(f"{registry.host}/team/img:abc")
    layer = layer_of(tmp_path, "content", {"notebook.ipynb": "{}"}, compression)
    await compose(client, base, target, [layer], CHANGES)
    source = f"docker://{target}"
    skopeo("copy", "--src-tls-verify=false", source, f"dir:{tmp_path / 'dir'}")
    skopeo("copy", "--src-tls-verify=false", "--dest-decompress", source, f"dir:{tmp_path / 'plain'}")
    assert (tmp_path / "plain" / layer.diff_id.partition(":")[2]).stat().st_size == layer.tar_size


async def test_asking_again_sends_nothing_twice(tmp_path: Path, registry: Registry, client: RegistryClient) -> None:
    base = await _base(tmp_path, registry, client)
    layer = layer_of(tmp_path, "content", {"a": "1"})
    first, second = [
        await compose(client, base, Reference.parse(f"{registry.host}/team/img:{tag}"), [layer], CHANGES)
        for tag in ("1", "2")
    ]
    assert (first.digest, second.uploaded) == (second.digest, len((await client.manifest(second.reference)).raw))


async def test_nothing_of_the_base_is_pulled(tmp_path: Path, registry: Registry) -> None:
    async with faulty(registry) as proxy, open_client(QUICK) as client:
        base = Reference(Repository(proxy.host, "runtime/base"), "1")
        stored = await push_image(client, base, [layer_of(tmp_path, "base", {"base.txt": "base"})])
        proxy.seen.clear()
        layer = layer_of(tmp_path, "content", {"a": "1"})
        await compose(client, base, Reference(Repository(proxy.host, "team/img"), "1"), [layer], CHANGES)
        read = [path.partition("/v2/")[2] for method, path in proxy.seen if method == "GET"]
        last = proxy.seen[-1]
    assert read == ["runtime/base/manifests/1", f"runtime/base/blobs/{stored.config.digest}"]
    assert last == ("PUT", "/v2/team/img/manifests/1")


async def test_an_image_goes_to_another_registry(tmp_path: Path, registry: Registry, client: RegistryClient) -> None:
    base = await _base(tmp_path, registry, client)
    (tmp_path / "other").mkdir()
    async with running_registry(tmp_path / "other") as other:
        target = Reference.parse(f"{other.host}/team/img:1")
        await compose(client, base, target, [layer_of(tmp_path, "content", {"a": "1"})], CHANGES)
        skopeo("copy", "--src-tls-verify=false", f"docker://{target}", f"dir:{tmp_path / 'dir'}")


async def test_several_layers_and_none(tmp_path: Path, registry: Registry, client: RegistryClient) -> None:
    base = await _base(tmp_path, registry, client)
    layers = [layer_of(tmp_path, name, {name: name}) for name in ("one", "two")]
    for tag, added in (("2", layers), ("0", [])):
        target = Reference.parse(f"{registry.host}/team/img:{tag}")
        await compose(client, base, target, added, CHANGES)
        config = _config(target)
        assert len(config["rootfs"]["diff_ids"]) == 1 + len(added)
        assert sum(not item.get("empty_layer") for item in config["history"]) == 1 + len(added)


async def test_a_base_without_history_gets_one(tmp_path: Path, registry: Registry, client: RegistryClient) -> None:
    base = await _base(tmp_path, registry, client, history=False)
    target = Reference.parse(f"{registry.host}/team/img:1")
    await compose(client, base, target, [layer_of(tmp_path, "content", {"a": "1"})], CHANGES)
    assert len(_config(target)["history"]) == 2


async def test_a_base_that_is_not_there_is_named(registry: Registry, client: RegistryClient, tmp_path: Path) -> None:
    base, target = (Reference.parse(f"{registry.host}/{name}:1") for name in ("never/there", "team/img"))
    with pytest.raises(ImageNotFound, match="never/there"):
        await compose(client, base, target, [layer_of(tmp_path, "content", {"a": "1"})], CHANGES)


async def test_a_base_whose_parts_do_not_fit_is_refused(
    tmp_path: Path, registry: Registry, client: RegistryClient
) -> None:
    base = Reference.parse(f"{registry.host}/runtime/odd:1")
    await push_image(client, base, [layer_of(tmp_path, "base", {"a": "1"})])
    odd = json.loads((await client.manifest(base)).raw)
    odd["layers"] *= 2
    await client.put_manifest(base, Manifest.write(odd))
    with pytest.raises(RegistryBroken):
        await compose(client, base, Reference.parse(f"{registry.host}/team/img:1"), [], CHANGES)
