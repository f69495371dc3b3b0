"""A visitor's way in a real browser: form, launch page, JupyterLab, all cells run, a plot on the page."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support.browser import SCREENSHOTS
from tests.support.browser import browser as chromium
from tests.support.git_server import GitServer
from tests.support.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

expect.set_options(timeout=60_000)


def notebook(*sources: str) -> str:
    cells: list[dict[str, object]] = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "outputs": [], "execution_count": None, "source": source}
        for n, source in enumerate(sources)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    page.set_default_timeout(60_000)
    # Told with a failure: what the browser asked for and did not get.
    page.on("requestfailed", lambda request: print("failed:", request.url, request.failure))
    page.on("response", lambda answer: print(answer.status, answer.url) if answer.status >= 400 else None)
    yield page
    await context.close()


async def shot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / f"{name}.png")


async def test_from_the_form_to_a_plot(service: Service, git_server: GitServer, page: Page) -> None:
    name = f"journey/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit(
        {
            "requirements.txt": "matplotlib\n",
            "plots/wave.ipynb": notebook("import matplotlib.pyplot as plt", "plt.plot([0, 1, 0, -1, 0]);"),
            # Long enough to be looked at, in a build that is otherwise over too soon.
            "postBuild": "#!/bin/sh\nfor n in 1 2 3 4 5 6; do echo preparing $n; sleep 0.3; done\n",
        }
    )
    await page.goto(service.url)
    await page.get_by_role("textbox", name="Repository").fill(f"{git_server.url}/{name}")
    await page.get_by_label("Open at start").fill("plots/wave.ipynb")
    await expect(page.get_by_label("Link", exact=True)).to_have_value(
        f"{service.url}v2/gh/{name}/HEAD?labpath=plots%2Fwave.ipynb"
    )
    await shot(page, "form")
    await page.get_by_role("button", name="Launch").click()
    await page.wait_for_url("**/v2/gh/**")
    await expect(page.get_by_text("preparing 2")).to_be_visible()
    await shot(page, "launching")
    await page.wait_for_url("**/user/**/plots/wave.ipynb*")
    await page.locator(".jp-Notebook").first.wait_for()
    await expect(page.get_by_text("| Idle")).to_be_visible()
    await page.get_by_text("Run", exact=True).first.click()
    await page.get_by_text("Run All Cells", exact=True).click()
    await page.locator(".jp-OutputArea-output img").first.wait_for()
    await shot(page, "plot")


async def test_a_failed_launch_shows_the_cure(service: Service, git_server: GitServer, page: Page) -> None:
    name = f"journey/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit({"requirements.txt": "numpy==99.99\n"})
    await page.goto(f"{service.url}v2/gh/{name}/HEAD")
    await expect(page.get_by_text("unsatisfiable_requirements")).to_be_visible()
    await shot(page, "failed")


async def test_two_tabs_follow_one_build_and_get_a_session_each(
    service: Service, git_server: GitServer, browser: Browser
) -> None:
    name = f"journey/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit({"postBuild": "#!/bin/sh\nfor n in 1 2 3 4; do echo step $n; sleep 0.5; done\n"})
    context = await browser.new_context()
    tabs = [await context.new_page() for _ in range(2)]
    try:
        await asyncio.gather(*(tab.goto(f"{service.url}v2/gh/{name}/HEAD?urlpath=lab") for tab in tabs))
        await asyncio.gather(*(tab.wait_for_url("**/user/**/lab*", timeout=60_000) for tab in tabs))
        addresses = {tab.url.partition("/user/")[2].partition("/")[0] for tab in tabs}
        assert len(addresses) == 2
    finally:
        await context.close()
