"""The service's image, made from its own Dockerfile on the tests' Debian when something in it has changed."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from pathlib import Path

from tests.support import docker

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "helm" / "images" / "service" / "Dockerfile"
_PACKAGES = ("bindery", "builder", "db", "launcher", "registry", "web")


@functools.cache
def service_image() -> str:
    """The name of the image in the tests' engine."""
    name = f"bindery-test-service:{_identity()}"
    if not docker.engine().has_image(name):
        words = ["build", "--quiet", "--build-arg", f"BASE={docker.os_image()}", "--file", str(DOCKERFILE)]
        environment = {**docker.engine().environment, "DOCKER_BUILDKIT": "1"}
        built = subprocess.run(
            [docker.engine().client, *words, "--tag", name, str(ROOT)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=docker.BOOTSTRAP_SECONDS,
        )
        assert built.returncode == 0, built.stderr[-3000:]
    return name


def _identity() -> str:
    digest = hashlib.sha256(docker.os_image().encode())
    places = [DOCKERFILE, ROOT / "requirements" / "bootstrap.txt", ROOT / "requirements" / "cluster.txt"]
    places.append(ROOT / "pyproject.toml")
    for folder in _PACKAGES:
        found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        places += sorted(found)
    for path in places:
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
