"""What a real engine and a real registry hold, and what goes when it has to."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest_asyncio

from bindery.docker_api import DockerApi
from builder.engines.docker_cli import find_docker
from builder.engines.docker_registry import Shelf
from builder.engines.docker_stock import DockerStock
from builder.engines.layered.images import ENVIRONMENTS, KEY
from builder.engines.layered.runtime import RUNTIMES
from builder.engines.registry_stock import SHARED, RegistryStock
from registry.client import open_client
from registry.compose import ConfigChanges
from registry.layer import Item, Part
from registry.names import Location, Reference
from registry.retention import removals
from registry.tar import Kind
from tests.support.docker import Engine, engine
from tests.support.images import QUICK
from tests.support.registry import running_registry

MIB = 1024 * 1024


@dataclass
class Place:
    """A stock, and names that only this test has. Runtime, environment and image add one, two and three MiB."""

    docker: Engine
    stock: DockerStock
    shelf: Shelf
    folder: Path
    mark: str

    @property
    def key(self) -> str:
        return f"{self.mark}e"

    @property
    def runtime(self) -> str:
        return f"{RUNTIMES}:{self.mark}r"

    @property
    def environment(self) -> str:
        return f"{ENVIRONMENTS}:{self.key}"

    def build(self, name: str, below: str, mebibytes: int, key: str = "") -> None:
        """An image on another one, with so much more in it."""
        context = self.folder / "context"
        context.mkdir(exist_ok=True)
        (context / f"file{mebibytes}").write_bytes(bytes(mebibytes * MIB))
        label = f"LABEL {KEY}={key}\n" if key else ""
        (context / "Dockerfile").write_text(f"FROM {below}\nCOPY file{mebibytes} /{self.mark}{mebibytes}\n{label}")
        words = [str(self.docker.client), "build", "--quiet", "--tag", name, str(context)]
        environment = self.docker.environment | {"DOCKER_BUILDKIT": "1"}
        subprocess.run(words, env=environment, check=True, capture_output=True)

    async def make(self) -> None:
        """A runtime and an environment on it."""
        await asyncio.to_thread(self.build, self.runtime, "scratch", 1)
        await asyncio.to_thread(self.build, self.environment, self.runtime, 2, self.key)

    async def in_registry(self) -> int:
        """What the environment takes there."""
        return sum((await self.shelf.blobs(self.shelf.environment(self.key)) or {}).values())

    async def compose(self) -> str:
        """An image that only the registry has, on the environment, with three more MiB that do not compress."""

        async def say(line: str) -> None:
            assert line

        environment = self.shelf.environment(self.key)
        await self.shelf.push(await find_docker(self.docker.environment), self.environment, environment, say)
        target = self.shelf.location.reference(f"{self.mark}:1")
        data = (self.folder / "random").read_bytes()
        part = Part("data", lambda: iter([Item(b"a", Kind.FILE, 0o644, len(data), read=lambda: [data])]))
        changes = ConfigChanges(labels={KEY: self.key})
        await self.shelf.compose(self.key, target, [part], changes, self.folder)
        return str(target)


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    docker = await asyncio.to_thread(engine)
    mark = f"stock{uuid4().hex[:8]}"
    (tmp_path / "random").write_bytes(os.urandom(3 * MIB))
    async with (
        running_registry(tmp_path) as registry,
        open_client(QUICK) as client,
        DockerApi(docker.host) as api,
    ):
        shelf = Shelf(client, Location.parse(f"{registry.host}/team"))
        found = Place(docker, DockerStock(api, shelf, f"{mark}r"), shelf, tmp_path, mark)
        try:
            yield found
        finally:
            left = docker.run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
            if ours := [name for name in left if mark in name or name.startswith(f"{registry.host}/")]:
                docker.run("image", "rm", "--force", *ours)


async def test_each_stage_is_counted_once(place: Place) -> None:
    await place.make()
    await asyncio.to_thread(place.build, f"{place.mark}:1", place.environment, 3, place.key)
    found = await place.stock.inventory({})
    image = next(held for held in found.images if held.reference == f"{place.mark}:1")
    assert (image.environment_key, image.away, image.own_bytes // MIB) == (place.key, False, 3)
    assert found.environments[place.key] // MIB == 2
    assert found.below[place.key] == place.runtime
    assert found.bases[place.runtime] >= MIB
    assert place.runtime in found.in_demand


async def test_an_image_that_only_the_registry_has_is_counted_and_removed_there(place: Place) -> None:
    await place.make()
    reference = await place.compose()
    found = await place.stock.inventory({reference: place.key, f"{reference}gone": place.key, "elsewhere:1": "none"})
    held = [image for image in found.images if image.environment_key == place.key]
    assert [(image.reference, image.away, image.own_bytes // MIB) for image in held] == [(reference, True, 3)]
    await place.stock.remove_image(reference)
    await place.stock.remove_image(reference)
    assert not await place.stock.has(reference)
    assert [image for image in (await place.stock.inventory({reference: place.key})).images if image.away] == []


async def test_an_environment_goes_from_the_engine_and_the_registry_whatever_its_names(place: Place) -> None:
    await place.make()
    reference = await place.compose()
    shelved = str(place.shelf.environment(place.key))
    assert await asyncio.to_thread(place.docker.has_image, shelved)
    await place.stock.remove_image(reference)
    await place.stock.remove_environment(place.key)
    assert not await asyncio.to_thread(place.docker.has_image, shelved)
    assert not await asyncio.to_thread(place.docker.has_image, place.environment)
    assert not await place.shelf.has(Reference.parse(shelved))
    assert place.key not in (await place.stock.inventory({})).environments


async def test_an_environment_that_only_the_registry_has_is_counted_there(place: Place) -> None:
    await place.make()
    reference = await place.compose()
    await asyncio.to_thread(place.docker.run, "image", "rm", place.environment, str(place.shelf.environment(place.key)))
    found = await place.stock.inventory({reference: place.key})
    assert found.environments[place.key] == await place.in_registry()
    assert place.key not in found.below


async def test_a_registry_alone_tells_of_what_is_recorded_and_lets_it_go(place: Place) -> None:
    await place.make()
    reference = await place.compose()
    stock = RegistryStock(place.shelf)
    recorded = {reference: place.key, f"{reference}gone": place.key}
    found = await stock.inventory(recorded)
    assert [(image.reference, image.own_bytes // MIB) for image in found.images] == [(reference, 3)]
    assert found.environments == {place.key: await place.in_registry()}
    await stock.remove_image(reference)
    await stock.remove_environment(place.key)
    left = await stock.inventory(recorded)
    assert (list(left.images), dict(left.environments)) == ([], {})


async def test_what_environments_of_a_registry_share_is_counted_once_and_stays(place: Place) -> None:
    await place.make()
    first, another = await place.compose(), replace(place, mark=f"{place.mark}x")
    await asyncio.to_thread(another.build, another.environment, place.environment, 1, another.key)
    (place.folder / "random").write_bytes(os.urandom(3 * MIB))
    second = await another.compose()
    before = sum({**await blobs(place, first), **await blobs(another, second)}.values())
    stock = RegistryStock(place.shelf)
    found = await stock.inventory({first: place.key, second: another.key})
    assert found.total_bytes == before
    assert dict(found.below) == {place.key: SHARED, another.key: SHARED}
    assert found.idle_bases([]) == []
    plan = removals(found, (), high_bytes=0, low_bytes=0)
    assert (set(plan.images), plan.bases) == ({first, second}, ())
    await stock.remove_image(second)
    await stock.remove_environment(another.key)
    left = await stock.inventory({first: place.key, second: another.key})
    assert (dict(left.bases), left.total_bytes) == ({}, sum((await blobs(place, first)).values()))


async def blobs(place: Place, image: str) -> dict[str, int]:
    """What an image and its environment take in the registry, by digest."""
    found = [await place.shelf.blobs(each) for each in (Reference.parse(image), place.shelf.environment(place.key))]
    return {digest: size for parts in found for digest, size in (parts or {}).items()}


async def test_runtimes_that_nothing_stands_on_are_idle_unless_they_are_wanted(place: Place) -> None:
    names = [place.runtime, f"{place.runtime}-py3.99"]
    await asyncio.to_thread(place.build, names[0], "scratch", 1)
    await asyncio.to_thread(place.build, names[1], names[0], 2)
    wanted = await place.stock.inventory({})
    assert not set(names) & set(wanted.idle_bases(wanted.environments))
    stock = replace(place.stock, runtime="another")
    found = await stock.inventory({})
    assert set(names) <= set(found.idle_bases(found.environments))
    assert found.below[names[1]] == names[0]
    for name in names:
        await stock.remove_base(name)
        await stock.remove_base(name)
        assert not await asyncio.to_thread(place.docker.has_image, name)
