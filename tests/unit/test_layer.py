"""Layers: the same bytes each time, nothing from outside, nothing that engines misread."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import socket
import sys
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bindery.errors import LayerRefused
from registry import compression
from registry.compression import Compression
from registry.folder import folder_items
from registry.layer import EPOCH, Item, Layer, LayerSettings, Part, make_layer, write_layer
from registry.tar import END, Kind, header, padding

SETTINGS = LayerSettings()
_NAMES = st.binary(min_size=1, max_size=120).filter(
    lambda name: not set(name) & set(b"\0/") and name not in (b".", b"..")
)


def _write(folder: Path, path: Path, settings: LayerSettings = SETTINGS) -> Layer:
    return write_layer([Part("home/jovyan", folder_items(folder))], path, settings)


def _sample(folder: Path) -> Path:
    (folder / "b" / "deep").mkdir(parents=True)
    (folder / "b" / "deep" / "file.txt").write_text("hello")
    (folder / "b.txt").write_text("b")
    (folder / "a").write_bytes(b"")
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o700)
    (folder / "b.txt").chmod(0o640)
    (folder / "read-only").write_text("r")
    (folder / "read-only").chmod(0o400)
    (folder / "link").symlink_to("b/deep/file.txt")
    (folder / "outside").symlink_to("/etc")
    (folder / "up").symlink_to("../../etc/passwd")
    (folder / "dangling").symlink_to("nowhere")
    return folder


def _members(layer: Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layer.path) as tar:
        return {member.name: member for member in tar.getmembers()}


def test_what_is_in_it(tmp_path: Path) -> None:
    layer = _write(_sample(tmp_path / "tree"), tmp_path / "layer")
    members = _members(layer)
    names = ["a", "b", "b/deep", "b/deep/file.txt", "b.txt", "dangling", "link", "outside", "read-only", "run", "up"]
    assert list(members) == ["home/jovyan", *(f"home/jovyan/{name}" for name in names)]
    assert {(m.uid, m.gid, m.mtime, m.uname, m.gname) for m in members.values()} == {(1000, 1000, EPOCH, "", "")}
    modes = {name.rpartition("/")[2]: member.mode for name, member in members.items()}
    assert (modes["run"], modes["b.txt"], modes["read-only"], modes["deep"]) == (0o755, 0o644, 0o444, 0o755)
    assert [members[f"home/jovyan/{name}"].linkname for name in ("link", "outside", "up")] == [
        "b/deep/file.txt",
        "/etc",
        "../../etc/passwd",
    ]


def test_its_digests_and_sizes_are_true(tmp_path: Path) -> None:
    layer = _write(_sample(tmp_path / "tree"), tmp_path / "layer")
    packed = layer.path.read_bytes()
    whole = gzip.decompress(packed)
    assert (layer.size, layer.tar_size) == (len(packed), len(whole))
    assert layer.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert layer.diff_id == f"sha256:{hashlib.sha256(whole).hexdigest()}"


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    first = _write(_sample(tmp_path / "one"), tmp_path / "1")
    old = os.umask(0o077)
    try:
        _sample(tmp_path / "two")
    finally:
        os.umask(old)
    for path in (tmp_path / "two").rglob("*"):
        os.utime(path, (1, 2), follow_symlinks=False)
    assert _write(tmp_path / "two", tmp_path / "2").digest == first.digest


def test_without_isal_the_content_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _write(_sample(tmp_path / "one"), tmp_path / "1")
    monkeypatch.setattr(compression, "_module", lambda name: None)
    second = _write(tmp_path / "one", tmp_path / "2")
    assert second.diff_id == first.diff_id
    assert gzip.decompress(second.path.read_bytes()) == gzip.decompress(first.path.read_bytes())


def test_zstd_has_the_same_content(tmp_path: Path) -> None:
    zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    first = _write(_sample(tmp_path / "one"), tmp_path / "1")
    second = _write(tmp_path / "one", tmp_path / "2", LayerSettings(compression=Compression.ZSTD))
    assert second.diff_id == first.diff_id
    assert zstd.decompress(second.path.read_bytes()) == gzip.decompress(first.path.read_bytes())
    assert second.descriptor("application/vnd.oci.image.layer.v1.tar").media_type.endswith("tar+zstd")


@given(
    st.lists(_NAMES, min_size=1, max_size=4).map(b"/".join),
    st.sampled_from(list(Kind)),
    st.integers(0, 0o777),
    st.integers(0, 2**40),
    st.binary(max_size=300).filter(lambda text: b"\0" not in text),
)
def test_headers_say_what_they_should(path: bytes, kind: Kind, mode: int, size: int, target: bytes) -> None:
    target = target if kind is Kind.LINK else b""
    data = header(path, kind, mode, size, target, EPOCH, 1000, 1000) + END
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        member = tar.next()
    assert member is not None
    assert (os.fsencode(member.name), os.fsencode(member.linkname)) == (path.rstrip(b"/"), target)
    assert (member.mode, member.uid, member.mtime) == (mode, 1000, EPOCH)
    assert member.size == (size if kind is Kind.FILE else 0)
    assert {Kind.FILE: member.isfile, Kind.LINK: member.issym, Kind.FOLDER: member.isdir}[kind]()


@given(st.integers(0, 2**40))
def test_padding_fills_blocks(size: int) -> None:
    assert (size + len(padding(size))) % 512 == 0
    assert len(padding(size)) < 512


@pytest.mark.parametrize(
    "path", [b"/etc/passwd", b"../x", b"a/../../x", b"a//b", b"./a", b"a/", b"a/.wh.b", b".wh..wh..opq"]
)
def test_hostile_names_are_refused(tmp_path: Path, path: bytes) -> None:
    with pytest.raises(LayerRefused):
        write_layer([Part("home", lambda: iter([Item(path, Kind.FOLDER)]))], tmp_path / "layer", SETTINGS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [Kind.LINK, Kind.FILE])
def test_nothing_is_stored_below_a_link_or_file(tmp_path: Path, kind: Kind) -> None:
    items = [Item(b"a", kind, target=b"/etc" if kind is Kind.LINK else b""), Item(b"a/passwd", Kind.FILE)]
    with pytest.raises(LayerRefused):
        write_layer([Part("home", lambda: iter(items))], tmp_path / "layer", SETTINGS)


@pytest.mark.parametrize("paths", [(b"a", b"a"), (b"b", b"a"), (b"a.b", b"a/b")])
def test_items_come_sorted_and_once(tmp_path: Path, paths: tuple[bytes, bytes]) -> None:
    with pytest.raises(LayerRefused):
        write_layer([Part("", lambda: (Item(path, Kind.FILE) for path in paths))], tmp_path / "l", SETTINGS)


@pytest.mark.parametrize("prefix", ["../x", "a/../b", "a//b"])
def test_a_prefix_stays_in_the_image(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(LayerRefused):
        write_layer([Part(prefix, lambda: iter(()))], tmp_path / "layer", SETTINGS)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    place = folder / "odd"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
    else:
        try:
            os.mknod(place, 0o600 | 0o020000, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root can make devices")
    with pytest.raises(LayerRefused, match="odd"):
        _write(folder, tmp_path / "layer")


@pytest.mark.parametrize("content", [b"too short", b"more than was said"])
def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path, content: bytes) -> None:
    items = [Item(b"file", Kind.FILE, size=12, read=lambda: [content])]
    with pytest.raises(LayerRefused, match="changed"):
        write_layer([Part("", lambda: iter(items))], tmp_path / "layer", SETTINGS)


def test_a_layer_has_a_limit(tmp_path: Path) -> None:
    with pytest.raises(LayerRefused, match="limit"):
        _write(_sample(tmp_path / "tree"), tmp_path / "layer", LayerSettings(max_bytes=1024))
    assert not (tmp_path / "layer").exists()


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "layer").write_text("mine")
    with pytest.raises(FileExistsError):
        _write(_sample(tmp_path / "tree"), tmp_path / "layer")
    assert (tmp_path / "layer").read_text() == "mine"


def test_a_folder_that_is_a_link_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(NotADirectoryError):
        _write(tmp_path / "link", tmp_path / "layer")


async def test_paths_can_be_left_out(tmp_path: Path) -> None:
    items = folder_items(_sample(tmp_path / "tree"), lambda path: path in (b"b", b"run"))
    layer = await make_layer([Part("", items)], tmp_path / "layer")
    assert sorted(_members(layer)) == ["a", "b.txt", "dangling", "link", "outside", "read-only", "up"]


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "large").write_bytes(random.Random(1).randbytes(40 * 1024 * 1024))
    tracemalloc.start()
    try:
        _write(folder, tmp_path / "layer")
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
