"""The firewall rules that the documentation gives to operators close what they say, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bindery.settings import SessionSettings
from launcher.spawners.base import SessionRequest
from tests.support.docker_sessions import NETWORK, docker_spawner
from tests.support.needs import need
from tests.support.notebook_server import NotebookServer
from tests.support.session_images import build

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
REACHES = """
import socket
try:
    socket.create_connection(({host!r}, {port}), timeout=3).close()
    print('open')
except OSError:
    print('closed')
"""


def documented_rules() -> list[str]:
    """The rules, for the network of the tests."""
    return [line.replace("bindery0", NETWORK) for line in re.findall(r"^iptables .*$", PAGE.read_text(), re.MULTILINE)]


@contextlib.contextmanager
def applied(rules: list[str]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for rule in rules:
            subprocess.run(rule.split(), check=True, capture_output=True, timeout=30)
            undo = rule.replace(" -I ", " -D ", 1).split()
            stack.callback(subprocess.run, undo, check=True, capture_output=True, timeout=30)
        yield


async def test_the_documented_rules_close_this_machine_to_sessions() -> None:
    need(os.geteuid() == 0 and shutil.which("iptables") is not None, "root and iptables: apt-get install iptables")
    rules = documented_rules()
    assert len(rules) == 2
    image = await asyncio.to_thread(build, "shared")
    async with docker_spawner(SessionSettings(), instance=f"test-{secrets.token_hex(4)}") as spawner:
        wanted = SessionRequest(f"example-{secrets.token_hex(4)}", image, "/", secrets.token_urlsafe(16), {})
        try:
            await spawner.start(wanted)
            address = await spawner.address(wanted.name)
            assert address is not None
            assert address.host is not None
            gateway = re.sub(r"\d+$", "1", address.host)
            with socket.create_server(("0.0.0.0", 0)) as listening:
                probe = REACHES.format(host=gateway, port=listening.getsockname()[1])
                server = await NotebookServer(address, "/", wanted.token).wait()
                assert await server.run(probe) == "open\n"
                with applied(rules):
                    assert await server.run(probe) == "closed\n"
                    assert await server.run(REACHES.format(host="127.0.0.1", port=8888)) == "open\n"
        finally:
            await spawner.stop(wanted.name)
