"""What builds in a cluster need beside it, in the registry that the cluster reaches: an OS image and the builder's.

The builder's image is made from its own Dockerfile, on the tests' Debian, when something in it has changed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from bindery.cluster import Cluster
from bindery.settings import BuildSettings, RegistrySettings, Settings
from builder.engines.docker_registry import Shelf
from builder.engines.kubernetes import KubernetesEngine
from registry.client import ClientSettings, open_client
from registry.names import Location
from tests.support import docker
from tests.support.cluster import cluster, cluster_registry
from tests.support.cluster_images import published

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "helm" / "images" / "builder" / "Dockerfile"


@functools.cache
def builder_image() -> str:
    """The name of the builder's image in the cluster's registry."""
    digest = hashlib.sha256(docker.os_image().encode())
    places = [DOCKERFILE, ROOT / "requirements" / "job.txt"]
    for folder in ("bindery", "builder", "registry"):
        places += sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".j2", ".sh", ".txt"))
    for path in places:
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    name = f"bindery-test-builder:{digest.hexdigest()[:16]}"
    if not docker.engine().has_image(name):
        words = ["build", "--quiet", "--build-arg", f"BASE={docker.os_image()}", "--file", str(DOCKERFILE)]
        environment = {**docker.engine().environment, "DOCKER_BUILDKIT": "1"}
        subprocess.run(
            [docker.engine().client, *words, "--tag", name, str(ROOT)],
            env=environment,
            check=True,
            capture_output=True,
            timeout=docker.BOOTSTRAP_SECONDS,
        )
    return published(name)


@functools.cache
def os_image() -> str:
    """The name of the tests' Debian in the cluster's registry."""
    return published(docker.os_image())


def settings(data_dir: Path, prefix: str, **build: object) -> Settings:
    """Settings of a service that builds in the cluster; its images are below `prefix` in the registry."""
    host = cluster_registry()
    return Settings(
        data_dir=data_dir,
        build=BuildSettings(os_image=os_image()),
        kubernetes=cluster().settings(build=pods(**build)),
        registry=RegistrySettings(url=f"{host}/{prefix}", plain_http_hosts=(host,)),
    )


def environment(prefix: str, **build: object) -> dict[str, str]:
    """The same as variables of a service."""
    host = cluster_registry()
    return {
        "BINDERY_ENGINE": "kubernetes",
        "BINDERY_BUILD__OS_IMAGE": os_image(),
        "BINDERY_KUBERNETES__BUILD": json.dumps(pods(**build)),
        "BINDERY_REGISTRY__URL": f"{host}/{prefix}",
        "BINDERY_REGISTRY__PLAIN_HTTP_HOSTS": json.dumps([host]),
        **cluster().environment,
    }


def pods(**more: object) -> dict[str, object]:
    """Settings of builds' pods: small requests, and a folder of the node for layers."""
    return {
        "image": builder_image(),
        "memory_request_bytes": 256 * 2**20,
        "cpu_request": 0.1,
        "cache_path": str(docker.cache_folder() / "cluster-builds"),
        **more,
    }


@contextlib.asynccontextmanager
async def building(chosen: Settings) -> AsyncIterator[KubernetesEngine]:
    """The engine of these settings."""
    location = Location.parse(chosen.registry.url)
    asked = ClientSettings.of(location, plain_http=chosen.registry.plain_http_hosts)
    async with Cluster(chosen.kubernetes) as api, open_client(asked) as client:
        yield await KubernetesEngine.open(chosen, api, Shelf(client, location))
