"""The `.git` folder of one commit's work tree, as items of a layer, with what was fetched as it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from builder.git_index import git_index
from registry.git_tree import GitEntry
from registry.layer import EPOCH, OWNER, Item
from registry.tar import Kind

_PIECE_BYTES = 512 * 1024
_REF = Path("refs/bindery/commit")
_FOLDERS = (b"", b"info", b"objects", b"objects/info", b"objects/pack", b"refs", b"refs/heads", b"refs/tags")


@dataclass(frozen=True)
class Fetched:
    """A bare repository that has one commit and no more, in one pack."""

    folder: Path
    pack: Path
    shallow: bytes

    @classmethod
    def find(cls, folder: Path, commit: str) -> Fetched | None:
        """What was fetched into `folder`; None where that is more than the commit, or kept in another way."""
        packs = list((folder / "objects" / "pack").glob("*.pack"))
        refs = [path.relative_to(folder) for path in (folder / "refs").rglob("*") if path.is_file()]
        loose = any((folder / "objects").glob("??/*"))
        shallow = folder / "shallow"
        listed = shallow.read_bytes() if shallow.exists() else b""
        alone = refs == [_REF] and not (folder / "packed-refs").exists() and listed in (b"", f"{commit}\n".encode())
        complete = len(packs) == 1 and packs[0].with_suffix(".idx").exists()
        return cls(folder, packs[0], listed) if alone and complete and not loose else None


@dataclass(frozen=True)
class GitFolder:
    """The items of a `.git` folder: detached at `commit`, as shallow as what was fetched.

    `config` has the settings by section. Entries are the commit's; those `left_out` are not in the work tree.
    """

    fetched: Fetched
    commit: str
    entries: Collection[GitEntry]
    left_out: Collection[bytes]
    config: Mapping[str, Mapping[str, str]]
    exclude: str

    def __call__(self) -> Iterator[Item]:
        """All items, the folder itself first."""
        items = [Item(path, Kind.FOLDER) for path in _FOLDERS]
        items += [
            _written(b"HEAD", f"{self.commit}\n".encode()),
            _written(b"config", _config(self.config).encode(errors="surrogateescape")),
            _written(b"info/exclude", self.exclude.encode()),
            _written(b"index", git_index(self.entries, EPOCH, OWNER, self.left_out), later=1),
        ]
        if self.fetched.shallow:
            items.append(_written(b"shallow", self.fetched.shallow))
        items += [_copied(self.fetched.pack.with_suffix(suffix)) for suffix in (".pack", ".idx")]
        yield from sorted(items, key=lambda item: item.path.split(b"/"))


def _written(path: bytes, data: bytes, later: int = 0) -> Item:
    return Item(path, Kind.FILE, 0o644, len(data), read=lambda: [data], later=later)


def _copied(path: Path) -> Item:
    return Item(
        b"objects/pack/" + path.name.encode(), Kind.FILE, 0o444, path.stat().st_size, read=partial(_pieces, path)
    )


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _config(sections: Mapping[str, Mapping[str, str]]) -> str:
    lines = []
    for section, settings in sections.items():
        lines += [f"[{section}]\n", *(f"\t{name} = {_quoted(value)}\n" for name, value in settings.items())]
    return "".join(lines)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
