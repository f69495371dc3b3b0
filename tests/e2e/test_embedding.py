"""A journal's page, on another origin and under a strict policy, launches its article's code in place."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from bindery.data_dir import announced
from tests.support import axe
from tests.support.browser import browser as chromium
from tests.support.browser import shoot, watched_page
from tests.support.git_server import GitServer
from tests.support.journal import Journal, journal
from tests.support.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

WAIT_MS = 60_000
LABEL = "Run this article\N{RIGHT SINGLE QUOTATION MARK}s code"

expect.set_options(timeout=WAIT_MS)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    opened = await browser.new_context()
    opened.set_default_timeout(WAIT_MS)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Journal]:
    async with journal() as opened:
        yield opened


def strict(service: Service, frames: bool = False) -> str:
    """The policy of a site that lets the service's script in, and nothing else."""
    home = service.url.rstrip("/")
    framed = f" frame-src {home};" if frames else ""
    return f"default-src 'none'; script-src {home}; connect-src {home};{framed} base-uri 'none'"


def article(service: Service, button: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><title>An article</title>'
        '<meta name="color-scheme" content="light dark">'
        f'<script src="{service.url}embed.js" async></script></head>'
        f"<body><main><h1>An article</h1>{button}</main></body></html>"
    )


@pytest.fixture
def slow(git_server: GitServer) -> str:
    """A repository whose build waits long enough to be looked at."""
    name = f"embed/{uuid.uuid4().hex[:8]}"
    steps = "#!/bin/sh\nfor n in $(seq 8); do echo preparing $n; sleep 0.5; done\n"
    git_server.repository(name).commit({"postBuild": steps, "a b.ipynb": "{}"})
    return name


async def sessions(service: Service) -> int:
    """How many have not ended. The status tells of a few seconds ago; the operator's list tells of now."""
    known = announced(service.data_dir)
    assert known is not None
    bearer = {"Authorization": f"Bearer {known.token}"}
    async with aiohttp.ClientSession() as client, client.get(f"{service.url}api/v1/sessions", headers=bearer) as answer:
        return len(await answer.json())


async def test_the_code_runs_from_the_page_and_survives_a_reload(
    public: Service, slow: str, site: Journal, context: BrowserContext
) -> None:
    button = f'<bindery-launch repository="{public.url}v2/gh/{slow}/HEAD?labpath=a%20b.ipynb"></bindery-launch>'
    site.pages["/"], site.headers = article(public, button), {"Content-Security-Policy": strict(public)}
    before = await sessions(public)
    async with watched_page(context, site.url, public.url) as page:
        await page.goto(site.url)
        begin = page.get_by_role("button", name=LABEL)
        await begin.focus()
        await page.keyboard.press("Enter")
        # The button that goes away hands the focus on.
        await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
        await page.get_by_text("Log", exact=True).click()
        await expect(page.get_by_text("preparing 2")).to_be_visible()
        await shoot(page, "embed-running", axe.check)
        await page.reload()
        await expect(page.get_by_role("button", name="Cancel")).to_be_visible()
        link = page.get_by_role("link", name="Open the notebook")
        await expect(link).to_be_visible()
        assert await sessions(public) == before + 1
        await axe.check(page)
        await page.reload()
        await expect(link).to_be_visible()
        assert "/doc/tree/a%20b.ipynb?token=" in (await link.get_attribute("href") or "")
        async with context.expect_page() as opened:
            await link.press("Enter")
        await (await opened.value).wait_for_url("**/doc/tree/a%20b.ipynb*")
    assert await sessions(public) == before + 1


async def test_a_link_becomes_a_button_and_its_notebook_opens_in_the_page(
    public: Service, git_server: GitServer, site: Journal, context: BrowserContext
) -> None:
    name = f"embed/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit({"README.md": "# hello"})
    link = f'<a href="{public.url}v2/gh/{name}/HEAD?urlpath=lab" data-bindery data-target="frame">Try it</a>'
    site.pages["/"] = article(public, link)
    site.headers = {"Content-Security-Policy": strict(public, frames=True)}
    page = await context.new_page()
    await page.goto(site.url)
    await page.get_by_role("button", name="Try it").click()
    await expect(page.frame_locator("bindery-launch iframe").locator("#jp-main-dock-panel")).to_be_visible()


