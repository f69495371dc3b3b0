"""The client against a real registry: images, blobs, tags and logins."""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from bindery.errors import ImageNotFound, RegistryBroken, RegistryRefused, RegistryUnreachable
from registry.client import ClientSettings, RegistryClient, open_client
from registry.credentials import DockerConfig
from registry.manifests import OCI_INDEX, Descriptor, Manifest
from registry.names import Location, Reference, Repository
from registry.uploads import BytesSource, FileSource
from registry.wire import Wire, WireSettings
from tests.support.images import QUICK, layer_of, push_image, skopeo
from tests.support.registry import PASSWORD, USER, Auth, Registry, digest_of, docker_config, running_registry

_OCTETS = "application/octet-stream"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    (tmp_path / "registry").mkdir()
    async with running_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with open_client(QUICK) as opened:
        yield opened


def _logged_in(tmp_path: Path, registry: Registry, entry: dict[str, str] | None = None) -> DockerConfig:
    return DockerConfig(docker_config(tmp_path / "docker", [registry.host], entry))


async def test_an_image_is_stored_and_read(tmp_path: Path, registry: Registry, client: RegistryClient) -> None:
    reference = Reference.parse(f"{registry.host}/team/img:1")
    assert await client.head(reference) is None
    stored = await push_image(client, reference, [layer_of(tmp_path, "l", {"a": "1"})])
    assert await client.head(reference) == stored.descriptor
    for read in (reference, reference.with_digest(stored.digest)):
        assert (await client.manifest(read)).raw == stored.raw
    assert stored.digest in skopeo("inspect", "--tls-verify=false", f"docker://{reference}")


async def test_what_is_not_there_is_not_found(registry: Registry, client: RegistryClient) -> None:
    with pytest.raises(ImageNotFound):
        await client.manifest(Reference.parse(f"{registry.host}/team/img:1"))


