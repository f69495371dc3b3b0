"""What a container runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

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


def printed(programs: Path, **variables: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    words = serving(["--ServerApp.base_url=/x/", "--port=1"])
    environment = {**own, **variables, "PATH": str(programs)}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout


def test_old_servers_get_their_options_and_a_token_by_variable(programs: Path) -> None:
    token, *options = printed(programs, JUPYTER_TOKEN="secret").split()
    assert token == "secret"
    assert "--NotebookApp.base_url=/x/" in options


def test_a_token_in_a_file_is_for_old_servers_too(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file")
    assert printed(programs, JUPYTER_TOKEN_FILE=str(tmp_path / "token")).startswith("from a file --")
