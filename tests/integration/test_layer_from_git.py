"""Layers from the objects of a real Git repository."""

from __future__ import annotations

import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from bindery.errors import LayerRefused
from builder import git as safe_git
from registry.folder import folder_items
from registry.git_tree import GitEntry, GitTree
from registry.layer import LayerSettings, Part, write_layer
from tests.support.git_server import Repository, git


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    return Repository(folder)


def listed_tree(repository: Repository, object_id: str, seconds: float = 60) -> GitTree:
    command = safe_git.command(f"--git-dir={repository.folder / '.git'}")
    listing = ["git", "ls-tree", "-r", "-l", "-z", object_id]
    rows = subprocess.run(listing, cwd=repository.folder, check=True, capture_output=True).stdout.split(b"\0")[:-1]
    return GitTree(command, safe_git.environment("file"), [_entry(row) for row in rows], seconds)


def _entry(row: bytes) -> GitEntry:
    facts, _, path = row.partition(b"\t")
    mode, _, object_id, size = facts.split()
    return GitEntry(path, mode, object_id, int(size) if size != b"-" else 0)


def _mktree(repository: Repository, listing: bytes) -> str:
    argv = ["git", "mktree", "-z"]
    return (
        subprocess.run(argv, cwd=repository.folder, input=listing, check=True, capture_output=True)
        .stdout.decode()
        .strip()
    )


def _blob(repository: Repository, content: bytes) -> str:
    argv = ["git", "hash-object", "-w", "--stdin"]
    return (
        subprocess.run(argv, cwd=repository.folder, input=content, check=True, capture_output=True)
        .stdout.decode()
        .strip()
    )


def test_it_is_the_same_layer_as_that_of_the_work_tree(repository: Repository, tmp_path: Path) -> None:
    (repository.folder / "link").symlink_to("a/file")
    (repository.folder / "outside").symlink_to("/etc")
    files: dict[str, str | bytes] = {
        "a/file": "1",
        "a.b": "2",
        "a-b/c": "3",
        "postBuild": "#!/bin/sh\n",
        "empty": "",
        "large": os.urandom(2**21),
    }
    commit = repository.commit(files)
    old = os.umask(0o022)
    try:
        from_tree = write_layer([Part("home/x", listed_tree(repository, commit))], tmp_path / "1", LayerSettings())
        checkout = folder_items(repository.folder, lambda path: path == b".git")
        from_folder = write_layer([Part("home/x", checkout)], tmp_path / "2", LayerSettings())
    finally:
        os.umask(old)
    assert from_tree.digest == from_folder.digest
    with tarfile.open(tmp_path / "1") as tar:
        assert tar.getmember("home/x/outside").linkname == "/etc"


def test_a_submodule_is_an_empty_folder(repository: Repository, tmp_path: Path) -> None:
    tree = _mktree(repository, b"160000 commit " + b"1" * 40 + b"\tmodule\0")
    write_layer([Part("", listed_tree(repository, tree))], tmp_path / "layer", LayerSettings())
    with tarfile.open(tmp_path / "layer") as tar:
        assert [(member.name, member.isdir()) for member in tar.getmembers()] == [("module", True)]


@pytest.mark.parametrize("name", [b".git", b".GIT", b"..", b".", b".wh.x"])
def test_names_that_git_would_not_check_out_are_refused(repository: Repository, tmp_path: Path, name: bytes) -> None:
    blob = _blob(repository, b"x").encode()
    inner = b"100644 blob " + blob + b"\tfile\0"
    subtree = _mktree(repository, inner).encode()
    for listing in (b"100644 blob " + blob + b"\t" + name + b"\0", b"040000 tree " + subtree + b"\t" + name + b"\0"):
        tree = _mktree(repository, listing)
        with pytest.raises(LayerRefused):
            write_layer([Part("home", listed_tree(repository, tree))], tmp_path / "layer", LayerSettings())
        assert not (tmp_path / "layer").exists()


def test_a_link_with_files_below_it_is_refused(repository: Repository, tmp_path: Path) -> None:
    link, blob = _blob(repository, b"/etc").encode(), _blob(repository, b"x").encode()
    subtree = _mktree(repository, b"100644 blob " + blob + b"\tpasswd\0").encode()
    tree = _mktree(repository, b"120000 blob " + link + b"\tx\0" + b"040000 tree " + subtree + b"\tx\0")
    with pytest.raises(LayerRefused):
        write_layer([Part("home", listed_tree(repository, tree))], tmp_path / "layer", LayerSettings())


def test_an_object_that_is_missing_is_named(repository: Repository, tmp_path: Path) -> None:
    tree = _mktree(repository, b"100644 blob " + (blob := _blob(repository, b"gone").encode()) + b"\tfile\0")
    listed, place = listed_tree(repository, tree), blob.decode()
    (repository.folder / ".git" / "objects" / place[:2] / place[2:]).unlink()
    with pytest.raises(LayerRefused, match=place):
        write_layer([Part("", listed)], tmp_path / "layer", LayerSettings())


def test_git_has_a_time_limit(repository: Repository, tmp_path: Path) -> None:
    commit = repository.commit({"file": "1"})
    program = tmp_path / "slow"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *cat-file*) exec sleep 60;; esac\nexec git -C {repository.folder} "$@"\n'
    )
    program.chmod(0o755)
    tree = replace(listed_tree(repository, commit, 0.5), command=[str(program)])
    with pytest.raises(LayerRefused):
        write_layer([Part("", tree)], tmp_path / "layer", LayerSettings())
