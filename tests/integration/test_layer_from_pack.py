"""Layers from a pack that real Git has made: what it has whole is read without Git."""

from __future__ import annotations

import base64
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from bindery.errors import LayerRefused
from registry.git_pack import GitPack
from registry.git_tree import GitTree
from registry.layer import Layer, LayerSettings, Part, write_layer
from tests.integration.test_layer_from_git import listed_tree
from tests.support.git_server import Repository, git

LARGE = base64.b64encode(os.urandom(300_000))
FILES = {"a/small": b"1", "empty": b"", "large.txt": LARGE, "start": b"#!/bin/sh\n", "zeros": bytes(3_000_000)}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "link").symlink_to("a/small")
    return Repository(folder)


def _packed(repository: Repository) -> Path:
    repository.git("repack", "-a", "-d", "-q")
    (pack,) = (repository.folder / ".git/objects/pack").glob("*.pack")
    return pack


def _layer(tree: GitTree, path: Path) -> Layer:
    return write_layer([Part("home", tree)], path, LayerSettings())


def _without_git(tree: GitTree) -> GitTree:
    return replace(tree, command=["/nonexistent/git"])


def test_it_has_the_same_content_without_a_git_process(repository: Repository, tmp_path: Path) -> None:
    tree = listed_tree(repository, repository.commit(FILES))
    from_git = _layer(tree, tmp_path / "1")
    from_pack = _layer(_without_git(replace(tree, pack=_packed(repository))), tmp_path / "2")
    assert (from_pack.diff_id, from_pack.tar_size) == (from_git.diff_id, from_git.tar_size)
    with tarfile.open(from_pack.path) as tar:
        reader = tar.extractfile("home/large.txt")
        assert reader is not None
        assert reader.read() == LARGE


def test_a_large_file_stays_compressed_as_it_was(repository: Repository, tmp_path: Path) -> None:
    tree = listed_tree(repository, repository.commit(FILES))
    pack = _packed(repository)
    oid = repository.git("rev-parse", "HEAD:large.txt").encode()
    with GitPack(pack) as opened:
        blob = opened.blob(oid)
        assert blob is not None
        stream = b"".join(piece.deflated for piece in blob.deflated())
    assert stream in pack.read_bytes()
    assert stream in _layer(replace(tree, pack=pack), tmp_path / "layer").path.read_bytes()


def test_what_is_kept_as_a_difference_comes_from_git(repository: Repository, tmp_path: Path) -> None:
    more = {f"large-{number}.txt": LARGE + b"%d" % number for number in range(4)}
    tree = listed_tree(repository, repository.commit({**FILES, **more}))
    from_git = _layer(tree, tmp_path / "1")
    pack = _packed(repository)
    with GitPack(pack) as opened:
        found = [opened.blob(entry.object_id) for entry in tree.entries if entry.path.startswith(b"large")]
    assert None in found
    assert any(found)
    assert _layer(replace(tree, pack=pack), tmp_path / "2").diff_id == from_git.diff_id


def test_what_is_no_blob_is_not_there(repository: Repository) -> None:
    commit = repository.commit(FILES)
    with GitPack(_packed(repository)) as opened:
        assert opened.blob(commit.encode()) is None
        assert opened.blob(b"0" * 40) is None
        assert opened.blob(b"f" * 40) is None


def test_an_index_of_another_form_has_nothing(repository: Repository, tmp_path: Path) -> None:
    tree = listed_tree(repository, repository.commit(FILES))
    from_git = _layer(tree, tmp_path / "1")
    repository.git("config", "pack.indexVersion", "1")
    pack = _packed(repository)
    with GitPack(pack) as opened:
        assert opened.blob(repository.git("rev-parse", "HEAD:large.txt").encode()) is None
    assert _layer(replace(tree, pack=pack), tmp_path / "2").diff_id == from_git.diff_id


def test_a_pack_that_is_damaged_makes_no_layer(repository: Repository, tmp_path: Path) -> None:
    tree = listed_tree(repository, repository.commit({"large.txt": LARGE}))
    pack = _packed(repository)
    with GitPack(pack) as opened:
        blob = opened.blob(repository.git("rev-parse", "HEAD:large.txt").encode())
        assert blob is not None
    data = pack.read_bytes()
    pack.chmod(0o644)
    for damaged in (data[: blob.start + 1000], data[: blob.start] + b"\xff" * (len(data) - blob.start)):
        pack.write_bytes(damaged)
        with pytest.raises(LayerRefused):
            _layer(_without_git(replace(tree, pack=pack)), tmp_path / "layer")
        assert not (tmp_path / "layer").exists()
