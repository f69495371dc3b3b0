"""Archives: what is in a zip or tar file, read without ever writing a file where its names say."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import posixpath
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from bindery.errors import BinderyError, InvalidArchive, RepositoryTooLarge
from bindery.settings import MIB, FetchSettings

CHUNK = MIB
#: Packed bytes may unfold to so many times as many, once there are more than `FREE_BYTES` of them.
MAX_RATIO = 250
FREE_BYTES = 64 * MIB
#: Memory that unpacking xz may take.
MAX_XZ_MEMORY = 256 * MIB
MAX_LINK = 4096
#: Git's mode of a symbolic link.
LINK = "120000"
MAX_NAME, MAX_PATH = 255, 2000
#: Bytes of a zip's directory for each file that one repository may have.
_ENTRY_BYTES = 160

_NAMED = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2})
_CLUTTER = frozenset({"__MACOSX", ".DS_Store"})
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, struct.error, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, IndexError, KeyError, OverflowError, OSError),
)


@dataclass(frozen=True)
class Member:
    """One file: Git's mode ("100644", "100755", "120000"), and its content, to be read before the next member is.

    `same_as` names an earlier member whose content this one shares.
    """

    path: str
    mode: str
    size: int
    content: Callable[[], Iterator[bytes]] = lambda: iter(())
    same_as: str = ""


@dataclass
class Contents:
    """The files of an archive, or of a folder of downloads, within limits.

    `walk` goes through all of them, from the beginning each time. What cannot be in a repository is left out and
    counted; names that lead out of it, too many files and too many bytes are refused.
    """

    walk: Callable[[], Iterator[Member | str]]
    packed_bytes: int
    limits: FetchSettings
    left_out: Counter[str] = field(default_factory=Counter)

    def members(self) -> Iterator[Member]:
        """Every file, checked. Raises `InvalidArchive` or `RepositoryTooLarge`."""
        self.left_out.clear()
        count = total = 0
        known: set[str] = set()
        with telling():
            for member in self.walk():
                count += 1
                total += 0 if isinstance(member, str) else member.size
                self._check(count, total)
                if reason := self._refused(member, known):
                    self.left_out[reason] += 1
                elif isinstance(member, Member):
                    known.add(member.path)
                    yield member

    def _check(self, count: int, total: int) -> None:
        if count > self.limits.max_files or total > self.limits.max_bytes:
            raise RepositoryTooLarge(
                f"The archive is over this service's limit of {self.limits.max_bytes // MIB} MiB or "
                f"{self.limits.max_files} files.",
                hint="Keep large data elsewhere, or ask the operator to raise the limit.",
            )
        if total > FREE_BYTES and total > MAX_RATIO * max(self.packed_bytes, 1):
            raise InvalidArchive(
                f"The archive unfolds to more than {MAX_RATIO} times its size.",
                hint="Publish the data in a form that is not made to fill disks.",
            )

    @staticmethod
    def _refused(member: Member | str, known: set[str]) -> str:
        if isinstance(member, str):
            return member
        parts = member.path.split("/")
        if not member.path or _CLUTTER & set(parts):
            return "folders and clutter"
        if any(part.rstrip(" .").lower() in (".git", "git~1") for part in parts):
            return "files of a .git folder"
        if member.same_as and member.same_as not in known:
            return "links to what is not there"
        if member.mode == LINK and leads_out(member.path, b"".join(member.content())):
            return "links that lead out of it"
        return ""


def is_archive(name: str) -> bool:
    """Whether a file is called as archives are."""
    return _NAMED.search(name) is not None


def contents(path: Path, limits: FetchSettings) -> Contents:
    """What is in a zip or tar file, a single top-level folder entered. Raises `InvalidArchive`."""
    walk = _zip if _is_zip(path) else _tar
    packed = Contents(lambda: walk(path, limits), path.stat().st_size, limits)
    top = _top_folder(packed)
    return packed if not top else Contents(lambda: _below(walk(path, limits), top), packed.packed_bytes, limits)


def _top_folder(packed: Contents) -> str:
    """The one folder in which everything lies; empty when there is none."""
    tops = {member.path.partition("/")[::2] for member in packed.members()}
    names = {name for name, _ in tops}
    return names.pop() if len(names) == 1 and all(rest for _, rest in tops) else ""


def _below(members: Iterator[Member | str], top: str) -> Iterator[Member | str]:
    for member in members:
        if isinstance(member, str):
            yield member
        elif member.path.startswith(f"{top}/"):
            same_as = member.same_as.removeprefix(f"{top}/")
            yield Member(member.path.removeprefix(f"{top}/"), member.mode, member.size, member.content, same_as)


# --- names --------------------------------------------------------------------------------------------------


def clean(name: str) -> str:
    """A member's path as Git has it, empty for the root. Raises `InvalidArchive` for one that leads out."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or _DRIVE.match(name) or ".." in parts:
        raise InvalidArchive(f"The archive names a file outside of itself: {name[:200]!r}.")
    encoded = [os.fsencode(part) for part in parts]
    if _CONTROL.search(name) or any(len(part) > MAX_NAME for part in encoded) or sum(map(len, encoded)) > MAX_PATH:
        raise InvalidArchive(f"The archive has a file whose name no folder can hold: {name[:200]!r}.")
    return "/".join(parts)


