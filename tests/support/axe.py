"""axe-core, which finds what keeps people from using a page."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

from playwright.async_api import Page

from tests.support.needs import need

_VERSION = "4"
_RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]


@functools.cache
def source() -> str:
    """The program's text, fetched once from npm into the tests' cache."""
    cache = Path(os.environ.get("BINDERY_TEST_CACHE", Path.home() / ".cache" / "bindery-tests"))
    script = cache / "axe" / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        need(shutil.which("npm"), "npm, to fetch axe-core")
        folder = cache / "axe"
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-save", "--prefix", str(folder), f"axe-core@{_VERSION}"]
        subprocess.run(command, check=True, timeout=120, cwd=folder)
    return script.read_text()


async def check(page: Page) -> None:
    """Fail with every violation that the page has as it is now."""
    await page.evaluate(source())
    found = await page.evaluate("(rules) => axe.run({ runOnly: rules })", _RULES)
    told = [
        f"{each['id']}: {node['html']} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]
    if told:
        raise AssertionError("\n".join(told))
