"""A real browser, its pages watched, and pictures of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.support.needs import chromium

SCREENSHOTS = Path(__file__).parents[2] / "test-output" / "screenshots"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DEAF = Path(__file__).with_name("deaf_chromium.py")
#: The narrowest window that has to do, and an ordinary one.
SIZES = {320: 800, 1440: 900}


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Chromium while the block runs; the test skips, or fails on CI, where there is none."""
    program = chromium()
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(
            executable_path=DEAF, args=FLAGS, env={**os.environ, "CHROMIUM": program}
        )
        try:
            yield opened
        finally:
            await opened.close()


@contextlib.asynccontextmanager
async def watched_page(context: BrowserContext, *origins: str) -> AsyncIterator[Page]:
    """A page on which no script may fail, no policy may be broken, and nothing outside of `origins` may be asked."""
    faults: list[str] = []
    opened = await context.new_page()
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda line: faults.append(line.text) if "Security Policy" in line.text else None)
    opened.on("request", lambda asked: None if asked.url.startswith((*origins, "data:")) else faults.append(asked.url))
    yield opened
    if faults:
        raise AssertionError("\n".join(faults))


async def shoot(page: Page, name: str, check: Callable[[Page], Awaitable[None]] | None = None) -> None:
    """Pictures of the whole page, narrow and wide, light and dark, in `test-output/screenshots`.

    In each of the four `check` is awaited, such as `axe.check`, and nothing may be wider than the window.
    """
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    before = page.viewport_size
    for width, height in SIZES.items():
        await page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            await page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{scheme}.png", full_page=True)
            wide = await page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                raise AssertionError(f"{name} is {wide} pixels wide in a window of {width}")
            if check is not None:
                await check(page)
    await page.emulate_media(color_scheme=None, reduced_motion=None)
    if before is not None:
        await page.set_viewport_size(before)
