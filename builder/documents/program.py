"""The program that renders one document: a source comes in, HTML goes out.

It runs apart from the service, so that whatever a text does to it, it ends within its limits.
"""

from __future__ import annotations

import os
import resource
import sys
from html import escape

from builder.documents import markdown, notebook
from builder.documents.source import MARKDOWN, NOTEBOOK, Source

#: Memory, in bytes, and processor time, in seconds.
MEMORY = 1024 * 1024 * 1024
SECONDS = 10
#: Longest page, in characters.
LONGEST = 4 * 1024 * 1024


def render(source: Source) -> str:
    """The document's HTML; empty for what cannot be shown."""
    name = source.path.lower()
    if name.endswith(NOTEBOOK):
        try:
            html = notebook.render(source)
        except notebook.NotANotebook:
            return ""
    elif name.endswith(MARKDOWN):
        html = markdown.render(source.text, source)
    else:
        html = markdown.plain(source.text)
    if source.cut:
        html += f'<p class="cut">This is the beginning of {escape(source.path)}.</p>'
    return html if len(html) <= LONGEST else ""


def main() -> None:
    """Read the source from standard input, write the HTML to standard output."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    html = render(Source.from_json(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(html.encode(errors="replace"))


if __name__ == "__main__":
    main()
