"""Headers of tar archives: the old form where it suffices, PAX records where it does not."""

from __future__ import annotations

from enum import Enum

from bindery.errors import LayerRefused

BLOCK = 512
#: How an archive ends.
END = bytes(2 * BLOCK)
_NAME, _PREFIX, _LINK = 100, 155, 100
_MAX_OCTAL_SIZE = 8**11
_MAX_PATH = 4096


class Kind(Enum):
    """What an item is, and how tar writes that."""

    FILE = b"0"
    LINK = b"2"
    FOLDER = b"5"


def header(
    path: bytes, kind: Kind, mode: int, size: int, target: bytes, modified: int, owner: int, group: int
) -> bytes:
    """The blocks before an item's content. Names may be any bytes."""
    if kind is Kind.FOLDER:
        path += b"/"
    if len(path) > _MAX_PATH or len(target) > _MAX_PATH:
        raise LayerRefused(f"A name in the repository has more than {_MAX_PATH} bytes.")
    size = size if kind is Kind.FILE else 0
    records = b""
    split = _split(path)
    if split is None:
        records += _record(b"path", path)
        split = (b"", path[:_NAME].rstrip(b"/"))
    if len(target) > _LINK:
        records += _record(b"linkpath", target)
    if size >= _MAX_OCTAL_SIZE:
        records += _record(b"size", str(size).encode())
    main = _block(split, kind.value, mode, size % _MAX_OCTAL_SIZE, target[:_LINK], modified, owner, group)
    if not records:
        return main
    extended = _block((b"", b"PaxHeaders/item"), b"x", 0o644, len(records), b"", modified, owner, group)
    return extended + records + padding(len(records)) + main


def padding(size: int) -> bytes:
    """What follows content of this size."""
    return bytes(-size % BLOCK)


def _block(
    split: tuple[bytes, bytes], kind: bytes, mode: int, size: int, target: bytes, modified: int, owner: int, group: int
) -> bytes:
    prefix, name = split
    block = b"".join(
        (
            name.ljust(_NAME, b"\0"),
            b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode & 0o777, owner, group, size, modified),
            b"        ",
            kind,
            target.ljust(_LINK, b"\0"),
            b"ustar\x0000",
            bytes(80),
            prefix.ljust(_PREFIX, b"\0"),
            bytes(12),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _split(path: bytes) -> tuple[bytes, bytes] | None:
    """A path as the old form has it: (prefix, name); None when it is too long for it."""
    if len(path) <= _NAME:
        return b"", path
    cut = path.rfind(b"/", 0, min(_PREFIX + 1, len(path) - 1))
    if cut > 0 and len(path) - cut - 1 <= _NAME:
        return path[:cut], path[cut + 1 :]
    return None


def _record(name: bytes, value: bytes) -> bytes:
    """A PAX record, which begins with its own length."""
    rest = b" " + name + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return str(length).encode() + rest