@pytest.mark.parametrize("docker", [False, True])
async def test_an_index_leads_to_the_image_of_the_machine(
    tmp_path: Path, registry: Registry, client: RegistryClient, docker: bool
) -> None:
    reference = Reference.parse(f"{registry.host}/team/img:1")
    stored = await push_image(client, reference, [layer_of(tmp_path, "l", {"a": "1"})], docker=docker)
    entries = [
        stored.descriptor.document() | {"platform": {"os": system, "architecture": architecture}}
        for system, architecture in (("unknown", "unknown"), ("linux", "s390x"), ("linux", "amd64"))
    ]
    index = Manifest.write({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    everywhere = Reference(reference.repository, "all")
    await client.put_manifest(everywhere, index)
    assert (await client.image(everywhere, "amd64")).digest == stored.digest
    with pytest.raises(ImageNotFound, match="arm64"):
        await client.image(everywhere, "arm64")


@pytest.mark.parametrize("chunk", [100_000, 1_000_000, 64_000_000])
async def test_blobs_go_there_and_back(tmp_path: Path, registry: Registry, chunk: int) -> None:
    data = random.Random(1).randbytes(1_234_567)
    (tmp_path / "blob").write_bytes(data)
    repository = Repository(registry.host, "team/img")
    source = FileSource(tmp_path / "blob", digest_of(data), len(data))
    async with open_client(ClientSettings(chunk_bytes=chunk)) as client:
        assert not await client.has_blob(repository, source.digest)
        assert await client.upload(repository, source)
        assert not await client.upload(repository, source)
        found = b"".join(
            [piece async for piece in client.stream_blob(repository, Descriptor("", source.digest, len(data)))]
        )
    assert found == data == registry.blob_path(source.digest).read_bytes()


@pytest.mark.parametrize("size", [0, 1, 99_999, 100_000, 100_001, 250_000])
async def test_blobs_come_from_streams(registry: Registry, size: int) -> None:
    data = random.Random(1).randbytes(size)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 7_777):
            yield data[start : start + 7_777]

    repository = Repository(registry.host, "team/img")
    async with open_client(ClientSettings(chunk_bytes=100_000)) as client:
        assert await client.upload_stream(repository, pieces()) == Descriptor(_OCTETS, digest_of(data), size)
        descriptor = Descriptor("", digest_of(data), size)
        assert b"".join([piece async for piece in client.stream_blob(repository, descriptor)]) == data
        assert await client.blob(repository, descriptor) == data
    assert registry.unfinished_uploads() == []


async def test_a_blob_is_mounted_from_another_repository(registry: Registry, client: RegistryClient) -> None:
    one, other = Repository(registry.host, "one"), Repository(registry.host, "team/other")
    source = BytesSource(b"some bytes")
    await client.upload(one, source)
    assert await client.mount(other, source.digest, one)
    assert await client.has_blob(other, source.digest)
    assert not await client.mount(other, digest_of(b"others"), one)
    assert registry.unfinished_uploads() == []


async def test_a_deleted_image_is_gone_with_its_tags(
    tmp_path: Path, registry: Registry, client: RegistryClient
) -> None:
    reference = Reference.parse(f"{registry.host}/team/img:1")
    stored = await push_image(client, reference, [layer_of(tmp_path, "l", {"a": "1"})])
    assert [tag async for tag in client.tags(reference.repository)] == ["1"]
    assert await client.delete(reference.repository, stored.digest)
    assert not await client.delete(reference.repository, stored.digest)
    assert await client.head(reference) is None
    assert [tag async for tag in client.tags(Repository(registry.host, "never/there"))] == []


async def test_a_login_is_used_where_it_is_asked_for(tmp_path: Path) -> None:
    async with running_registry(tmp_path, "basic") as registry:
        reference = Reference.parse(f"{registry.host}/team/img:1")
        async with open_client(QUICK, _logged_in(tmp_path, registry)) as client:
            await push_image(client, reference, [layer_of(tmp_path, "l", {"a": "1"})])
            assert await client.head(reference) is not None


@pytest.mark.parametrize("auth", ["basic", "token"])
async def test_without_a_login_the_registry_refuses(tmp_path: Path, auth: Auth) -> None:
    nobody = DockerConfig({"HOME": str(tmp_path)})
    async with running_registry(tmp_path, auth) as registry, open_client(QUICK, nobody) as client:
        with pytest.raises(RegistryRefused) as caught:
            await client.head(Reference.parse(f"{registry.host}/team/img:1"))
    assert "docker login" in caught.value.hint


async def test_a_wrong_login_is_tried_once(tmp_path: Path) -> None:
    async with running_registry(tmp_path, "basic") as registry:
        wrong = {"username": USER, "password": "hush"}
        async with open_client(QUICK, _logged_in(tmp_path, registry, wrong)) as client:
            with pytest.raises(RegistryRefused) as caught:
                await client.head(Reference.parse(f"{registry.host}/team/img:1"))
        assert "hush" not in caught.value.message


async def test_tokens_are_kept_by_what_they_allow(tmp_path: Path) -> None:
    async with running_registry(tmp_path, "token") as registry:
        assert registry.tokens is not None
        reference = Reference.parse(f"{registry.host}/team/img:1")
        async with open_client(QUICK, _logged_in(tmp_path, registry)) as client:
            stored = await push_image(client, reference, [layer_of(tmp_path, "l", {"a": "1"})])
            for _ in range(3):
                await client.manifest(reference)
            assert await client.mount(Repository(registry.host, "other"), stored.config.digest, reference.repository)
            assert await client.delete(reference.repository, stored.digest)
        assert sorted(registry.tokens.given) == [
            ["repository:other:pull,push", "repository:team/img:pull"],
            ["repository:team/img:delete"],
            ["repository:team/img:pull"],
            ["repository:team/img:pull,push"],
        ]


async def test_a_token_that_is_refused_is_made_anew(tmp_path: Path) -> None:
    async with running_registry(tmp_path, "token") as registry:
        assert registry.tokens is not None
        reference = Reference.parse(f"{registry.host}/team/img:1")
        async with open_client(QUICK, _logged_in(tmp_path, registry)) as client:
            await client.head(reference)
            registry.tokens.stale = True
            await client.head(Reference.parse(f"{registry.host}/team/img:2"))
            assert len(registry.tokens.given) == 1
            with pytest.raises(RegistryRefused):
                await client.upload(reference.repository, BytesSource(b"x"))


async def test_an_identity_token_is_exchanged(tmp_path: Path) -> None:
    async with running_registry(tmp_path, "token") as registry:
        assert registry.tokens is not None
        registry.tokens.identity_tokens.add("an identity")
        login = _logged_in(tmp_path, registry, {"identitytoken": "an identity"})
        async with open_client(QUICK, login) as client:
            assert await client.upload(Repository(registry.host, "team/img"), BytesSource(b"x"))


async def test_nobody_listens(tmp_path: Path) -> None:
    async with open_client(QUICK) as client:
        with pytest.raises(RegistryUnreachable):
            await client.head(Reference.parse("127.0.0.1:1/team/img:1"))


async def test_plain_http_is_spoken_only_where_it_was_said() -> None:
    async with open_client(QUICK) as client:
        with pytest.raises(RegistryUnreachable):
            await client.head(Reference.parse("r.invalid:80/team/img:1"))
    for location, named in (("http://r.example.org:80", []), ("r.example.org:80", ["r.example.org:80"])):
        settings = ClientSettings.of(Location.parse(location), plain_http=named)
        async with Wire.open(settings.wire) as wire:
            assert str(wire.check(wire.base("r.example.org:80"))) == "http://r.example.org/"
            for other in ("http://r.example.org:81/", "http://example.org/"):
                with pytest.raises(RegistryBroken):
                    wire.check(URL(other))


async def test_https_is_trusted_with_the_operators_bundle(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    await asyncio.to_thread(subprocess.run, [*argv, *names, *files], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    application = web.Application()
    application.router.add_get("/v2/a/tags/list", _tags)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        host = f"127.0.0.1:{runner.addresses[0][1]}"
        repository = Repository(host, "a")
        trusting = WireSettings(schemes={host: "https"}, ca_bundle=certificate)
        async with open_client(ClientSettings(trusting)) as client:
            assert [tag async for tag in client.tags(repository)] == ["1"]
        async with open_client(ClientSettings(WireSettings(schemes={host: "https"}))) as client:
            with pytest.raises(RegistryUnreachable, match="not trusted"):
                [tag async for tag in client.tags(repository)]
    finally:
        await runner.cleanup()


async def _tags(request: web.Request) -> web.Response:
    return web.json_response({"name": "a", "tags": ["1"]})


async def test_the_tests_registry_holds_to_its_logins(tmp_path: Path) -> None:
    async with running_registry(tmp_path, "basic") as registry, aiohttp.ClientSession() as session:
        for password, status in ((PASSWORD, 200), ("wrong", 401)):
            login = {"Authorization": "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()}
            async with session.get(f"http://{registry.host}/v2/", headers=login) as answer:
                assert answer.status == status
