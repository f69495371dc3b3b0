"""A commit's content straight from Git's objects: the same files, and a `.git` folder that Git is content with."""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from bindery.process import Finished, run
from bindery.sandbox import no_sandbox
from bindery.settings import FetchSettings
from builder import git as safe_git
from builder.engines.base import BuildJob
from builder.engines.commit_content import CommitContent
from builder.engines.content import WorkTree
from builder.engines.uv import Bench
from builder.fetch import fetch
from registry.git_tree import GitTree
from registry.layer import Part, make_layer
from tests.support.git_server import GitServer, Repository, git, serve_git
from tests.support.trees import plan_of

URL = 'https://example.org/a/"b"'


@dataclass
class Place:
    """One repository, and what was said of it."""

    folder: Path
    server: GitServer
    repository: Repository
    said: list[str] = field(default_factory=list)

    async def say(self, line: str) -> None:
        self.said.append(line)

    async def parts(self, commit: str, start: str | None = None) -> list[Part]:
        """What the commit's layer is made of, after it was fetched from the server."""
        bare, scratch = self.folder / "bare", self.folder / "scratch"
        scratch.mkdir()
        remote = safe_git.Remote(f"{self.server.url}/{self.repository.folder.relative_to(self.server.root)}", None)
        await fetch(remote, commit, bare, FetchSettings(), self.said.append)
        plan = plan_of({start: "#!/bin/sh\n"} if start else {})
        assert plan.start == start
        job = BuildJob("build", "image:1", plan, bare, commit, URL, "")
        return await CommitContent(job, self.folder, scratch, "home/jovyan", FetchSettings(), self.say).parts()

    async def unpacked(self, parts: list[Part]) -> Path:
        """The work tree as an engine unpacks it, read by the user who owns it there."""
        layer = await make_layer(parts, self.folder / "layer")
        target = self.folder / "unpacked"
        with tarfile.open(layer.path) as tar:
            tar.extractall(target, filter=_owned)
        return target / "home" / "jovyan"


def _owned(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    return member.replace(uid=os.getuid(), gid=os.getgid())


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    (tmp_path / "git").mkdir()
    async with serve_git(tmp_path / "git") as server:
        yield Place(tmp_path, server, server.repository("owner/name"))


def from_objects(parts: list[Part]) -> bool:
    return any(isinstance(part.items, GitTree) for part in parts)


async def test_files_modes_links_and_history_are_those_of_a_checkout(place: Place, tmp_path: Path) -> None:
    place.repository.commit({"old": "not in the history"})
    (place.repository.folder / "link").symlink_to("data/b.txt")
    (place.repository.folder / "lost").symlink_to("nowhere")
    files = {"data/b.txt": "b", "data/a/c": "c", "data.x": "x", "run": "#!/bin/sh\n", "ü \n": "name", ".binder/x": "x"}
    (place.repository.folder / "old").unlink()
    commit = place.repository.commit({**files, "empty": "", "large": os.urandom(2**21)})
    parts = await place.parts(commit)
    assert from_objects(parts)
    folder = await place.unpacked(parts)
    bench = Bench("build", tmp_path, tmp_path, no_sandbox("a test"), place.say, 0)
    await WorkTree(tmp_path / "checkout", place.folder / "bare", commit, bench).write(URL)
    words = ("diff", "--recursive", "--no-dereference", "--exclude=.git", folder, tmp_path / "checkout")
    assert await run(words, env=os.environ, timeout_seconds=60) == Finished(0)
    for command in (["log", "--format=%H %D"], ["config", "--list"], ["status", "--porcelain"], ["stash", "list"]):
        ours, checked_out = git(folder, *command), git(tmp_path / "checkout", *command)
        assert sorted(ours.lower().splitlines()) == sorted(checked_out.lower().splitlines()), command
    git(folder, "fsck", "--strict")
    assert place.said == []


async def test_git_need_not_read_the_files(place: Place) -> None:
    commit = place.repository.commit({"data/a": "1", "data/b": "2"})
    folder = await place.unpacked(await place.parts(commit))
    assert git(folder, "ls-files", "--debug", "data/a").count("mtime: 315532800:0") == 1
    # Racy entries are compared by their content: Git writes them with the size 0 when it refreshes them.
    assert (folder / ".git" / "index").stat().st_mtime > (folder / "data" / "a").stat().st_mtime
    (folder / "data" / "a").write_text("3")
    os.utime(folder / "data" / "a", (315532800, 315532800))
    assert git(folder, "diff-files", "--name-only") == ""


async def test_the_start_script_can_be_run(place: Place) -> None:
    place.repository.commit({"start": "#!/bin/sh\n"})
    place.repository.git("update-index", "--chmod=-x", "start")
    place.repository.git("commit", "-q", "-m", "plain")
    commit = place.repository.git("rev-parse", "HEAD")
    folder = await place.unpacked(await place.parts(commit, "start"))
    assert (folder / "start").stat().st_mode & 0o111 == 0o111
    assert git(folder, "status", "--porcelain") == ""


async def test_links_that_lead_out_are_left_out_and_told(place: Place) -> None:
    (place.repository.folder / "in").symlink_to("a")
    (place.repository.folder / "passwords").symlink_to("/etc/passwd")
    place.repository.commit({"a": "1"})
    module = f"160000,{'1' * 40},module"
    place.repository.git("update-index", "--add", "--cacheinfo", module)
    place.repository.git("commit", "-q", "-m", "module")
    parts = await place.parts(place.repository.git("rev-parse", "HEAD"))
    assert from_objects(parts)
    folder = await place.unpacked(parts)
    assert sorted(path.name for path in folder.iterdir()) == [".git", "a", "in", "module"]
    assert git(folder, "status", "--porcelain") == ""
    told = "".join(place.said)
    assert "Links that lead out of the repository are left out: passwords" in told
    assert "folders are empty: module" in told


@pytest.mark.parametrize("attributes", ["*.txt eol=crlf", "*.txt ident", "*.bin filter=lfs"])
async def test_what_a_checkout_changes_is_checked_out(place: Place, attributes: str) -> None:
    commit = place.repository.commit({"deep/.gitattributes": f"{attributes}\n", "deep/a.txt": "$Id$\n"})
    assert not from_objects(await place.parts(commit))


async def test_attributes_that_change_nothing_are_no_reason(place: Place) -> None:
    commit = place.repository.commit({".gitattributes": "* text=auto\n*.ipynb diff=notebook\n", "a": "1\n"})
    assert from_objects(await place.parts(commit))


async def test_a_history_that_had_to_be_fetched_is_left_behind(place: Place) -> None:
    place.repository.commit({"a": "1"})
    commit = place.repository.commit({"a": "2"})
    name = place.repository.folder.relative_to(place.server.root)
    place.server.configure(str(name), "uploadpack.allowReachableSHA1InWant", "false")
    place.server.old_protocol = True
    try:
        place.repository.commit({"a": "3"})
        folder = await place.unpacked(await place.parts(commit))
    finally:
        place.server.old_protocol = False
    assert git(folder, "log", "--format=%H").split() == [commit]
    assert await asyncio.to_thread((folder / "a").read_text) == "2"
