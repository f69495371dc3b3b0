"""The parts of the documentation that are written from the code; `make docs` writes them anew, a test compares."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from bindery import errors
from bindery.errors import BinderyError
from bindery.settings_table import markdown
from tests.support import chart_docs

DOCS = Path(__file__).parents[2] / "docs"

_BLOCK = re.compile(r"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)


def error_classes() -> Iterator[type[BinderyError]]:
    """Every error that people may see, in the order of the module."""
    for value in vars(errors).values():
        if inspect.isclass(value) and issubclass(value, BinderyError) and value is not BinderyError:
            yield value


def error_table() -> str:
    """The errors as the documentation has them."""
    lines = ["| code | status | again? | what it means | what helps |", "|---|---|---|---|---|"]
    for kind in error_classes():
        meaning = inspect.getdoc(kind) or ""
        again = "yes" if kind.retryable else ""
        lines.append(f"| `{kind.code}` | {kind.status} | {again} | {meaning.splitlines()[0]} | {kind.default_hint} |")
    return "\n".join(lines) + "\n"


def fresh(page: str, name: str, content: str) -> str:
    """The page with its generated block written anew."""
    pattern = re.compile(_BLOCK.pattern.replace("{name}", name), re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"the page has no block called {name}")
    return pattern.sub(lambda found: found[1] + content + found[2], page)


def pages() -> dict[Path, str]:
    """Each page with generated parts, and what it should say."""
    operating, codes, chart = DOCS / "operating.md", DOCS / "errors.md", chart_docs.CHART / "README.md"
    return {
        chart_docs.CHART / "values.schema.json": chart_docs.schema(),
        chart: fresh(chart.read_text(), "values", chart_docs.table()),
        operating: fresh(operating.read_text(), "settings", markdown()),
        codes: fresh(codes.read_text(), "errors", error_table()),
    }


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content)
