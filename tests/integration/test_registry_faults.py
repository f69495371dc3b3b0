"""What registries do wrong, and that no tag is ever written before all it needs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from bindery.errors import (
    BinderyError,
    RegistryBroken,
    RegistryBusy,
    RegistryFull,
    RegistryRefused,
    RegistryUnreachable,
)
from registry.client import ClientSettings, open_client
from registry.compose import Composed, ConfigChanges, compose
from registry.credentials import DockerConfig
from registry.layer import Layer
from registry.manifests import Descriptor
from registry.names import Reference, Repository
from registry.transport import RetryPolicy
from registry.uploads import BytesSource, FileSource
from tests.support.images import QUICK, layer_of, push_image, skopeo
from tests.support.registry import Registry, digest_of, docker_config, running_registry, served
from tests.support.registry_faults import (
    Fault,
    FaultyRegistry,
    RegistryBreaksDownload,
    RegistryBreaksUpload,
    RegistryFails,
    RegistryFloods,
    RegistryLies,
    RegistryPaginates,
    RegistryRedirects,
    RegistryRefusesMount,
    RegistryRefusesPush,
    RegistryTooBusy,
    faulty,
)

CHUNKED = ClientSettings(retry=QUICK.retry, chunk_bytes=100_000)
ALWAYS = 10**6


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    (tmp_path / "registry").mkdir()
    async with running_registry(tmp_path / "registry") as running:
        yield running


async def _with_base(tmp_path: Path, registry: Registry) -> tuple[Reference, Layer]:
    """A base image in the registry, and a layer to add."""
    base = Reference.parse(f"{registry.host}/runtime/base:1")
    async with open_client(QUICK) as client:
        await push_image(client, base, [layer_of(tmp_path, "base", {"base.txt": "base"})])
    noise = random.Random(1).randbytes(350_000)
    return base, layer_of(tmp_path, "content", {"notebook.ipynb": "{}", "data.bin": noise})


async def _compose(
    proxy: FaultyRegistry, base: Reference, layer: Layer, settings: ClientSettings = CHUNKED, tag: str = "1"
) -> Composed:
    through = Reference(Repository(proxy.host, base.repository.path), base.tag)
    target = Reference(Repository(proxy.host, "team/img"), tag)
    async with open_client(settings) as client:
        return await compose(client, through, target, [layer], ConfigChanges(labels={"a": "b"}))


def _tags(registry: Registry) -> list[str]:
    return [path.name for path in registry.root.glob("docker/registry/v2/repositories/team/img/_manifests/tags/*")]


def _is_complete(registry: Registry, tmp_path: Path) -> bool:
    """Whether somebody else can read the whole image."""
    where = tmp_path / "copied"
    skopeo("copy", "--src-tls-verify=false", f"docker://{registry.host}/team/img:1", f"dir:{where}")
    return (where / "manifest.json").exists()


LASTING: list[tuple[Fault, type[BinderyError]]] = [
    (RegistryRefusesPush("begin"), RegistryRefused),
    (RegistryRefusesPush("chunk"), RegistryRefused),
    (RegistryRefusesPush("blob"), RegistryRefused),
    (RegistryRefusesPush("manifest"), RegistryRefused),
    (RegistryRefusesPush("manifest", status=403), RegistryRefused),
    (RegistryTooBusy(ALWAYS, writes="begin"), RegistryBusy),
    (RegistryTooBusy(ALWAYS, writes="chunk"), RegistryBusy),
    (RegistryTooBusy(ALWAYS, writes="manifest"), RegistryBusy),
    (RegistryTooBusy(1, retry_after="3600", writes="manifest"), RegistryBusy),
    (RegistryFails("begin"), RegistryUnreachable),
    (RegistryFails("chunk"), RegistryUnreachable),
    (RegistryFails("blob"), RegistryUnreachable),
    (RegistryFails("manifest"), RegistryUnreachable),
    (RegistryFails("chunk", full=True), RegistryFull),
    (RegistryFails("blob", full=True), RegistryFull),
    (RegistryBreaksUpload("chunk", ALWAYS, kept=0), RegistryUnreachable),
    (RegistryBreaksUpload("chunk", ALWAYS, kept=None), RegistryUnreachable),
    (RegistryBreaksUpload("blob", ALWAYS, kept=0), RegistryUnreachable),
    (RegistryBreaksUpload("manifest", ALWAYS, kept=0), RegistryUnreachable),
    (RegistryLies("/manifests/"), RegistryBroken),
    (RegistryLies("/manifests/", header=True), RegistryBroken),
    (RegistryLies("/blobs/sha256"), RegistryBroken),
    (RegistryFloods("/manifests/"), RegistryBroken),
    (RegistryFloods("/blobs/"), RegistryBroken),
]


@pytest.mark.parametrize(("fault", "error"), LASTING, ids=lambda value: str(value).replace("Registry", ""))
async def test_a_fault_that_lasts_leaves_no_tag(
    tmp_path: Path, registry: Registry, fault: Fault, error: type[BinderyError]
) -> None:
    base, layer = await _with_base(tmp_path, registry)
    async with faulty(registry, fault) as proxy:
        with pytest.raises(error) as caught:
            await _compose(proxy, base, layer)
        assert caught.value.hint
        assert len(proxy.seen) < 40
    assert _tags(registry) == []


@pytest.mark.parametrize("fault", [RegistryRefusesPush("chunk"), RegistryRefusesPush("blob"), RegistryFails("blob")])
async def test_an_upload_that_fails_is_given_up(registry: Registry, fault: Fault) -> None:
    async with faulty(registry, fault) as proxy, open_client(CHUNKED) as client:
        with pytest.raises(BinderyError):
            await client.upload(Repository(proxy.host, "img"), BytesSource(bytes(150_000)))
    assert registry.unfinished_uploads() == []


async def test_an_upload_that_is_cancelled_is_given_up(registry: Registry) -> None:
    waiting = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(150_000)
        waiting.set()
        await asyncio.Event().wait()

    async with open_client(CHUNKED) as client:
        upload = asyncio.create_task(client.upload_stream(Repository(registry.host, "img"), pieces()))
        await waiting.wait()
        assert len(registry.unfinished_uploads()) == 1
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
    assert registry.unfinished_uploads() == []


PASSING: list[Fault] = [
    RegistryTooBusy(2, writes="begin"),
    RegistryTooBusy(2, writes="chunk"),
    RegistryTooBusy(2, writes="blob"),
    RegistryTooBusy(2, writes="manifest"),
    RegistryFails("begin", 2),
    RegistryFails("chunk", 2),
    RegistryFails("blob", 2),
    RegistryFails("manifest", 2),
    RegistryBreaksUpload("chunk", 1, kept=0),
    RegistryBreaksUpload("chunk", 3, kept=0.3),
    RegistryBreaksUpload("chunk", 1, kept=None),
    RegistryBreaksUpload("blob", 1, kept=0),
    RegistryBreaksUpload("blob", 1, kept=0.5),
    RegistryBreaksUpload("blob", 1, kept=None),
    RegistryBreaksUpload("manifest", 1, kept=0),
    RegistryBreaksDownload(1),
    RegistryRefusesMount(),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda value: str(value).replace("Registry", ""))
async def test_after_a_fault_that_passes_the_image_is_complete(
    tmp_path: Path, registry: Registry, fault: Fault
) -> None:
    base, layer = await _with_base(tmp_path, registry)
    async with faulty(registry, fault) as proxy:
        await _compose(proxy, base, layer)
    assert _tags(registry) == ["1"]
    assert _is_complete(registry, tmp_path)


async def test_an_older_image_stays_whole_when_the_next_one_fails(tmp_path: Path, registry: Registry) -> None:
    base, layer = await _with_base(tmp_path, registry)
    async with faulty(registry) as proxy:
        older = await _compose(proxy, base, layer)
        proxy.faults.append(RegistryFails("manifest"))
        with pytest.raises(RegistryUnreachable):
            await _compose(proxy, base, layer_of(tmp_path, "next", {"other.txt": "other"}))
        async with open_client(QUICK) as client:
            found = await client.head(Reference.parse(f"{registry.host}/team/img:1"))
    assert found is not None
    assert found.digest == older.digest
    assert _is_complete(registry, tmp_path)


async def test_an_upload_goes_on_from_where_it_was_broken_off(tmp_path: Path, registry: Registry) -> None:
    data = random.Random(1).randbytes(350_000)
    (tmp_path / "blob").write_bytes(data)
    source = FileSource(tmp_path / "blob", digest_of(data), len(data))
    fault = RegistryBreaksUpload("chunk", 2, kept=0.25)
    async with faulty(registry, fault) as proxy, open_client(CHUNKED) as client:
        await client.upload(Repository(proxy.host, "team/img"), source)
        begun = [path for method, path in proxy.seen if method == "POST"]
    assert (fault.broken, len(begun)) == (2, 1)
    assert registry.blob_path(source.digest).read_bytes() == data


@pytest.mark.parametrize("kept", [0, 0.25])
async def test_a_stream_goes_on_in_the_middle_of_a_chunk(registry: Registry, kept: float) -> None:
    data = random.Random(1).randbytes(350_000)

    async def pieces() -> AsyncIterator[bytes]:
        yield data

    async with faulty(registry, RegistryBreaksUpload("chunk", 3, kept)) as proxy, open_client(CHUNKED) as client:
        stored = await client.upload_stream(Repository(proxy.host, "team/img"), pieces())
    assert registry.blob_path(stored.digest).read_bytes() == data


async def test_a_stream_that_the_registry_forgot_fails(registry: Registry) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(350_000)

    async with faulty(registry, RegistryBreaksUpload("chunk", 1, None)) as proxy, open_client(CHUNKED) as client:
        with pytest.raises(RegistryUnreachable):
            await client.upload_stream(Repository(proxy.host, "team/img"), pieces())


async def test_a_registry_that_asks_to_wait_too_long_is_not_waited_for(registry: Registry) -> None:
    settings = ClientSettings(retry=RetryPolicy(longest_asked_seconds=0.5))
    busy = RegistryTooBusy(1, retry_after="5", writes="begin")
    async with faulty(registry, busy) as proxy, open_client(settings) as client:
        with pytest.raises(RegistryBusy):
            await client.upload(Repository(proxy.host, "a"), BytesSource(b"x"))


async def test_tags_come_in_pages(tmp_path: Path, registry: Registry) -> None:
    layer = layer_of(tmp_path, "l", {"a": "1"})
    async with faulty(registry, RegistryPaginates(2)) as proxy, open_client(QUICK) as client:
        for number in range(5):
            await push_image(client, Reference(Repository(proxy.host, "img"), f"t{number}"), [layer])
        found = [tag async for tag in client.tags(Repository(proxy.host, "img"))]
    assert found == ["t0", "t1", "t2", "t3", "t4"]


@pytest.mark.parametrize("given", [{"tags": [None]}, {"tags": [1]}, {"tags": ["-a"]}, {"tags": 1}, {}, []])
async def test_a_list_of_tags_that_is_none(given: object) -> None:
    async def tags(request: web.Request) -> web.Response:
        return web.json_response(given)

    application = web.Application()
    application.router.add_get("/v2/img/tags/list", tags)
    async with served(application) as url, open_client(QUICK) as client:
        with pytest.raises(RegistryBroken, match="a list of tags that is none"):
            [tag async for tag in client.tags(Repository(url.removeprefix("http://"), "img"))]


async def test_a_redirect_gets_no_login(tmp_path: Path) -> None:
    seen: list[dict[str, str]] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(body=b"some bytes")

    application = web.Application()
    application.router.add_get("/{path:.*}", elsewhere)
    async with (
        served(application) as url,
        running_registry(tmp_path, "basic") as registry,
        faulty(registry, RegistryRedirects(url)) as proxy,
        open_client(QUICK, DockerConfig(docker_config(tmp_path / "docker", [proxy.host]))) as client,
    ):
        repository, source = Repository(proxy.host, "img"), BytesSource(b"some bytes")
        await client.upload(repository, source)
        assert await client.blob(repository, Descriptor("", source.digest, source.size)) == b"some bytes"
    assert len(seen) == 1
    assert "authorization" not in seen[0]


@pytest.mark.parametrize(
    "target",
    ["http://r.example.org", "ftp://127.0.0.1", "file:///etc/passwd?", "//", "http://[::1", "http://127.0.0.1:x"],
)
async def test_a_redirect_to_where_nobody_should_go_is_refused(registry: Registry, target: str) -> None:
    async with faulty(registry, RegistryRedirects(target)) as proxy, open_client(QUICK) as client:
        with pytest.raises(RegistryBroken):
            await client.blob(Repository(proxy.host, "img"), Descriptor("", digest_of(b""), 0))


async def test_redirects_end(registry: Registry) -> None:
    async with faulty(registry, RegistryRedirects("")) as proxy, open_client(QUICK) as client:
        with pytest.raises(RegistryBroken, match="without end"):
            await client.blob(Repository(proxy.host, "img"), Descriptor("", digest_of(b""), 0))
