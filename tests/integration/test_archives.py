"""Archives, good and hostile, through to a commit."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

import pytest

from bindery.errors import BinderyError, InvalidArchive, RepositoryEmpty, RepositoryTooLarge
from bindery.settings import MIB, FetchSettings
from builder import archive
from builder.archive import Contents, Member, contents
from builder.archive_commit import commit
from builder.fetch import read_tree
from builder.tree import Tree
from tests.support.git_server import git

LIMITS = FetchSettings(max_bytes=200 * MIB, max_files=1000)
TarMode = Literal["w", "w:gz", "w:bz2", "w:xz"]


def zipped(path: Path, files: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def tarred(path: Path, fill: Callable[[tarfile.TarFile], None], mode: TarMode = "w:gz") -> Path:
    with tarfile.open(path, mode) as file:
        fill(file)
    return path


def info(name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    return made


def put(file: tarfile.TarFile, name: str, content: bytes = b"x", mode: int = 0o644) -> None:
    made = info(name, mode=mode)
    made.size = len(content)
    file.addfile(made, io.BytesIO(content))


async def committed(path: Path, folder: Path, limits: FetchSettings = LIMITS) -> tuple[str, Tree]:
    made = await commit(contents(path, limits), "a record", folder)
    return made, await read_tree(folder, made, limits)


def read(tree: Tree, path: str) -> bytes:
    return tree.read(path, MIB)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "made.git"


class TestWhatIsKept:
    async def test_files_and_their_contents(self, tmp_path: Path, folder: Path) -> None:
        big = os.urandom(20 * MIB)
        path = zipped(tmp_path / "a.zip", {"a.txt": "one", "b/c d.txt": "two", "b/ü\\n.txt": b"", "big.bin": big})
        _, tree = await committed(path, folder)
        assert sorted(tree.entries) == ["a.txt", "b/c d.txt", "b/ü/n.txt", "big.bin"]
        assert read(tree, "b/c d.txt") == b"two"
        assert git(folder, "rev-parse", "refs/bindery/commit:big.bin")
        assert tree.size("big.bin") == len(big)

    @pytest.mark.parametrize("mode", get_args(TarMode))
    async def test_every_kind_of_tar(self, tmp_path: Path, folder: Path, mode: TarMode) -> None:
        def fill(file: tarfile.TarFile) -> None:
            put(file, "top/run", b"#!/bin/sh\n", 0o755)
            put(file, "top/a b/data", b"d" * 3_000_000)
            put(file, 'top/quo"ted\\name', b"q")
            file.addfile(info("top/link", tarfile.SYMTYPE, link="a b/data"))
            file.addfile(info("top/same", tarfile.LNKTYPE, link="top/run"))

        _, tree = await committed(tarred(tmp_path / "a.tar", fill, mode), folder)
        modes = {path: entry.mode for path, entry in tree.entries.items()}
        assert modes == {
            "run": "100755",
            "a b/data": "100644",
            'quo"ted\\name': "100644",
            "link": "120000",
            "same": "100755",
        }
        assert read(tree, "same") == b"#!/bin/sh\n"
        assert tree.size("link") == 3_000_000

    async def test_a_single_top_folder_is_entered_once(self, tmp_path: Path, folder: Path) -> None:
        path = zipped(tmp_path / "a.zip", {"top/": "", "top/inner/a.txt": "1", "__MACOSX/._top": "x"})
        _, tree = await committed(path, folder)
        assert sorted(tree.entries) == ["inner/a.txt"]

    async def test_a_single_top_file_is_no_folder(self, tmp_path: Path, folder: Path) -> None:
        _, tree = await committed(zipped(tmp_path / "a.zip", {"a.txt": "1"}), folder)
        assert sorted(tree.entries) == ["a.txt"]

    async def test_equal_files_make_equal_commits(self, tmp_path: Path) -> None:
        first = zipped(tmp_path / "1.zip", {"a": "1", "b": "2"})
        second = zipped(tmp_path / "2.zip", {"b": "2", "a": "1"}, zipfile.ZIP_STORED)
        made = [await committed(path, path.with_suffix(".git")) for path in (first, second)]
        assert made[0][0] == made[1][0]

    async def test_zip_keeps_modes_and_links(self, tmp_path: Path, folder: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as file:
            for name, mode, content in [
                ("run", stat.S_IFREG | 0o755, "x"),
                ("link", stat.S_IFLNK | 0o777, "run"),
                ("out", stat.S_IFLNK | 0o777, "../../etc/passwd"),
                ("pipe", stat.S_IFIFO | 0o644, ""),
            ]:
                made = zipfile.ZipInfo(name)
                made.create_system, made.external_attr = 3, mode << 16
                file.writestr(made, content)
        files = contents(path, LIMITS)
        tree = await read_tree(folder, await commit(files, "m", folder), LIMITS)
        assert {name: entry.mode for name, entry in tree.entries.items()} == {"run": "100755", "link": "120000"}
        assert files.left_out == {"links that lead out of it": 1, "devices and pipes": 1}


class TestWhatIsLeftOut:
    async def test_links_devices_and_git_folders(self, tmp_path: Path, folder: Path) -> None:
        def fill(file: tarfile.TarFile) -> None:
            put(file, "a.txt")
            put(file, ".git/config", b"[core]\n\tfsmonitor = touch /tmp/owned\n")
            put(file, "sub/.GIT/hooks/post-checkout", b"#!/bin/sh\n", 0o755)
            file.addfile(info("passwd", tarfile.SYMTYPE, link="/etc/passwd"))
            file.addfile(info("up", tarfile.SYMTYPE, link="../../x"))
            file.addfile(info("hard", tarfile.LNKTYPE, link="nowhere"))
            file.addfile(info("null", tarfile.CHRTYPE))
            file.addfile(info("pipe", tarfile.FIFOTYPE))

        files = contents(tarred(tmp_path / "a.tar.gz", fill), LIMITS)
        tree = await read_tree(folder, await commit(files, "m", folder), LIMITS)
        assert sorted(tree.entries) == ["a.txt"]
        assert files.left_out == {
            "files of a .git folder": 2,
            "links that lead out of it": 2,
            "links to what is not there": 1,
            "devices and pipes": 2,
        }

    async def test_a_link_out_of_the_folder_that_is_entered(self, tmp_path: Path, folder: Path) -> None:
        def fill(file: tarfile.TarFile) -> None:
            put(file, "top/a.txt")
            file.addfile(info("top/sub/in", tarfile.SYMTYPE, link="../a.txt"))
            file.addfile(info("top/out", tarfile.SYMTYPE, link="../top/a.txt"))

        _, tree = await committed(tarred(tmp_path / "a.tar.gz", fill), folder)
        assert sorted(tree.entries) == ["a.txt", "sub/in"]

    async def test_writing_through_a_link_writes_into_the_tree(self, tmp_path: Path, folder: Path) -> None:
        def fill(file: tarfile.TarFile) -> None:
            file.addfile(info("door", tarfile.SYMTYPE, link="inside"))
            put(file, "door/x", b"here")
            put(file, "inside/y")

        _, tree = await committed(tarred(tmp_path / "a.tar.gz", fill), folder)
        assert read(tree, "door/x") == b"here"


def _sparse(path: Path) -> Path:
    """A tar of a few bytes with a file of 1 TiB."""
    made = info("hole", tarfile.GNUTYPE_SPARSE)
    made.size = 0
    header = bytearray(made.tobuf(tarfile.GNU_FORMAT))
    header[386:398], header[398:410] = b"00000000000\0", b"00000000000\0"
    header[483:495] = b"\x80\0\0\0\0\0\x01\0\0\0\0\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + b"\0" * 1024)
    return path


def _huge_header(path: Path) -> Path:
    """A tar whose extended header claims all of memory."""
    made = info("pax", tarfile.XHDTYPE)
    made.size = 1 << 40
    path.write_bytes(made.tobuf(tarfile.GNU_FORMAT) + b"0" * 3 * MIB)
    return path


def _encrypted(path: Path) -> Path:
    zipped(path, {"a.txt": "secret"})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    return path


def _damaged(path: Path) -> Path:
    zipped(path, {"a.txt": os.urandom(5000)})
    content = bytearray(path.read_bytes())
    content[200:220] = bytes(20)
    path.write_bytes(content)
    return path


def _cut(path: Path, source: Callable[[Path], Path]) -> Path:
    content = source(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def _noise(path: Path) -> Path:
    path.write_bytes(os.urandom(5000))
    return path


def _small_tar(path: Path) -> Path:
    return tarred(path, lambda file: put(file, "a", os.urandom(9000)))


HOSTILE: dict[str, tuple[Callable[[Path], Path], type[BinderyError], str]] = {
    "up.zip": (lambda path: zipped(path, {"../../x": "1"}), InvalidArchive, "outside of itself"),
    "backslash.zip": (lambda path: zipped(path, {"a\\..\\..\\x": "1"}), InvalidArchive, "outside of itself"),
    "absolute.zip": (lambda path: zipped(path, {"/etc/cron.d/x": "1"}), InvalidArchive, "outside of itself"),
    "drive.zip": (lambda path: zipped(path, {"C:/x": "1"}), InvalidArchive, "outside of itself"),
    "up.tar.gz": (lambda path: tarred(path, lambda f: put(f, "a/../../x")), InvalidArchive, "outside of itself"),
    "absolute.tar": (lambda path: tarred(path, lambda f: put(f, "/x"), "w"), InvalidArchive, "outside of itself"),
    "control.zip": (lambda path: zipped(path, {"a\nb": "1"}), InvalidArchive, "no folder can hold"),
    "long.zip": (lambda path: zipped(path, {"n" * 300: "1"}), InvalidArchive, "no folder can hold"),
    "ratio.zip": (lambda path: zipped(path, {"z": bytes(100 * MIB)}), InvalidArchive, "times its size"),
    "bomb.zip": (lambda path: zipped(path, {f"{n}": bytes(50 * MIB) for n in range(5)}), BinderyError, ""),
    "bomb.tar.gz": (lambda path: tarred(path, lambda f: put(f, "z", bytes(150 * MIB))), BinderyError, ""),
    "bomb.tar.xz": (lambda path: tarred(path, lambda f: put(f, "z", bytes(150 * MIB)), "w:xz"), BinderyError, ""),
    "many.zip": (lambda path: zipped(path, {f"{n}": "" for n in range(1001)}), RepositoryTooLarge, "1000 files"),
    "folders.zip": (lambda path: zipped(path, {f"{n}/": "" for n in range(1001)}), RepositoryTooLarge, "1000 files"),
    "crowd.zip": (lambda path: zipped(path, {f"{n}": "" for n in range(20_000)}), RepositoryTooLarge, "1000 files"),
    "sparse.tar": (_sparse, BinderyError, ""),
    "header.tar": (_huge_header, InvalidArchive, "too large"),
    "encrypted.zip": (_encrypted, InvalidArchive, "encrypted"),
    "damaged.zip": (_damaged, InvalidArchive, "broken"),
    "cut.zip": (lambda path: _cut(path, lambda p: zipped(p, {"a": os.urandom(9000)})), InvalidArchive, "broken"),
    "cut.tar.gz": (lambda path: _cut(path, _small_tar), InvalidArchive, "broken"),
    "noise.zip": (_noise, InvalidArchive, "broken"),
    "noise.tar.gz": (_noise, InvalidArchive, "broken"),
    "lzma.zip": (lambda path: zipped(path, {"a": "1"}, zipfile.ZIP_LZMA), InvalidArchive, "not common"),
    "empty.zip": (lambda path: zipped(path, {}), RepositoryEmpty, "no files"),
    "nothing.tar": (lambda path: tarred(path, lambda file: None, "w"), RepositoryEmpty, "no files"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_or_broken_archive_is_one_clear_error(tmp_path: Path, folder: Path, name: str) -> None:
    make, error, words = HOSTILE[name]
    with pytest.raises(error) as caught:
        await committed(make(tmp_path / name), folder)
    assert words in caught.value.message
    assert caught.value.hint
    assert {path.name for path in _everything(tmp_path)} <= {name, "made.git"}


def _everything(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_member_that_is_shorter_than_it_says(folder: Path) -> None:
    def walk() -> Iterator[Member]:
        yield Member("a", "100644", 10, lambda: iter((b"short",)))

    with pytest.raises(InvalidArchive, match="not as long"):
        await commit(Contents(walk, 10, LIMITS), "m", folder)


@pytest.mark.parametrize(("name", "known"), [("a.zip", True), ("a.TAR.GZ", True), ("a.tgz", True), ("a.xlsx", False)])
def test_archives_are_known_by_their_names(name: str, known: bool) -> None:
    assert archive.is_archive(name) is known