async def test_whoever_cancels_leaves_nothing_behind(
    public: Service, slow: str, site: Journal, context: BrowserContext
) -> None:
    button = f'<bindery-launch repository="{public.url}v2/gh/{slow}/HEAD"></bindery-launch>'
    site.pages["/"] = article(public, button)
    before = await sessions(public)
    page = await context.new_page()
    await page.goto(site.url)
    await page.get_by_role("button", name=LABEL).click()
    await page.get_by_text("Log", exact=True).click()
    await expect(page.get_by_text("preparing 1")).to_be_visible()
    async with page.expect_response(lambda answer: answer.request.method == "DELETE") as told:
        await page.get_by_role("button", name="Cancel").click()
    assert (await told.value).status == 202
    await expect(page.get_by_role("button", name=LABEL)).to_be_visible()
    assert await sessions(public) == before


async def test_a_failure_names_its_cure_and_may_be_tried_again(
    public: Service, git_server: GitServer, site: Journal, context: BrowserContext
) -> None:
    name = f"embed/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit({"requirements.txt": "numpy==99.99\n"})
    site.pages["/"] = article(public, f'<bindery-launch repository="{git_server.url}/{name}"></bindery-launch>')
    async with watched_page(context, site.url, public.url) as page:
        await page.goto(site.url)
        await page.get_by_role("button", name=LABEL).click()
        await expect(page.get_by_role("alert")).to_contain_text("unsatisfiable_requirements")
        await expect(page.get_by_role("button", name="Try again")).to_be_focused()
        await shoot(page, "embed-failed", axe.check)


@pytest.mark.parametrize("address", ["nonsense", "10.5281/"])
async def test_a_wrong_address_is_told_before_anything_is_launched(
    public: Service, site: Journal, context: BrowserContext, address: str
) -> None:
    site.pages["/"] = article(public, f'<bindery-launch repository="{address}"></bindery-launch>')
    page = await context.new_page()
    await page.goto(site.url)
    await page.get_by_role("button", name=LABEL).click()
    await expect(page.get_by_role("alert")).to_contain_text("is not a repository's address")


async def test_a_service_that_lets_no_other_site_in_offers_its_own_page(
    service: Service, site: Journal, context: BrowserContext
) -> None:
    site.pages["/"] = article(service, '<bindery-launch repository="owner/name" path="a.ipynb"></bindery-launch>')
    page = await context.new_page()
    await page.goto(site.url)
    await page.get_by_role("button", name=LABEL).click()
    await expect(page.get_by_role("alert")).to_contain_text("cannot be reached from this page")
    link = page.get_by_role("link", name="Open its own page")
    assert await link.get_attribute("href") == f"{service.url}launch?repo=owner%2Fname&path=a.ipynb"


async def test_what_oembed_gives_works_where_it_is_pasted(
    public: Service, slow: str, site: Journal, page: Page
) -> None:
    link = f"{public.url}v2/gh/{slow}/HEAD"
    async with aiohttp.ClientSession() as client:
        # As consumers find it: by the page's own head.
        async with client.get(link) as shown:
            assert "application/json+oembed" in await shown.text()
        async with client.get(f"{public.url}oembed", params={"url": link}) as answer:
            told = await answer.json()
    site.pages["/"] = f"<!doctype html><title>Blog</title>{told['html']}"
    await page.goto(site.url)
    frame = page.frame_locator("iframe")
    await frame.get_by_role("button", name=f"Run {slow}").click()
    await expect(frame.get_by_role("link", name="Open the notebook")).to_be_visible(timeout=WAIT_MS)


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> Page:
    return await context.new_page()
