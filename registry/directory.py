"""Images as directories: the image store of the process engine.

environments/<key>/   environment.json is written last: without it the directory is a leftover
servers/<id>/         server.json, likewise
images/<name>/<tag>/  image.json, likewise; a `/` in a name is stored as `+`
cache/making/         environments and servers while they are made, beside uv's cache, so that files can be shared
locks/                one file for each directory being made
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.untrusted import read_plain, write_plain

ENVIRONMENT_MARKER = "environment.json"
SERVER_MARKER = "server.json"
IMAGE_MARKER = "image.json"
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LOCK_POLL_SECONDS = 0.05
#: How often removing a folder is tried again when somebody else removes from it too.
_REMOVE_ATTEMPTS = 3


@dataclass(frozen=True)
class StoredImage:
    """An image of the directory store: everything that a session needs to start.

    `content` is a Git work tree to copy, `environment` a virtual environment that sessions may only read, `overlay` a
    virtual environment with what postBuild installed. `server` is the virtual environment JupyterLab runs from: the
    shared one, or `environment` (or `overlay`) itself when the two are joined. `start` is the start script's path in
    `content`.
    """

    reference: str
    content: Path
    environment: Path
    overlay: Path | None
    server: Path
    start: str | None
    environment_key: str
    labels: Mapping[str, str]
    size_bytes: int
    created_at: float

    @property
    def joined(self) -> bool:
        """Whether the repository's environment runs the server too."""
        return self.server in (self.environment, self.overlay)


@dataclass(frozen=True)
class StoredEnvironment:
    """A finished environment. `lock` is what was installed, one a line; `python` the version, such as "3.12.1"."""

    key: str
    path: Path
    python: str
    lock: str
    joined: bool
    size_bytes: int
    created_at: float


