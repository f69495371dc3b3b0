"""Builds in a real cluster that reach their registry through the relay alone: its login never leaves the worker."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from bindery.cluster import Cluster
from bindery.errors import InstallFailed
from bindery.settings import BuildSettings, BuildTokenSettings, RegistrySettings, Settings
from builder.engines.docker_registry import Shelf
from builder.engines.kubernetes import KubernetesEngine
from builder.engines.kubernetes_maker import KubernetesMaker
from builder.engines.layered.making import Recipe
from registry.client import ClientSettings, open_client, open_transport
from registry.credentials import DockerConfig
from registry.names import Location, Reference
from registry.permits import Permits
from registry.relay import Relay
from tests.contract.test_environment_builder import drain, planned
from tests.support import cluster_builds
from tests.support.builds import builds_running
from tests.support.cluster import cluster, cluster_registry
from tests.support.images import layer_of, push_image, skopeo
from tests.support.registry import PASSWORD, USER, Registry, docker_config, running_registry
from tests.support.wait import until

SECRET = "a secret of tests that is long enough"
INSTANCE = "relayed"
BUILD_SECONDS = 240.0


@dataclass
class Place:
    """An engine whose registry answers on this machine's loopback, with a login, where no pod reaches it."""

    engine: KubernetesEngine
    registry: Registry
    relay: str

    @property
    def maker(self) -> KubernetesMaker:
        assert isinstance(self.engine._maker, KubernetesMaker)
        return self.engine._maker


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    reached = cluster_registry().partition(":")[0]
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(running_registry(tmp_path, "basic"))
        location, logins = Location(registry.host, "team"), DockerConfig(docker_config(tmp_path / "a", [registry.host]))
        asked = ClientSettings.of(location, plain_http=[cluster_registry()])
        transport = await stack.enter_async_context(open_transport(asked, logins))
        relay = Relay(transport, registry.host, Permits(SECRET))
        port = await stack.enter_async_context(relay.listening(reached, 0))
        chosen = Settings(
            data_dir=tmp_path / "data",
            build=BuildSettings(os_image=cluster_builds.os_image()),
            kubernetes=cluster().settings(
                instance=INSTANCE, build=cluster_builds.pods(relay_address=f"{reached}:{port}")
            ),
            registry=RegistrySettings(url=f"{registry.host}/team", plain_http_hosts=(cluster_registry(),)),
            build_token=BuildTokenSettings(secret=SecretStr(SECRET)),
        )
        api = await stack.enter_async_context(Cluster(chosen.kubernetes))
        client = await stack.enter_async_context(open_client(asked, logins))
        engine = await KubernetesEngine.open(chosen, api, Shelf(client, location), logins)
        yield Place(engine, registry, f"{reached}:{port}")
        await engine.reap(builds_running())


async def test_what_a_build_of_ours_begins_with_is_pulled_and_what_it_makes_is_pushed(
    place: Place, tmp_path: Path
) -> None:
    base = f"{place.registry.host}/team/bindery-runtime:1"
    login = f"{USER}:{PASSWORD}"
    words = ["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", f"--dest-creds={login}"]
    await asyncio.to_thread(skopeo, *words, f"docker://{cluster_builds.os_image()}", f"docker://{base}")
    (tmp_path / "context").mkdir()
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\nRUN echo {os.getpid()} >/made\n")
    made = f"{place.registry.host}/team/bindery-environment:1"
    recipe = Recipe(tmp_path / "Dockerfile", tmp_path / "context", made, reads=("/made",))
    maker = replace(place.maker, build_id="a-build")
    files = await maker.build(recipe, _nothing, timeout_seconds=BUILD_SECONDS)
    assert files == {"/made": f"{os.getpid()}\n".encode()}
    assert await maker.image(made) is not None


async def test_a_repositorys_own_dockerfile_has_a_permit_for_its_image_and_cache_alone(
    place: Place, tmp_path: Path
) -> None:
    text = f"FROM {cluster_builds.os_image()}\nRUN echo {os.getpid()}\n"
    (tmp_path / "repository").mkdir()
    job = await planned(place.engine, tmp_path / "repository", {"Dockerfile": text})
    building = asyncio.create_task(drain(place.engine.environment(job)))
    config: list[dict[str, object]] = []

    async def known() -> bool:
        config[:] = [json.loads(data) for data in await _logins(place.engine)]
        return bool(config)

    await until(known, BUILD_SECONDS, "the Job has its Secret")
    await building
    (auths,) = (found["auths"] for found in config)
    assert isinstance(auths, dict)
    assert list(auths) == [place.relay]
    token = base64.b64decode(auths[place.relay]["auth"]).decode().partition(":")[2]
    permit = Permits(SECRET).read(token)
    assert PASSWORD not in json.dumps(config)
    image, cache = sorted(permit.pushes, key=lambda name: "bindery-cache/" in name)
    assert re.fullmatch(r"team/bindery-environment:draft-[0-9a-f]+", image)
    assert re.fullmatch(r"team/bindery-cache/[0-9a-f]+", cache)
    (context,) = permit.pulls
    assert re.fullmatch(r"team/bindery-context:[a-z0-9-]+", context)
    await drain(place.engine.image(job))
    assert await place.engine.has_image(job.image)


async def test_anothers_image_is_no_base(place: Place, tmp_path: Path) -> None:
    other = Reference.parse(f"{place.registry.host}/team/private:1")
    await push_image(place.engine.shelf.client, other, [layer_of(tmp_path, "private", {"a": "secret"})])
    (tmp_path / "repository").mkdir()
    job = await planned(place.engine, tmp_path / "repository", {"Dockerfile": f"FROM {other}\nRUN true\n"})
    with pytest.raises(InstallFailed, match="denied: This build has no permit to read this in team/private"):
        await drain(place.engine.environment(job))


async def _nothing(line: str) -> None:
    """Nobody listens."""


async def _logins(engine: KubernetesEngine) -> list[bytes]:
    api = engine.jobs.cluster
    query = {"labelSelector": f"app.kubernetes.io/instance={INSTANCE}"}
    found = (await api.ask("GET", api.path("secrets"), query=query))["items"]
    return [base64.b64decode(item["data"]["config.json"]) for item in found if "config.json" in item["data"]]
