"""Plain repo2docker, the baseline: its own steps and Dockerfile, with venv and pip for conda, which few mirrors have.

python -m tests.bench.plain_repo2docker URL REF BASE_IMAGE IMAGE
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from typing import Any

from repo2docker.app import Repo2Docker
from repo2docker.buildpacks.base import BaseImage
from repo2docker.buildpacks.python import PythonBuildPack
from repo2docker.contentproviders import Git
from repo2docker.docker import DockerEngine
from repo2docker.utils import execute_cmd

_PREFIX = "/srv/venv"
#: What repo2docker's conda environment has: conda/environment.yml.
_JUPYTER = (
    "ipywidgets==8.* jupyter-resource-usage==1.* jupyter_server==2.* jupyterhub==5.* jupyterlab==4.* notebook==7.*"
)
_INSTALL = rf"""
python3 -m venv {_PREFIX} && \
{_PREFIX}/bin/pip install --no-cache-dir {_JUPYTER} && \
echo 'export PATH={_PREFIX}/bin:$PATH' > /etc/profile.d/venv.sh && \
chown -R ${{NB_USER}}:${{NB_USER}} {_PREFIX}
"""


class VenvBuildPack(PythonBuildPack):  # type: ignore[misc]
    """Python's buildpack with one virtual environment of the system's Python."""

    python_version = "3.11"
    separate_kernel_env = False

    def get_base_packages(self) -> set[str]:
        return {*super().get_base_packages(), "git", "python3", "python3-venv"}

    def get_build_env(self) -> list[tuple[str, str]]:
        prefixes = [(name, _PREFIX) for name in ("NB_PYTHON_PREFIX", "KERNEL_PYTHON_PREFIX")]
        return [*BaseImage.get_build_env(self), *prefixes]

    def get_env(self) -> list[tuple[str, str]]:
        return list(BaseImage.get_env(self))

    def get_path(self) -> list[str]:
        return [f"{_PREFIX}/bin"]

    def get_build_scripts(self) -> list[tuple[str, str]]:
        return [("root", _INSTALL)]

    def get_build_script_files(self) -> dict[str, str]:
        return {}


class PlainEngine(DockerEngine):  # type: ignore[misc]
    """repo2docker's engine without buildx, which it insists on and Debian's Docker does not have."""

    container_cli = "docker"

    def build(self, *, buildargs: dict[str, str], tag: str, fileobj: io.BytesIO, **_: Any) -> Iterator[str]:
        arguments = [word for name, value in buildargs.items() for word in ("--build-arg", f"{name}={value}")]
        with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=fileobj) as context:
            context.extractall(folder, filter="tar")
            yield from execute_cmd(["docker", "build", "--progress", "plain", "--tag", tag, *arguments, folder], True)


class PlainRepo2Docker(Repo2Docker):  # type: ignore[misc]
    """The application with this engine."""

    def get_engine(self) -> PlainEngine:
        return PlainEngine(parent=self)


def main(url: str, ref: str, base: str, image: str) -> None:
    """Build one image."""
    os.environ["DOCKER_BUILDKIT"] = "1"
    app = PlainRepo2Docker(repo=url, ref=ref, base_image=base, output_image_spec=image)
    app.buildpacks = [VenvBuildPack]
    app.content_providers = [Git]
    app.user_id, app.user_name, app.run = 1000, "jovyan", False
    app.build()


if __name__ == "__main__":
    main(*sys.argv[1:])
