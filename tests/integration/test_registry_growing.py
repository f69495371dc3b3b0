"""A layer that is sent while it is made: it is there at the end, or nothing of it."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bindery.errors import LayerRefused, RegistryRefused, RegistryUnreachable
from registry.client import open_client
from registry.compose import ConfigChanges, bring_base, make_and_send, put_config, put_on
from registry.growing import Growing
from registry.layer import Item, Layer, LayerSettings, Part
from registry.names import Reference, Repository
from registry.tar import Kind
from tests.support.images import QUICK, layer_of, push_image, skopeo
from tests.support.registry import Registry, running_registry
from tests.support.registry_faults import (
    Fault,
    RegistryBreaksUpload,
    RegistryFails,
    RegistryRefusesPush,
    RegistryTooBusy,
    faulty,
)

NOISE = random.Random(1).randbytes(900_000)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    (tmp_path / "registry").mkdir()
    async with running_registry(tmp_path / "registry") as running:
        yield running


def content(*pieces: bytes, size: int | None = None) -> list[Part]:
    whole = sum(map(len, pieces)) if size is None else size
    return [Part("home", lambda: iter([Item(b"data.bin", Kind.FILE, 0o644, whole, read=lambda: pieces)]))]


async def test_all_of_it_is_there_before_it_is_asked_for(tmp_path: Path, registry: Registry) -> None:
    async with faulty(registry) as proxy, open_client(QUICK) as client:
        repository = Repository(proxy.host, "img")
        layer, sent = await make_and_send(client, repository, content(NOISE), tmp_path / "layer", LayerSettings())
        assert sent
        assert await client.has_blob(repository, layer.digest)
    writes = [method for method, path in proxy.seen if "/uploads/" in path]
    assert writes == ["POST", "PATCH", "PUT"]
    assert registry.unfinished_uploads() == []


@pytest.mark.parametrize(
    "fault",
    [
        RegistryRefusesPush("chunk"),
        RegistryTooBusy(1, writes="begin"),
        RegistryTooBusy(1, writes="chunk"),
        RegistryTooBusy(1, writes="blob"),
        RegistryFails("chunk", 1),
        RegistryFails("blob", 1),
        RegistryBreaksUpload("chunk", 1, kept=0.3),
        RegistryBreaksUpload("blob", 1, kept=None),
    ],
    ids=lambda value: str(value).replace("Registry", ""),
)
async def test_what_fails_on_the_way_is_sent_afterwards(tmp_path: Path, registry: Registry, fault: Fault) -> None:
    async with open_client(QUICK) as client:
        base = Reference.parse(f"{registry.host}/base:1")
        await push_image(client, base, [layer_of(tmp_path, "base", {"base.txt": "base"})])
        async with faulty(registry, fault) as proxy:
            target = Reference(Repository(proxy.host, "img"), "1")
            through = Reference(Repository(proxy.host, "base"), "1")
            brought = await bring_base(client, through, target, "amd64")
            place = tmp_path / "layer"
            layer, _ = await make_and_send(client, target.repository, content(NOISE), place, LayerSettings())
            await put_on(client, brought, target, [layer], ConfigChanges())
    skopeo("copy", "--src-tls-verify=false", f"docker://{registry.host}/img:1", f"dir:{tmp_path / 'copied'}")
    assert hashlib.sha256((tmp_path / "copied" / layer.digest[7:]).read_bytes()).hexdigest() == layer.digest[7:]


async def test_the_configuration_goes_beside_the_layer(tmp_path: Path, registry: Registry) -> None:
    async with open_client(QUICK) as client:
        base, target = Reference.parse(f"{registry.host}/base:1"), Reference.parse(f"{registry.host}/img:1")
        await push_image(client, base, [layer_of(tmp_path, "base", {"base.txt": "base"})])
        brought = await bring_base(client, base, target, "amd64")

        async def configured(layer: Layer) -> int:
            return await put_config(client, brought, target, [layer], ConfigChanges())

        place, settings = tmp_path / "layer", LayerSettings()
        layer, sent = await make_and_send(client, target.repository, content(NOISE), place, settings, configured)
        assert await client.head(target) is None
        done = await put_on(client, brought, target, [layer], ConfigChanges())
        manifest = await client.manifest(target)
    assert done.config_digest == manifest.config.digest
    assert sent == layer.size + manifest.config.size
    assert done.uploaded == len(manifest.raw)


async def test_what_fails_beside_ends_it(tmp_path: Path, registry: Registry) -> None:
    async def refused(layer: Layer) -> int:
        raise RegistryRefused(f"not {layer.digest}")

    async with open_client(QUICK) as client:
        repository, place = Repository(registry.host, "img"), tmp_path / "layer"
        with pytest.raises(RegistryRefused):
            await make_and_send(client, repository, content(NOISE), place, LayerSettings(), refused)
    assert registry.unfinished_uploads() == []


async def test_a_layer_that_cannot_be_made_leaves_nothing(tmp_path: Path, registry: Registry) -> None:
    async with open_client(QUICK) as client:
        repository = Repository(registry.host, "img")
        with pytest.raises(LayerRefused):
            await make_and_send(client, repository, content(NOISE, size=9_000_000), tmp_path / "layer", LayerSettings())
    assert registry.unfinished_uploads() == []
    assert not (tmp_path / "layer").exists()


async def test_a_registry_that_is_away_does_not_keep_a_layer_from_being_made(tmp_path: Path) -> None:
    async with open_client(QUICK) as client:
        nowhere = Repository("127.0.0.1:9", "img")
        layer, sent = await make_and_send(client, nowhere, content(NOISE), tmp_path / "layer", LayerSettings())
        assert not sent
        assert layer.path.stat().st_size == layer.size
        with pytest.raises(RegistryUnreachable):
            await client.has_blob(nowhere, layer.digest)


async def test_many_read_a_growing_file_to_its_end(tmp_path: Path) -> None:
    growing = Growing(tmp_path / "file")

    def parts() -> Iterator[bytes]:
        for number in range(50):
            yield bytes([number]) * 50_000

    async def make(grew: object) -> bytes:
        assert callable(grew)
        data = b""
        with (tmp_path / "file").open("wb", buffering=0) as file:
            for part in parts():
                data += part
                await asyncio.to_thread(file.write, part)
                await asyncio.to_thread(grew, len(data))
        return data

    async def read() -> bytes:
        return b"".join([piece async for piece in growing.pieces()])

    written, *found = await asyncio.gather(growing.made(make), read(), read(), read())
    assert found == [written] * 3
