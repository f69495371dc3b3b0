"""Only our own sockets are connected to, and no links to other programs'."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bindery.own_socket import own_socket


def test_a_socket_can_be_connected_to_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(path))
        server.listen()
        with own_socket(str(path)) as checked:
            client.connect(checked)
        (tmp_path / "link").symlink_to(path)
        (tmp_path / "file").touch()
        for name in ("link", "file", "missing"):
            with pytest.raises(OSError, match=r"."), own_socket(str(tmp_path / name)):
                pass
