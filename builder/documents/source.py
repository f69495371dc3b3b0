"""What a document is made from: one file of a commit, and the pictures beside it that it may show."""

from __future__ import annotations

import base64
import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from builder.tree import Tree

#: Largest file that is rendered, in bytes, by how its name ends; of longer texts the beginning is.
LARGEST_NOTEBOOK = 4 * 1024 * 1024
LARGEST_TEXT = 256 * 1024
#: Pictures of one document: how many, the bytes of one, and of all.
MOST_PICTURES = 12
LARGEST_PICTURE = 512 * 1024
LARGEST_PICTURES = 1536 * 1024

MARKDOWN = (".md", ".markdown", ".mdown")
NOTEBOOK = ".ipynb"

_README = re.compile(r"readme(\.md|\.markdown|\.mdown|\.rst|\.txt)?", re.IGNORECASE)
_PICTURE = re.compile(r"""(?:\]\(\s*|src\s*=\s*\\?["'])([^\s)"'\\<>]{1,300}\.(?:png|jpe?g|gif))""", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """The text of the file at `path`. `pictures` are the contents of files, by their paths.

    Relative links lead below `link_base`; without one they lead nowhere.
    """

    path: str
    text: str
    cut: bool = False
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    link_base: str = ""

    def to_json(self) -> bytes:
        """The source as one JSON object; `from_json` reads it back."""
        pictures = {path: base64.b64encode(content).decode() for path, content in self.pictures.items()}
        return json.dumps({**self.__dict__, "pictures": pictures}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Source:
        """Read what `to_json` wrote."""
        fields = json.loads(data)
        pictures = {path: base64.b64decode(text) for path, text in fields["pictures"].items()}
        return cls(**{**fields, "pictures": pictures})

    def beside(self, address: str) -> str:
        """The path of what a relative address in this file means; empty for what is not in the repository."""
        return beside(self.path, address)

    def link(self, address: str) -> str:
        """Where a relative address in this file leads on the repository's own host; empty for nowhere."""
        path = self.beside(address)
        return f"{self.link_base}/{quote(path, safe='/')}" if path and self.link_base else ""


def readme(tree: Tree) -> str:
    """The path of a commit's readme; empty when it has none."""
    found = [path for path in tree.entries if "/" not in path and _README.fullmatch(path) and tree.is_file(path)]
    return min(found, key=lambda path: (not path.lower().endswith(MARKDOWN), path), default="")


def readable(path: str) -> bool:
    """Whether files of this name can be shown."""
    return path.lower().endswith((*MARKDOWN, NOTEBOOK, ".rst", ".txt")) or _README.fullmatch(path) is not None


def read(tree: Tree, path: str, link_base: str) -> Source | None:
    """The source of the file at `path`; None when it is not there, not of a kind that is shown, or too large."""
    if not readable(path) or not tree.is_file(path):
        return None
    notebook = path.lower().endswith(NOTEBOOK)
    size = tree.size(path)
    if notebook and size > LARGEST_NOTEBOOK:
        return None
    content = tree.read(path, size)
    cut = not notebook and size > LARGEST_TEXT
    text = (content[:LARGEST_TEXT] if cut else content).decode(errors="replace")
    return Source(path, text, cut, _pictures(tree, path, text), link_base)


def _pictures(tree: Tree, path: str, text: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    left = LARGEST_PICTURES
    for address in dict.fromkeys(_PICTURE.findall(text)):
        wanted = beside(path, address)
        if len(found) >= MOST_PICTURES:
            break
        if not wanted or not tree.is_file(wanted) or tree.size(wanted) > min(LARGEST_PICTURE, left):
            continue
        found[wanted] = tree.read(wanted, LARGEST_PICTURE)
        left -= len(found[wanted])
    return found


def beside(path: str, address: str) -> str:
    """What a relative `address` in the file at `path` names; empty for what is not in the repository."""
    plain = unquote(re.split("[?#]", address)[0])
    if not plain or plain.startswith(("//", "\\")) or re.match(r"[a-z][a-z0-9+.-]*:", plain, re.IGNORECASE):
        return ""
    folder = "" if plain.startswith("/") else posixpath.dirname(path)
    found = posixpath.normpath(posixpath.join(folder, plain.lstrip("/")))
    return "" if found.startswith("..") or found == "." or "\0" in found else found
