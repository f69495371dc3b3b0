"""The server environment: JupyterLab for everybody, made once for each interpreter and list of packages."""

from __future__ import annotations

import hashlib
from importlib import resources

from builder.engines.hands import Hands

#: What a server needs, unpinned: for environments in which a repository's own versions come first.
SERVER_REQUIREMENTS = "jupyterlab\nnotebook\n"
#: Left out of every environment that runs a server: it costs 0.8 s of each start, and no Jupyter schema uses it.
SERVER_OVERRIDES = "rfc3987-syntax ; sys_platform == 'never'\n"


def server_pins() -> str:
    """The packages of the server environment, exactly."""
    return (resources.files("builder.engines") / "server-requirements.txt").read_text(encoding="utf-8")


def server_id(identity: str) -> str:
    """Equal exactly where the same server environment serves: `identity` names its interpreter."""
    text = "\n".join([identity, server_pins()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


async def make_server(installer: Hands, *options: str) -> None:
    """Make the installer's target the server environment; `options` are for `uv pip install`."""
    await installer.create()
    await installer.install("--no-deps", *options, "-r", installer.write("server.txt", server_pins()))
    await installer.compile_bytecode()
