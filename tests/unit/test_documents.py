"""Readmes and notebooks of strangers become HTML that does nothing and asks for nothing."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest

from builder.documents import pictures, source
from builder.documents.program import render
from builder.documents.source import Source, beside
from builder.tree import Entry, Tree
from tests.support.attacks import MARKDOWN, MARKUP, TERMINAL

BASE = "https://github.com/o/r/tree/abc"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
GIF = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00"
FORBIDDEN = {"script", "style", "svg", "math", "iframe", "form", "input", "meta", "link", "base", "source", "object"}


class Inventory(HTMLParser):
    """Every tag and attribute of a text, as a browser reads it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data


def harmless(html: str) -> None:
    """Fail for whatever could run, ask, cover or be taken for ours."""
    for tag, attributes in Inventory(html).tags:
        assert tag not in {
            "script",
            "style",
            "svg",
            "math",
            "iframe",
            "form",
            "input",
            "meta",
            "link",
            "base",
            "source",
        }
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert not attributes.keys() & {"style", "id", "name", "srcset", "ping", "srcdoc", "formaction"}
        if tag == "img":
            assert attributes["src"].startswith(("data:image/png;base64,", "data:image/gif;base64,")), attributes
        if "href" in attributes:
            assert attributes["href"].startswith(("https://", "http://", "mailto:")), attributes
            assert attributes["rel"] == "noopener noreferrer nofollow"
            assert attributes["target"] == "_blank"


def notebook(*cells: dict[str, Any]) -> str:
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def code(text: str, /, **output: Any) -> dict[str, Any]:
    return {"cell_type": "code", "source": text, "outputs": [output]}


def output(**data: Any) -> dict[str, Any]:
    return code("x", output_type="display_data", data=data)


def attached(name: str, **data: Any) -> dict[str, Any]:
    return {"cell_type": "markdown", "source": ["# A\n", f"b ![p](attachment:{name})"], "attachments": {name: data}}


@pytest.mark.parametrize("attack", [*MARKUP, *MARKDOWN])
def test_attacks_in_markdown_are_harmless(attack: str) -> None:
    pictures = {"logo.png": PNG}
    for text in (attack, f"words {attack} words", f"> - {attack}", f"<div>\n\n{attack}\n\n</div>"):
        harmless(render(Source("README.md", text, pictures=pictures, link_base=BASE)))


@pytest.mark.parametrize("attack", [*MARKUP, *MARKDOWN, *TERMINAL])
def test_attacks_in_notebooks_are_harmless(attack: str) -> None:
    cells = (
        {"cell_type": "markdown", "source": attack, "attachments": {"a.png": {"image/png": attack}}},
        {
            "cell_type": "markdown",
            "source": "![x](attachment:a.svg)",
            "attachments": {"a.svg": {"image/svg+xml": attack}},
        },
        {"cell_type": "raw", "source": attack},
        code(attack, output_type="stream", text=attack),
        output(**{"text/html": attack, "text/plain": attack}),
        output(**{"image/svg+xml": attack}),
        output(**{"image/png": attack, "text/plain": attack}),
        output(**{"application/javascript": "window.hacked=1", "text/latex": attack}),
        output(**{"image/png": base64.b64encode(PNG).decode(), "text/plain": f'" onerror="{attack}'}),
        {
            "cell_type": "code",
            "source": "",
            "outputs": [{"output_type": "error", "traceback": [attack], "ename": attack}],
        },
    )
    html = render(Source("n.ipynb", notebook(*cells), link_base=BASE))
    harmless(html)
    assert "\x1b" not in html
    assert "\u202e" not in html


@pytest.mark.parametrize("attack", MARKUP)
def test_attacks_in_plain_texts_and_names_are_text(attack: str) -> None:
    page = Inventory(render(Source(f"{attack}.txt", attack, cut=True)))
    assert [tag for tag, _ in page.tags] == ["pre", "p"]
    assert attack in page.text


def test_a_readme_keeps_what_it_says() -> None:
    text = (
        "# Title\n\n[guide](docs/guide.md#a) [up](../x) [anchor](#b) [out](https://example.org)\n\n"
        '<p align="center"><img src="logo.png" width="80"></p>\n\n![chart](missing.png)\n\n'
        "| a | b |\n|--|:-:|\n| 1 | ~~2~~ |\n"
    )
    page = Inventory(render(Source("README.md", text, pictures={"logo.png": PNG}, link_base=BASE)))
    links = [attributes.get("href") for tag, attributes in page.tags if tag == "a"]
    assert links == [f"{BASE}/docs/guide.md", None, None, "https://example.org"]
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert (image["width"], image["alt"]) == ("80", "")
    assert {"h1", "table", "th", "s"} <= {tag for tag, _ in page.tags}
    assert "chart" in page.text


