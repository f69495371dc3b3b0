"""A provider that another package brings: installed as packages are, it is offered, resolved and fetched from."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bindery.process import run
from tests.support.git_server import GitServer
from tests.support.service import environment, serving
from tests.support.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "lab-provider"
version = "1.0"

[project.entry-points."bindery.providers"]
lab = "lab_provider:provider"
"""

MODULE = """
import os
from builder.providers.forge import Forge

class LabProvider(Forge):
    id = "lab"
    title = "The lab's own server"

def provider(settings, client):
    return LabProvider(client, os.environ["LAB_URL"], settings.resolve_timeout_seconds)
"""


async def test_a_package_adds_a_provider(git_server: GitServer, tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "lab_provider.py").write_text(MODULE)
    uv = Path(sys.executable).with_name("uv")
    install = (uv, "pip", "install", "--python", sys.executable, "--no-build-isolation", "--no-deps")
    done = await run((*install, "--target", site, source), env=environment(), timeout_seconds=60)
    assert done.returncode == 0, done.stderr

    name = f"lab/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit({"requirements.txt": "six\n"})
    spec = f"{name}/HEAD"
    own = {"PYTHONPATH": str(site), "LAB_URL": git_server.url}
    async with serving(tmp_path / "data", git_server, **own) as service, aiohttp.ClientSession() as client:
        async with client.get(f"{service.url}api/repoproviders") as answer:
            [*_, last] = await answer.json()
        assert (last["id"], last["displayName"]) == ("lab", "The lab's own server")
        # A plan takes all that a provider does: it reads the spec, finds the commit and brings the files.
        found: dict[str, Any] = {}

        async def planned() -> bool:
            async with client.post(f"{service.url}api/v1/plans", json={"provider": "lab", "spec": spec}) as answer:
                found.update(await answer.json())
                return answer.status == 200

        await until(planned, 60)
    assert found["repo_url"] == f"{git_server.url}/{name}"
    assert found["plan"]["files"] == ["requirements.txt"]
