"""What the tests' browser may not ask the kernel for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.browser import DEAF

ASK = """
import socket
socket.socket().close()
socket.socket(socket.AF_UNIX).close()
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15).close()
print("others are there")
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of its networks this way")
def test_it_hears_of_no_network() -> None:
    environment = {**os.environ, "CHROMIUM": sys.executable}
    ended = subprocess.run([DEAF, "-c", ASK], env=environment, capture_output=True, text=True)
    assert ended.stdout == "others are there\n"
    assert "Permission denied" in ended.stderr
