"""Builds use a registry through the relay: with a permit, and without its login."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from bindery.errors import RegistryRefused
from registry.client import ClientSettings, RegistryClient, open_client, open_transport
from registry.credentials import DockerConfig
from registry.manifests import OCI_LAYER, Descriptor, digest_of
from registry.names import Reference, Repository
from registry.permits import Permit, Permits
from registry.relay import Relay
from registry.uploads import BytesSource
from tests.support.images import QUICK, layer_of, push_image, skopeo
from tests.support.registry import Auth, Registry, docker_config, running_registry
from tests.support.registry_faults import RegistryBreaksDownload, faulty

PERMITS = Permits("a secret of tests")
PERMIT = Permit(frozenset({"team/image:1", "team/image:2"}), frozenset({"team/base:1"}))
BLOB = BytesSource(bytes(range(256)) * 4096)


def shown(token: str) -> dict[str, str]:
    """The header that shows a token to the relay."""
    return {"Authorization": aiohttp.encode_basic_auth("build", token)}


@dataclass
class Place:
    """A registry that wants a login, and the relay before it, at `host`."""

    registry: Registry
    owner: RegistryClient
    host: str
    folder: Path

    @contextlib.asynccontextmanager
    async def build(self, token: str) -> AsyncIterator[RegistryClient]:
        """A client that shows this token to the relay."""
        login = {"auth": base64.b64encode(f"build:{token}".encode()).decode()}
        environment = docker_config(self.folder / "build", [self.host], login)
        async with open_client(QUICK, DockerConfig(environment)) as client:
            yield client


@pytest.fixture(params=["basic", "token"])
async def place(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    auth: Auth = request.param
    async with running_registry(tmp_path, auth) as registry:
        logins = DockerConfig(docker_config(tmp_path / "owner", [registry.host]))
        async with (
            open_client(QUICK, logins) as owner,
            open_transport(QUICK, logins) as transport,
            Relay(transport, registry.host, PERMITS).listening("127.0.0.1", 0) as port,
        ):
            yield Place(registry, owner, f"127.0.0.1:{port}", tmp_path)


async def test_an_image_is_pushed_and_read_with_a_permit(place: Place) -> None:
    layer = layer_of(place.folder, "content", {"notebook.ipynb": "{}"})
    through = Reference.parse(f"{place.host}/team/image:1")
    async with place.build(PERMITS.issue(PERMIT, 60)) as client:
        manifest = await push_image(client, through, [layer])
        assert await client.manifest(through) == manifest
        assert [piece async for piece in client.stream_blob(through.repository, manifest.layers[0])]
    stored = Reference.parse(f"{place.registry.host}/team/image:1")
    assert (await place.owner.manifest(stored)).digest == manifest.digest
    assert place.registry.unfinished_uploads() == []


async def test_the_first_body_of_all_is_sent_once(place: Place) -> None:
    # The registry asks for its login before it takes anything, and a body that passes through comes once.
    begun = Repository(place.host, "team/image")
    async with place.build(PERMITS.issue(PERMIT, 60)) as client:
        assert await client.upload(begun, BLOB)
    assert place.registry.blob_path(BLOB.digest).read_bytes() == BLOB.data


async def test_large_blobs_are_pushed_in_chunks(place: Place) -> None:
    settings = ClientSettings(QUICK.wire, QUICK.retry, chunk_bytes=100_000)
    login = {"auth": base64.b64encode(f"build:{PERMITS.issue(PERMIT, 60)}".encode()).decode()}
    environment = docker_config(place.folder / "build", [place.host], login)
    async with open_client(settings, DockerConfig(environment)) as client:
        await client.upload(Repository(place.host, "team/image"), BLOB)
    assert place.registry.blob_path(BLOB.digest).read_bytes() == BLOB.data


async def test_a_base_is_read_and_mounted_but_not_written(place: Place) -> None:
    base, layer = Reference.parse(f"{place.registry.host}/team/base:1"), layer_of(place.folder, "base", {"a": "1"})
    await push_image(place.owner, base, [layer])
    own, read = Repository(place.host, "team/image"), Repository(place.host, "team/base")
    async with place.build(PERMITS.issue(PERMIT, 60)) as client:
        assert (await client.manifest(Reference(read, "1"))).layers[0].digest == layer.digest
        assert await client.mount(own, layer.digest, read)
        assert not await client.has_blob(read, BLOB.digest)
        with pytest.raises(RegistryRefused, match="no permit to write this in team/base"):
            await client.upload(read, BLOB)
        with pytest.raises(RegistryRefused, match="no permit to write this in team/base"):
            await client.put_manifest(Reference(read, "2"), await client.manifest(Reference(read, "1")))


async def test_other_images_of_its_repository_are_neither_read_nor_replaced(place: Place) -> None:
    layer = layer_of(place.folder, "theirs", {"a": "1"})
    theirs = Reference.parse(f"{place.registry.host}/team/image:theirs")
    made = await push_image(place.owner, theirs, [layer])
    through = Reference.parse(f"{place.host}/team/image:theirs")
    async with place.build(PERMITS.issue(PERMIT, 60)) as client:
        with pytest.raises(RegistryRefused, match="no permit to read this in team/image"):
            await client.manifest(through)
        with pytest.raises(RegistryRefused, match="no permit to write this in team/image"):
            await client.put_manifest(through, made)


async def test_others_are_neither_read_nor_written_nor_mounted(place: Place) -> None:
    secret, layer = Reference.parse(f"{place.registry.host}/team/other:1"), layer_of(place.folder, "other", {"a": "1"})
    await push_image(place.owner, secret, [layer])
    own, other = Repository(place.host, "team/image"), Repository(place.host, "team/other")
    async with place.build(PERMITS.issue(PERMIT, 60)) as client:
        with pytest.raises(RegistryRefused, match="no permit to read this in team/other"):
            await client.manifest(Reference(other, "1"))
        with pytest.raises(RegistryRefused, match="team/other"):
            await client.upload(other, BLOB)
        assert not await client.mount(own, layer.digest, other)
        assert not await client.has_blob(own, layer.digest)


@pytest.mark.parametrize("token", ["", "no token", PERMITS.issue(PERMIT, -1), Permits("another").issue(PERMIT, 60)])
async def test_without_a_good_permit_nothing_is_told(place: Place, token: str) -> None:
    async with place.build(token) as client:
        with pytest.raises(RegistryRefused):
            await client.manifest(Reference.parse(f"{place.host}/team/image:1"))


async def test_an_upload_of_another_repository_is_not_gone_on_with(place: Place) -> None:
    both = Permit(frozenset({"team/image", "team/more"}))
    login = shown(PERMITS.issue(both, 60))
    async with aiohttp.ClientSession(headers=login) as session:
        async with session.post(f"http://{place.host}/v2/team/more/blobs/uploads/") as answer:
            assert answer.status == 202
            begun = answer.headers["Location"]
        taken = begun.replace("/team/more/", "/team/image/")
        async with session.patch(f"http://{place.host}{taken}", data=b"1") as answer:
            assert answer.status == 403
        made_up = begun.rpartition("/")[0] + "/https:%2F%2Fexample.org%2F"
        async with session.patch(f"http://{place.host}{made_up}", data=b"1") as answer:
            assert answer.status == 403
        async with session.delete(f"http://{place.host}{begun}") as answer:
            assert answer.status == 204
    assert place.registry.unfinished_uploads() == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("", 200),
        ("team/image/tags/list", 404),
        ("_catalog", 404),
        ("team/image/blobs/sha256:zz", 404),
        ("Team/manifests/1", 400),
        ("team/image/manifests/.hidden", 400),
        ("team/image/manifests/sha256:1", 400),
        ("team/image/manifests/sha256:1%2F..%2F..%2F..%2Fother%2Fmanifests%2F1", 400),
        ("team/image%2F..%2Fother/manifests/1", 400),
        ("team/image/../other/manifests/1", 400),
    ],
)
async def test_there_is_nothing_else(place: Place, path: str, status: int) -> None:
    login = shown(PERMITS.issue(PERMIT, 60))
    async with (
        aiohttp.ClientSession(headers=login) as session,
        session.get(URL(f"http://{place.host}/v2/{path}", encoded=True)) as answer,
    ):
        assert answer.status == status


async def test_a_registry_that_is_away_is_told_so(place: Place) -> None:
    place.registry.process.terminate()
    await asyncio.to_thread(place.registry.process.wait, 10)
    login = shown(PERMITS.issue(PERMIT, 60))
    url = f"http://{place.host}/v2/team/image/manifests/1"
    async with aiohttp.ClientSession(headers=login) as session, session.get(url) as answer:
        assert answer.status == 503
        assert "failed" in (await answer.json())["errors"][0]["message"]


async def test_a_blob_that_breaks_off_is_read_to_its_end(place: Place) -> None:
    repository, wanted = Repository(place.registry.host, "team/base"), Descriptor(OCI_LAYER, BLOB.digest, BLOB.size)
    await place.owner.upload(repository, BLOB)
    async with faulty(place.registry, RegistryBreaksDownload()) as broken:
        logins = DockerConfig(docker_config(place.folder / "faulty", [broken.host]))
        async with (
            open_transport(QUICK, logins) as transport,
            Relay(transport, broken.host, PERMITS).listening("127.0.0.1", 0) as port,
        ):
            other = replace(place, host=f"127.0.0.1:{port}")
            async with other.build(PERMITS.issue(PERMIT, 60)) as client:
                through = Repository(other.host, "team/base")
                # The fault is to meet the blob, not the question for a login.
                assert await client.has_blob(through, BLOB.digest)
                read = [piece async for piece in client.stream_blob(through, wanted)]
        assert sum(method == "GET" and "/blobs/" in path for method, path in broken.seen) > 1
    assert b"".join(read) == BLOB.data


async def test_other_programs_push_and_pull_through_it(place: Place) -> None:
    layer = layer_of(place.folder, "content", {"notebook.ipynb": "{}"})
    await push_image(place.owner, Reference.parse(f"{place.registry.host}/team/base:1"), [layer])
    login = f"build:{PERMITS.issue(PERMIT, 60)}"
    copied = await asyncio.to_thread(
        skopeo,
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        f"--src-creds={login}",
        f"--dest-creds={login}",
        f"docker://{place.host}/team/base:1",
        f"docker://{place.host}/team/image:2",
    )
    assert copied
    found = await place.owner.manifest(Reference.parse(f"{place.registry.host}/team/image:2"))
    assert found.layers[0].digest == layer.digest
    assert digest_of(place.registry.blob_path(layer.digest).read_bytes()) == layer.digest