class DirectoryStore:
    """Environments, servers and images below one folder.

    - What `find`, `environment` and `server` give is complete: its marker was written after everything else.
    - No name or key leads out of the folder; those that would raise `ValueError`.
    - Methods block on the disk only; call long ones (`remove_*`, `sweep`, `size`) in a thread.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    # --- places

    def environment_path(self, key: str) -> Path:
        return self.root / "environments" / _component(key)

    def server_path(self, server_id: str) -> Path:
        return self.root / "servers" / _component(server_id)

    def image_path(self, reference: str) -> Path:
        name, separator, tag = reference.rpartition(":")
        if not separator:
            raise ValueError(f"not an image reference: {reference!r}")
        parts = [_component(part) for part in name.split("/")]
        return self.root / "images" / "+".join(parts) / _component(tag)

    def draft_path(self, path: Path) -> Path:
        """Where an environment or server that will be at `path` is made; `path` is a link to it meanwhile."""
        return self.root / "cache" / "making" / "+".join(path.relative_to(self.root).parts)

    # --- reading

    def environment(self, key: str) -> StoredEnvironment | None:
        """The finished environment of this key, if its interpreter is still there."""
        path = self.environment_path(key)
        if path.is_symlink() or not (path / "bin" / "python").exists():
            return None
        marker = _read_marker(path / ENVIRONMENT_MARKER)
        if marker is None:
            return None
        return StoredEnvironment(path=path, **marker)

    def server(self, server_id: str) -> Path | None:
        """The finished server environment of this id, if its interpreter is still there."""
        path = self.server_path(server_id)
        whole = _read_marker(path / SERVER_MARKER) is not None and (path / "bin" / "python").exists()
        return path if whole and not path.is_symlink() else None

    def find(self, reference: str) -> StoredImage | None:
        """The finished image of this reference, if all that it stands on is still there."""
        path = self.image_path(reference)
        marker = _read_marker(path / IMAGE_MARKER)
        if marker is None:
            return None
        environment = self.environment(marker["environment_key"])
        server = self.root / marker.pop("server")
        if environment is None or not (server / "bin" / "python").exists():
            return None
        overlay = path / "overlay" if marker.pop("overlay") else None
        return StoredImage(
            content=path / "content", environment=environment.path, overlay=overlay, server=server, **marker
        )

    def list_images(self) -> list[StoredImage]:
        """All finished images."""
        references = [f"{name.name.replace('+', '/')}:{tag.name}" for name, tag in self._image_folders()]
        return [image for image in map(self.find, references) if image is not None]

    def list_environments(self) -> list[StoredEnvironment]:
        """All finished environments."""
        found = (self.environment(path.name) for path in _folders(self.root / "environments"))
        return [environment for environment in found if environment is not None]

    # --- writing

    def finish_environment(self, environment: StoredEnvironment) -> None:
        """Make an environment that is complete on disk count as finished."""
        fields = {
            name: getattr(environment, name) for name in ("key", "python", "lock", "joined", "size_bytes", "created_at")
        }
        _write_marker(self.environment_path(environment.key) / ENVIRONMENT_MARKER, fields)

    def finish_server(self, server_id: str, fields: Mapping[str, Any]) -> None:
        """Make a server environment that is complete on disk count as finished."""
        _write_marker(self.server_path(server_id) / SERVER_MARKER, fields)

    def finish_image(self, image: StoredImage) -> None:
        """Make an image whose files are complete in `image_path` count as finished."""
        fields = {
            "reference": image.reference,
            "environment_key": image.environment_key,
            "server": str(image.server.relative_to(self.root)),
            "overlay": image.overlay is not None,
            "start": image.start,
            "labels": dict(image.labels),
            "size_bytes": image.size_bytes,
            "created_at": image.created_at,
        }
        _write_marker(self.image_path(image.reference) / IMAGE_MARKER, fields)

    def remove_image(self, reference: str) -> None:
        """Remove an image, finished or not; one that is not there is no error."""
        self._remove(self.image_path(reference), IMAGE_MARKER)

    def remove_environment(self, key: str) -> None:
        """Remove an environment, finished or not; one that is not there is no error."""
        self._remove(self.environment_path(key), ENVIRONMENT_MARKER)

    def sweep(self, keep: Collection[Path] = ()) -> list[Path]:
        """Remove all directories without a marker that nobody is making now, apart from `keep`; return them."""
        candidates = [(path, ENVIRONMENT_MARKER) for path in _folders(self.root / "environments")]
        candidates += [(path, SERVER_MARKER) for path in _folders(self.root / "servers")]
        candidates += [(tag, IMAGE_MARKER) for _, tag in self._image_folders()]
        kept = set(keep)
        leftovers = [path for path, marker in candidates if path not in kept and not _finished(path, marker)]
        removed = [path for path in leftovers if self._remove_unless_locked(path)]
        self._sweep_drafts()
        return removed

    def _sweep_drafts(self) -> None:
        """Remove drafts that nobody is making now. Whoever makes one can put others there, under any name."""
        making = self.root / "cache" / "making"
        for draft in [] if making.is_symlink() or not making.is_dir() else list(making.iterdir()):
            with self._lock_file(self.root / draft.name) as descriptor:
                if _try_lock(descriptor):
                    remove_tree(draft)

    def begin(self, path: Path) -> None:
        """Begin an environment or server anew: an empty draft, with a link to it at `path`."""
        self.discard(path)
        draft = self.draft_path(path)
        if draft.parent.is_symlink():
            draft.parent.unlink()
        draft.mkdir(parents=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(draft)

    def settle(self, path: Path) -> None:
        """Move a complete draft to its place; raises `OSError` if it is not the folder that was begun.

        Whoever made it could put something else in its place.
        """
        draft = self.draft_path(path)
        if draft.parent.is_symlink() or not stat.S_ISDIR(draft.lstat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "the draft is not a folder", str(draft))
        path.unlink()
        draft.rename(path)

    def discard(self, path: Path) -> None:
        """Remove an environment or server, and its draft."""
        remove_tree(path)
        remove_tree(self.draft_path(path))

    @contextlib.asynccontextmanager
    async def making(self, path: Path, on_wait: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[None]:
        """Hold the right to make the directory `path`: one holder at a time, over all processes of this machine.

        `on_wait` is awaited once if somebody else holds it. The right ends with the process, however that ends.
        """
        with self._lock_file(path) as descriptor:
            waited = False
            while not _try_lock(descriptor):
                if on_wait is not None and not waited:
                    await on_wait()
                waited = True
                await asyncio.sleep(_LOCK_POLL_SECONDS)
            yield

    @contextlib.contextmanager
    def _lock_file(self, path: Path) -> Iterator[int]:
        name = "+".join(path.relative_to(self.root).parts)
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _remove_unless_locked(self, path: Path) -> bool:
        with self._lock_file(path) as descriptor:
            if not _try_lock(descriptor):
                return False
            self.discard(path)
            return True

    def _remove(self, path: Path, marker: str) -> None:
        (path / marker).unlink(missing_ok=True)
        remove_tree(path)

    def _image_folders(self) -> Iterator[tuple[Path, Path]]:
        for name in _folders(self.root / "images"):
            for tag in _folders(name):
                yield name, tag


def size(path: Path) -> int:
    """Bytes of all files below a folder; a file with several names counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            status = os.lstat(os.path.join(folder, name))  # noqa: PTH118
            if (identity := (status.st_dev, status.st_ino)) not in seen:
                seen.add(identity)
                total += status.st_size
    return total


def remove_tree(path: Path) -> None:
    """Remove a folder whatever its permissions are, or the file or link of this name; none is no error."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for _ in range(_REMOVE_ATTEMPTS):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            continue
        except PermissionError:
            _unlock(path)
        else:
            return
    if path.exists():
        shutil.rmtree(path)


def _unlock(path: Path) -> None:
    """Let us into all folders below, and write to them."""
    path.chmod(stat.S_IRWXU)
    for parent, names, _ in os.walk(path):
        for folder in (Path(parent, name) for name in names):
            if not folder.is_symlink():
                folder.chmod(stat.S_IRWXU)


def _component(text: str) -> str:
    if not _COMPONENT.fullmatch(text):
        raise ValueError(f"not fit for a name in the image store: {text!r}")
    return text


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(
            item for item in path.iterdir() if item.is_dir() and _COMPONENT.fullmatch(item.name.split("+")[0])
        )
    except FileNotFoundError:
        return []


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _finished(path: Path, marker: str) -> bool:
    return not path.is_symlink() and _read_marker(path / marker) is not None


def _read_marker(path: Path) -> dict[str, Any] | None:
    try:
        fields = json.loads(read_plain(path))
    except (OSError, ValueError):
        return None
    return fields if isinstance(fields, dict) else None


def _write_marker(path: Path, fields: Mapping[str, Any]) -> None:
    """Write a marker that is there whole or not at all, even after a power cut."""
    draft = path.with_name(f".{path.name}.draft")
    write_plain(draft, json.dumps(fields, indent=1, sort_keys=True), durable=True)
    draft.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