def leads_out(path: str, target: bytes) -> bool:
    """Whether a symbolic link at `path` leads out of the repository."""
    there = posixpath.normpath(posixpath.join(posixpath.dirname(os.fsencode(path)), target))
    nowhere = not target or b"\0" in target or len(target) > MAX_LINK
    return nowhere or target.startswith(b"/") or there == b".." or there.startswith(b"../")


def _link(path: str, target: bytes) -> Member:
    return Member(path, LINK, len(target), lambda: iter((target,)))


# --- zip ----------------------------------------------------------------------------------------------------


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _zip(path: Path, limits: FetchSettings) -> Iterator[Member | str]:
    with path.open("rb") as file:
        bounded = _Bounded(file, path.stat().st_size, most_at_once=limits.max_files * _ENTRY_BYTES + CHUNK)
        with zipfile.ZipFile(cast("IO[bytes]", bounded)) as archive:
            for info in archive.infolist():
                yield _zip_member(archive, info)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member | str:
    if info.flag_bits & 0x1:
        raise InvalidArchive("The archive is encrypted.", hint="Publish it without a password.")
    # Some programs for Windows write their own separator.
    path, mode = clean(info.filename.replace("\\", "/")), info.external_attr >> 16
    if info.is_dir():
        return "folders and clutter"
    if info.compress_type not in _METHODS:
        raise InvalidArchive("The zip archive is packed with a method that is not common.", hint="Use deflate.")
    if stat.S_ISLNK(mode):
        with archive.open(info) as file:
            return _link(path, file.read(MAX_LINK + 1))
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "devices and pipes"
    return Member(path, _mode(mode), info.file_size, lambda: _chunks(lambda: archive.open(info)))


def _mode(mode: int) -> str:
    return "100755" if mode & 0o111 else "100644"


def _chunks(opened: Callable[[], IO[bytes] | None]) -> Iterator[bytes]:
    file = opened()
    if file is None:
        return
    with file:
        while chunk := file.read(CHUNK):
            yield chunk


# --- tar ----------------------------------------------------------------------------------------------------


def _tar(path: Path, limits: FetchSettings) -> Iterator[Member | str]:
    # Headers take room too.
    most = limits.max_bytes + (limits.max_files + 2) * 4096
    with path.open("rb") as file:
        bounded = _Bounded(_unpacked(file), most, most_at_once=CHUNK)
        with tarfile.open(fileobj=cast("IO[bytes]", bounded), mode="r:") as archive:
            for info in archive:
                yield _tar_member(archive, info)


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member | str:
    path = clean(info.name)
    if info.isdir():
        return "folders and clutter"
    if info.issym():
        return _link(path, os.fsencode(info.linkname))
    if info.islnk():
        return Member(path, "100644", 0, same_as=clean(info.linkname))
    if not info.isreg():
        return "devices and pipes"
    return Member(path, _mode(info.mode), info.size, lambda: _chunks(lambda: archive.extractfile(info)))


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(file)
    return cast("IO[bytes]", _Xz(file)) if magic == b"\xfd7zXZ\0" else file


class _Bounded:
    """A file of which only so much can be read: neither headers nor directories can ask for all of memory."""

    def __init__(self, file: IO[bytes], most: int, *, most_at_once: int) -> None:
        self._file = file
        self._most = most
        self._most_at_once = most_at_once

    def read(self, size: int = -1) -> bytes:
        found = self._file.read(min(size, self._most_at_once + 1) if size >= 0 else self._most_at_once + 1)
        if len(found) > self._most_at_once:
            raise InvalidArchive("The archive has a header that is too large.")
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset > self._most:
            raise InvalidArchive("The archive is larger than it says, or than this service allows.")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


class _Xz:
    """What is in an xz file, within a limit of memory, which the standard library's own reader does not have."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._begin()

    def _begin(self) -> None:
        self._file.seek(0)
        self._unpack = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)
        self._at = 0

    def read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size and not self._unpack.eof:
            packed = self._file.read(CHUNK) if self._unpack.needs_input else b""
            if self._unpack.needs_input and not packed:
                raise EOFError("the xz file ends too early")
            found += self._unpack.decompress(packed, size - len(found))
        self._at += len(found)
        return bytes(found)

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset < self._at:
            self._begin()
        while self._at < offset and self.read(min(CHUNK, offset - self._at)):
            pass
        return self._at

    def tell(self) -> int:
        return self._at


@contextmanager
def telling() -> Iterator[None]:
    """Whatever a reader of archives stumbles over becomes one clear error."""
    try:
        yield
    except BinderyError:
        raise
    except _BROKEN as error:
        raise InvalidArchive(f"The archive is broken, or not an archive: {_words(error)}.") from error


def _words(error: Exception) -> str:
    return str(error)[:200].rstrip(".") or type(error).__name__
