from __future__ import annotations

import datetime

import pytest

from bindery.errors import InvalidDependencyFile
from builder.apt import parse_apt
from builder.runtime import Runtime, parse_runtime


@pytest.mark.parametrize(
    ("text", "packages"),
    [
        ("", ()),
        ("# none\n\n", ()),
        ("vim\ntree # why\n", ("tree", "vim")),
        ("vim tree\tvim\r\n", ("tree", "vim")),
        ("g++\nlibstdc++6\npython3.11\nlib32z1", ("g++", "lib32z1", "libstdc++6", "python3.11")),
        (
            "libc6:amd64\ngraphviz=2.42.2-7+b1\nx11-apps=1:7.7~2",
            ("graphviz=2.42.2-7+b1", "libc6:amd64", "x11-apps=1:7.7~2"),
        ),
    ],
)
def test_apt_packages(text: str, packages: tuple[str, ...]) -> None:
    assert parse_apt(text, "apt.txt") == packages


@pytest.mark.parametrize(
    "word",
    ["tree;id", "tree;", "$(id)", "`id`", "-y", "--purge", "a", "Tree", "a_b", "../x", "./x.deb", "tree=", "tree=$(id)",
     "tree&&id", "tree|id", "vim-", "vim-:amd64", "tree/stable", "tree*", "trée", "tree\x00", "tree=1=2", ":amd64"],
)  # fmt: skip
def test_apt_refuses_what_is_no_package(word: str) -> None:
    with pytest.raises(InvalidDependencyFile, match=r"apt\.txt, line 2: not a package name"):
        parse_apt(f"vim\n{word}\n", "apt.txt")


@pytest.mark.parametrize(
    ("text", "name", "version", "date"),
    [
        ("python-3.12\n", "python", "3.12", None),
        ("  r-4.4  ", "r", "4.4", None),
        ("r-4.4-2024-02-29", "r", "4.4", datetime.date(2024, 2, 29)),
        ("r-2024-02-29\r\n", "r", "", datetime.date(2024, 2, 29)),
        ("foo-1", "foo", "1", None),
    ],
)
def test_runtime(text: str, name: str, version: str, date: datetime.date | None) -> None:
    assert parse_runtime(text, "runtime.txt") == Runtime(name, version, date, "runtime.txt")


@pytest.mark.parametrize(
    "text",
    ["", "\n", "python", "python-", "-3", "python-3-9", "python-3.9-2024", "r-4.4-2024-02-30", "r-24-2-2",
     "r-4-5-6-7-8", "python-3.9\nr-4.4", "r-4.4-\uff12\uff10\uff12\uff14-02-02", "r-4.4-2024-02-0\uff11"],
)  # fmt: skip
def test_runtime_refuses(text: str) -> None:
    with pytest.raises(InvalidDependencyFile, match=r"runtime\.txt"):
        parse_runtime(text, "runtime.txt")
