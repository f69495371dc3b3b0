from __future__ import annotations

import pytest

from tests.support.trees import Link, Submodule, tree_of

TREE = tree_of(
    {
        "a.txt": "a",
        "folder/b.txt": "b",
        "folder/deeper/c.txt": "c",
        "to-a": Link("a.txt"),
        "folder/up": Link("../a.txt"),
        "to-folder": Link("folder"),
        "out": Link("../../etc/passwd"),
        "absolute": Link("/etc/passwd"),
        "loop": Link("pool"),
        "pool": Link("loop"),
        "nowhere": Link("missing/b.txt"),
        "through-file": Link("a.txt/b.txt"),
        "vendored": Submodule("0" * 40),
    }
)


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("a.txt", "a.txt"),
        ("./folder//b.txt", "folder/b.txt"),
        ("folder/deeper/../b.txt", "folder/b.txt"),
        ("to-a", "a.txt"),
        ("folder/up", "a.txt"),
        ("to-folder/deeper/c.txt", "folder/deeper/c.txt"),
        ("to-folder/../a.txt", "a.txt"),
        ("", ""),
        ("folder", "folder"),
    ],
)
def test_finds(path: str, real: str) -> None:
    assert TREE.resolve(path) == real


@pytest.mark.parametrize(
    "path",
    ["out", "absolute", "loop", "nowhere", "through-file", "missing", "missing/../a.txt", "..", "../a.txt",
     "a.txt/b", "a.txt/..", "vendored/x"],
)  # fmt: skip
def test_does_not_find(path: str) -> None:
    assert not TREE.is_file(path)
    assert not TREE.is_folder(path)
    with pytest.raises(KeyError):
        TREE.read(path, 10)


@pytest.mark.parametrize(
    ("path", "out"),
    [("out", True), ("absolute", True), ("loop", True), ("nowhere", False), ("through-file", False), ("to-a", False),
     ("folder/up", False), ("missing", False), ("missing/../../x", True), ("nowhere/../..", False)],
)  # fmt: skip
def test_leads_out(path: str, out: bool) -> None:
    assert TREE.leads_out(path) is out


def test_kinds_of_entries() -> None:
    assert TREE.is_file("to-a")
    assert TREE.is_folder("to-folder")
    assert TREE.is_folder("vendored")
    assert TREE.is_submodule("vendored")
    assert not TREE.is_file("vendored")
    assert TREE.in_submodule("vendored/deep/file")
    assert not TREE.in_submodule("folder/b.txt")


def test_reads_through_links() -> None:
    assert TREE.read("folder/up", 10) == b"a"
    assert TREE.size("folder/up") == 1
