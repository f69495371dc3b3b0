"""What a container runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.jupyter import networked_arguments
from launcher.serving import serving

SERVER = """#!/bin/sh
echo "$JUPYTER_TOKEN $*"
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs with an old server."""
    folder = tmp_path / "bin"
    folder.mkdir()
    server = folder / "jupyter-notebook"
    server.write_text(SERVER)
    server.chmod(0o755)
    for name in ("cat", "sh"):
        (folder / name).symlink_to(f"/bin/{name}")
    return folder


def printed(programs: Path, *flags: str, **variables: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    words = serving(["--ServerApp.base_url=/x/", "--port=1", *flags])
    environment = {**own, **variables, "PATH": str(programs)}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout


def test_old_servers_get_their_options_and_a_token_by_variable(programs: Path) -> None:
    token, *options = printed(programs, JUPYTER_TOKEN="secret").split()
    assert token == "secret"
    assert "--NotebookApp.base_url=/x/" in options


def test_old_servers_are_told_whose_pages_may_use_them(programs: Path) -> None:
    flags = networked_arguments(port=1, base_url="/x/", allow_origins=["https://a.example", "http://b.example:8080"])
    pattern = r"^(?:https://a\.example|http://b\.example:8080)$"
    assert f"--NotebookApp.allow_origin_pat={pattern}" in printed(programs, *flags, JUPYTER_TOKEN="secret").split()


def test_a_token_in_a_file_is_for_old_servers_too(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file")
    assert printed(programs, JUPYTER_TOKEN_FILE=str(tmp_path / "token")).startswith("from a file --")


#: Packages that say when they are imported or used.
PACKAGES = {
    "requests/__init__.py": "print('requests')\nthere = 'asked'\n",
    "httpx.py": "class AsyncClient:\n    def __init__(self, **options): print('client', options)\n    get = 'got'\n",
    "jupyterlab/__init__.py": "",
    "jupyterlab/extensions/__init__.py": "",
    "jupyterlab/extensions/pypi.py": "import httpx\ndef client(): return httpx.AsyncClient(a=1)\n",
    "jupyterlab/labapp.py": """
import sys
import requests
from jupyterlab.extensions import pypi
def main():
    print("main", *sys.argv, "requests" in sys.modules)
    client = pypi.client()
    print("begun")
    print(client.get, pypi.httpx.__name__, requests.there, requests.there)
    import requests as again
    print(again.there)
""",
}


def test_what_a_server_hardly_uses_is_made_when_it_is_used(programs: Path, tmp_path: Path) -> None:
    for name, text in PACKAGES.items():
        path = tmp_path / "packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    lab = programs / "jupyter-lab"
    lab.write_text(f"#!{sys.executable}\nfrom jupyterlab.labapp import main\n")
    lab.chmod(0o755)
    (programs / "jupyter-server").symlink_to("/bin/true")
    (programs / "grep").symlink_to("/bin/grep")
    words = serving(["--x=1"])
    environment = {"PATH": str(programs), "PYTHONPATH": str(tmp_path / "packages")}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert ended.stdout.splitlines() == [
        "main jupyter-lab --x=1 False",
        "begun",
        "client {'a': 1}",
        "requests",
        "got later asked asked",
        "asked",
    ], ended.stderr
