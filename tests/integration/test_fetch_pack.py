"""A commit straight from a server: what comes is stored, and what should not come is refused."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from bindery.errors import HostUnreachable, RepositoryTooLarge
from bindery.settings import FetchSettings
from builder import git
from builder.fetch import fetch, read_tree
from builder.fetch_pack import fetch_pack
from builder.git_protocol import packet
from builder.guard import Guard, GuardedClient
from tests.support.git_server import serve_git

COMMIT = "a" * 40
PACK = packet("packfile\n")


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient(Guard(allow_private=True, timeout_seconds=10)) as client:
        yield client


@contextlib.asynccontextmanager
async def answering(answer: bytes, status: int = 200) -> AsyncIterator[str]:
    """A server that has this to say, whatever it is asked."""

    async def say(request: web.Request) -> web.Response:
        return web.Response(status=status, body=answer)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", say)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield str(URL.build(scheme="http", host="127.0.0.1", port=runner.addresses[0][1], path="/o/r"))
    finally:
        await runner.cleanup()


def data(band: int, content: bytes) -> bytes:
    return b"%04x%c" % (len(content) + 5, band) + content


async def test_a_commit_comes_with_its_border_and_no_git_process_for_the_network(
    client: GuardedClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "served"
    root.mkdir()
    async with serve_git(root) as server:
        repository = server.repository("o/r")
        repository.commit({"a.txt": "earlier"})
        commit = repository.commit({"a.txt": "one", "big.bin": os.urandom(300_000)})
        remote = await git.contact(client, f"{server.url}/o/r")
        monkeypatch.setattr("builder.fetch._fetched_by_git", None)
        folder = tmp_path / "fetched.git"
        await fetch(remote, commit, folder, FetchSettings(), lambda line: None)
        tree = await read_tree(folder, commit, FetchSettings())
        assert sorted(tree.entries) == ["a.txt", "big.bin"]
        assert (folder / "shallow").read_text() == f"{commit}\n"
        ended = await git.git("fsck", "--strict", timeout_seconds=60, cwd=folder)
        assert (ended.returncode, ended.stdout) == (0, b"")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (packet("ERR upload-pack: not our ref"), 200),
        (packet("shallow-info\n") + b"0000", 200),
        (PACK, 403),
        (PACK, 302),
    ],
)
async def test_a_server_that_will_not_is_no_error(
    client: GuardedClient, tmp_path: Path, answer: bytes, status: int
) -> None:
    async with answering(answer, status) as url:
        assert not await fetch_pack(client, url, COMMIT, tmp_path, FetchSettings(), lambda line: None)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"<html>", "does not answer"),
        (PACK + data(1, b"PACK"), "does not answer"),
        (PACK + data(1, b"no pack at all") + b"0000", "cannot be read"),
        (PACK + data(1, b"no pack" * 9000) * 40 + b"0000", "cannot be read"),
        (PACK + data(2, b"Counting") + data(3, b"out of memory") + b"0000", "out of memory"),
    ],
)
async def test_what_cannot_be_read_is_an_error(
    client: GuardedClient, tmp_path: Path, answer: bytes, words: str
) -> None:
    await git.git("init", "--quiet", "--bare", tmp_path / "r.git", timeout_seconds=60)
    async with answering(answer) as url, asyncio.timeout(20):
        with pytest.raises(HostUnreachable, match=words):
            await fetch_pack(client, url, COMMIT, tmp_path / "r.git", FetchSettings(), lambda line: None)


async def test_too_much_is_given_up_while_it_comes(client: GuardedClient, tmp_path: Path) -> None:
    await git.git("init", "--quiet", "--bare", tmp_path / "r.git", timeout_seconds=60)
    async with answering(PACK + data(1, b"PACK\0\0\0\2\0\0\0\1") + data(1, bytes(60_000)) * 4 + b"0000") as url:
        with pytest.raises(RepositoryTooLarge):
            await fetch_pack(
                client, url, COMMIT, tmp_path / "r.git", FetchSettings(max_bytes=100_000), lambda line: None
            )