def test_a_notebook_shows_code_text_and_pictures() -> None:
    cells = (
        attached("p.gif", **{"image/gif": base64.b64encode(GIF).decode()}),
        code("1 < 2", output_type="stream", text=["\x1b[31mred\x1b[0m\n"]),
        output(**{"image/png": base64.b64encode(PNG).decode(), "text/plain": "<Figure>"}),
        output(**{"text/html": "<b>no</b>", "text/plain": "a table"}),
    )
    page = Inventory(render(Source("n.ipynb", notebook(*cells))))
    assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == ["p", "<Figure>"]
    assert "1 < 2" in page.text
    assert "red" in page.text
    assert "a table" in page.text
    assert "no" not in page.text.replace("notebook", "")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"cells": 1}', "not json", "[" * 100_000, '{"cells": [1, null, {"cell_type": []}]}']
)
def test_a_broken_notebook_is_not_shown_or_empty(text: str) -> None:
    assert render(Source("n.ipynb", text)) == ""


@pytest.mark.parametrize(
    "content",
    [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"<svg/>", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00", b"RIFF....WEBP"],
)
def test_what_is_no_picture_is_not_shown(content: bytes) -> None:
    assert pictures.data_uri(content) == ""


def test_a_picture_of_too_many_pixels_is_not_shown() -> None:
    assert pictures.data_uri(PNG)
    assert pictures.data_uri(PNG[:16] + struct.pack(">II", 60_000, 60_000) + PNG[24:]) == ""
    assert pictures.data_uri(GIF[:6] + struct.pack("<HH", 60_000, 60_000) + GIF[10:]) == ""


def test_a_jpeg_is_measured() -> None:
    frame = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + struct.pack(">HH", 10, 20) + b"\x03" * 12
    assert pictures.data_uri(frame).startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    ("path", "address", "found"),
    [
        ("README.md", "a/b.png", "a/b.png"),
        ("docs/n.ipynb", "../a%20b.png?raw=true#x", "a b.png"),
        ("docs/n.md", "/x.png", "x.png"),
        ("README.md", "../x.png", ""),
        ("README.md", "a/../../x.png", ""),
        ("README.md", "//h/x.png", ""),
        ("README.md", "https://h/x.png", ""),
        ("README.md", "#x", ""),
        ("README.md", ".", ""),
    ],
)
def test_addresses_are_read_within_the_repository(path: str, address: str, found: str) -> None:
    assert beside(path, address) == found


def _tree(files: dict[str, bytes]) -> Tree:
    entries = {path: Entry("100644", path, len(content)) for path, content in files.items()}
    return Tree(entries, lambda name, limit: files[name][:limit], lambda: "t")


def test_the_readme_is_found_and_read_with_its_pictures() -> None:
    tree = _tree({"readme.rst": b"x", "README.md": b"![](a.png) ![](b.png)", "docs/README.md": b"y", "a.png": PNG})
    assert source.readme(tree) == "README.md"
    found = source.read(tree, "README.md", BASE)
    assert found is not None
    assert Source.from_json(found.to_json()) == found
    assert dict(found.pictures) == {"a.png": PNG}


@pytest.mark.parametrize("path", ["missing.md", "setup.py", "../README.md", "big.ipynb", "/etc/passwd", "sub"])
def test_other_files_are_not_shown(path: str) -> None:
    tree = _tree({"setup.py": b"x", "big.ipynb": b" " * (source.LARGEST_NOTEBOOK + 1), "sub/a.md": b"x"})
    assert source.read(tree, path, BASE) is None


def test_of_a_long_text_the_beginning_is_shown() -> None:
    found = source.read(_tree({"README.md": b"word " * 100_000}), "README.md", BASE)
    assert found is not None
    assert "This is the beginning of README.md" in render(found)


@pytest.mark.parametrize("text", ["![" * 20_000, "<a " * 20_000])
def test_texts_made_to_take_long_end_in_time(text: str) -> None:
    """The program has its own limits; it must not even need them."""
    ended = subprocess.run(
        [sys.executable, "-I", "-m", "builder.documents.program"],
        input=Source("README.md", text).to_json(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode in (0, -9, -24)
