"""The tests' session images where the cluster's nodes find them."""

from __future__ import annotations

import functools
import shutil
import subprocess
from dataclasses import fields

from tests.support.cluster import cluster_registry
from tests.support.docker import engine
from tests.support.needs import need
from tests.support.session_images import SessionImages

COPY_SECONDS = 300.0


def in_registry(images: SessionImages) -> SessionImages:
    """The same images, under their names in the cluster's registry."""
    return SessionImages(**{field.name: published(getattr(images, field.name)) for field in fields(images)})


@functools.cache
def published(image: str) -> str:
    """The name in the cluster's registry of an image of the engine; the same content always has the same."""
    need(shutil.which("skopeo"), "skopeo: apt-get install skopeo")
    digest = engine().run("image", "inspect", "--format", "{{.Id}}", image).removeprefix("sha256:")
    target = f"{cluster_registry()}/tests/{image.partition(':')[0]}:{digest[:12]}"
    if _run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{target}").returncode != 0:
        words = [
            "--dest-tls-verify=false",
            f"--src-daemon-host={engine().host}",
            f"docker-daemon:{image}",
            f"docker://{target}",
        ]
        copied = _run("skopeo", "--insecure-policy", "copy", "--quiet", *words)
        assert copied.returncode == 0, copied.stderr
    return target


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=COPY_SECONDS)
