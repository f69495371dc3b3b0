"""Notebooks as harmless HTML: markdown, code, and of outputs text and pictures only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from bindery.terminal import plain
from builder.documents import markdown
from builder.documents.source import Source

#: Most cells that are shown, and characters of one text.
MOST_CELLS = 200
LONGEST_TEXT = 20_000
#: Bytes of all pictures, as they stand in the page.
LARGEST_PICTURES = 2 * 1024 * 1024

_PICTURES = ("image/png", "image/jpeg", "image/gif")


class NotANotebook(Exception):
    """The file is no notebook that can be shown."""


def render(source: Source) -> str:
    """A notebook of format 4. Raises `NotANotebook`."""
    try:
        parsed = json.loads(source.text)
    except (ValueError, RecursionError) as error:
        raise NotANotebook from error
    cells = parsed.get("cells") if isinstance(parsed, dict) else None
    if not isinstance(cells, list):
        raise NotANotebook
    return "".join(_Page(source).cells(cells))


class _Page:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = LARGEST_PICTURES

    def cells(self, cells: list[Any]) -> Iterator[str]:
        for cell in cells[:MOST_CELLS]:
            if isinstance(cell, dict):
                yield self._cell(cell)
        if len(cells) > MOST_CELLS:
            yield f'<p class="cut">{len(cells) - MOST_CELLS} more cells are not shown.</p>'

    def _cell(self, cell: Mapping[str, Any]) -> str:
        text = _text(cell.get("source"))
        if not text and not cell.get("outputs"):
            return ""
        if cell.get("cell_type") == "markdown":
            return f'<div class="cell">{markdown.render(text, self._source, self._attachments(cell))}</div>'
        if cell.get("cell_type") != "code":
            return f'<div class="cell">{markdown.plain(text)}</div>'
        outputs = cell.get("outputs")
        shown = "".join(map(self._output, outputs)) if isinstance(outputs, list) else ""
        return f'<div class="cell code"><pre class="input"><code>{escape(text)}</code></pre>{shown}</div>'

    def _attachments(self, cell: Mapping[str, Any]) -> dict[str, str]:
        given = cell.get("attachments")
        if not isinstance(given, dict):
            return {}
        found = {str(name): self._picture(bundle) for name, bundle in given.items() if isinstance(bundle, dict)}
        return {name: address for name, address in found.items() if address}

    def _output(self, output: Any) -> str:
        if not isinstance(output, dict):
            return ""
        kind = output.get("output_type")
        if kind == "stream":
            return _words(_text(output.get("text")))
        if kind == "error":
            return _words(_text(output.get("traceback"), "\n"), " error")
        data = output.get("data")
        if not isinstance(data, dict):
            return ""
        described = _text(data.get("text/plain"))
        if picture := self._picture(data):
            return f'<p class="output"><img src="{picture}" alt="{escape(described[:200]) or "Output"}"></p>'
        return _words(described)

    def _picture(self, data: Mapping[str, Any]) -> str:
        given = next((data[name] for name in _PICTURES if name in data), None)
        address = markdown.decoded(_joined(given)) if given is not None and len(_joined(given)) < self._left else ""
        self._left -= len(address)
        return address


def _words(text: str, more: str = "") -> str:
    return f'<pre class="output{more}">{escape(text)}</pre>' if text.strip() else ""


def _text(value: Any, separator: str = "") -> str:
    """A text of a notebook, which may be a list of lines, without a terminal's signs."""
    text = plain(_joined(value, separator)[: 2 * LONGEST_TEXT])
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "\n… (cut here)"


def _joined(value: Any, separator: str = "") -> str:
    if isinstance(value, list):
        return separator.join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""
