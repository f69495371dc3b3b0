"""A Git tree as items of a layer, read from its objects: nothing is checked out."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO

from bindery.errors import LayerRefused
from registry.layer import Item
from registry.tar import Kind

LINK, SUBMODULE = b"120000", b"160000"

_PIECE_BYTES = 512 * 1024
_MAX_LINK_BYTES = 4096
_SECONDS = 600.0
_FILES = {b"100644": 0o644, b"100664": 0o644, b"100755": 0o755}


@dataclass(frozen=True)
class GitEntry:
    """A file, link or submodule as Git lists it. `path` is the whole path, `mode` octal, `size` that in bytes."""

    path: bytes
    mode: bytes
    object_id: bytes
    size: int = 0


@dataclass(frozen=True)
class GitTree:
    """The items of a tree: files and links as Git knows them, submodules as empty folders.

    `command` is how a command of Git begins, with the repository in it, and `environment` that of Git alone. Names that
    Git itself would not check out, such as `.git`, raise `LayerRefused`.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    entries: Collection[GitEntry]
    seconds: float = _SECONDS

    def __call__(self) -> Iterator[Item]:
        """All items, the tree's own folder first."""
        above: list[bytes] = []
        with _Objects([*self.command, "cat-file", "--batch"], self.environment, self.seconds) as objects:
            yield Item(b"", Kind.FOLDER)
            for entry in sorted(self.entries, key=lambda entry: entry.path.split(b"/")):
                folders = entry.path.split(b"/")[:-1]
                for end in range(_common(above, folders), len(folders)):
                    yield _folder(b"/".join(folders[: end + 1]))
                yield _item(entry, objects)
                above = folders


def _common(before: Sequence[bytes], now: Sequence[bytes]) -> int:
    """How many folders, from the first on, two paths share."""
    pairs = enumerate(zip(before, now, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(before), len(now)))


def _folder(path: bytes) -> Item:
    _check(path)
    return Item(path, Kind.FOLDER)


def _item(entry: GitEntry, objects: _Objects) -> Item:
    _check(entry.path)
    name, size = entry.object_id, entry.size
    if entry.mode == SUBMODULE:
        return Item(entry.path, Kind.FOLDER)
    if entry.mode == LINK:
        if size > _MAX_LINK_BYTES:
            raise LayerRefused("The repository has a link that is too long.")
        return Item(entry.path, Kind.LINK, 0o777, target=b"".join(objects.read(name, size)))
    if entry.mode not in _FILES:
        raise LayerRefused("The repository has an entry that is neither file, folder nor link.")
    return Item(entry.path, Kind.FILE, _FILES[entry.mode], size, read=partial(objects.read, name, size))


def _check(path: bytes) -> None:
    if path.rpartition(b"/")[2].lower() == b".git":
        raise LayerRefused("The repository has a file or folder called .git among its own files.")


class _Objects:
    """A running `git cat-file --batch`, ended with the block or when its time is over."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], seconds: float) -> None:
        self._argv = argv
        self._environment = environment
        self._seconds = seconds

    def __enter__(self) -> _Objects:
        pipe = subprocess.PIPE
        # With room in the pipe, Git unpacks while what it gave before is compressed.
        self._process = subprocess.Popen(
            self._argv,
            env=self._environment,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            pipesize=_PIECE_BYTES,
        )
        self._timer = threading.Timer(self._seconds, self._process.kill)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._timer.cancel()
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def read(self, name: bytes, size: int) -> Iterator[bytes]:
        """The content of an object of this size, which has to be read to its end before the next one."""
        asking, answer = self._process.stdin, self._process.stdout
        assert asking is not None
        assert answer is not None
        try:
            asking.write(name + b"\n")
            asking.flush()
        except BrokenPipeError:
            raise LayerRefused("Git stopped while it read the repository.") from None
        if answer.readline(200).split()[-2:] != [b"blob", str(size).encode()]:
            raise LayerRefused(f"Git does not have the object {name[:64].decode(errors='replace')} of the repository.")
        yield from _exactly(answer, size)
        answer.read(1)


def _exactly(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        piece = stream.read(min(size, _PIECE_BYTES))
        if not piece:
            raise LayerRefused("Git stopped while it read the repository.")
        size -= len(piece)
        yield piece
