"""A Git tree as items of a layer, read from its objects: nothing is checked out."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from bindery.errors import LayerRefused
from registry.git_pack import Blob, GitPack
from registry.layer import Item, Piece
from registry.tar import Kind

LINK, SUBMODULE = b"120000", b"160000"

_PIECE_BYTES = 512 * 1024
#: Smaller files are compressed anew, together with their neighbours.
_ADOPTED_BYTES = 64 * 1024
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

    `command` is how a command of Git begins, with the repository in it, and `environment` that of Git alone. What the
    `pack` has whole is read without Git, and not compressed again where it is large. Names that Git itself would not
    check out, such as `.git`, raise `LayerRefused`.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    entries: Collection[GitEntry]
    seconds: float = _SECONDS
    pack: Path | None = None

    def __call__(self) -> Iterator[Item]:
        """All items, the tree's own folder first."""
        above: list[bytes] = []
        with ExitStack() as ending:
            batch = ending.enter_context(_Batch([*self.command, "cat-file", "--batch"], self.environment, self.seconds))
            objects = _Objects(batch, None if self.pack is None else ending.enter_context(GitPack(self.pack)))
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
    return Item(entry.path, Kind.FILE, _FILES[entry.mode], size, read=partial(objects.pieces, name, size))


def _check(path: bytes) -> None:
    if path.rpartition(b"/")[2].lower() == b".git":
        raise LayerRefused("The repository has a file or folder called .git among its own files.")


class _Objects:
    """The objects of a repository: from its pack where that has them whole, else from Git."""

    def __init__(self, batch: _Batch, pack: GitPack | None) -> None:
        self._batch = batch
        self._pack = pack

    def read(self, name: bytes, size: int) -> Iterator[bytes]:
        """The content of an object of this size, which has to be read to its end before the next one."""
        blob = self._whole(name, size)
        return self._batch.read(name, size) if blob is None else blob.read()

    def pieces(self, name: bytes, size: int) -> Iterator[Piece]:
        """The same, as it is stored where that is worth while."""
        blob = self._whole(name, size) if size >= _ADOPTED_BYTES else None
        return self.read(name, size) if blob is None else blob.deflated()

    def _whole(self, name: bytes, size: int) -> Blob | None:
        found = None if self._pack is None else self._pack.blob(name)
        return found if found is not None and found.size == size else None


class _Batch:
    """A `git cat-file --batch` that is started when it is needed, and ended with the block or when its time is over."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], seconds: float) -> None:
        self._argv = argv
        self._environment = environment
        self._seconds = seconds
        self._running = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Batch:
        return self

    def __exit__(self, *reason: object) -> None:
        self._running.close()

    def _started(self) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        # With room in the pipe, Git unpacks while what it gave before is compressed.
        process = subprocess.Popen(
            self._argv,
            env=self._environment,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            pipesize=_PIECE_BYTES,
        )
        timer = threading.Timer(self._seconds, process.kill)
        timer.daemon = True
        timer.start()
        self._running.callback(_end, process, timer)
        return process

    def read(self, name: bytes, size: int) -> Iterator[bytes]:
        """The content of an object of this size, which has to be read to its end before the next one."""
        self._process = self._process or self._started()
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


def _end(process: subprocess.Popen[bytes], timer: threading.Timer) -> None:
    timer.cancel()
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _exactly(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        piece = stream.read(min(size, _PIECE_BYTES))
        if not piece:
            raise LayerRefused("Git stopped while it read the repository.")
        size -= len(piece)
        yield piece
