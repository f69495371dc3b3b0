"""The pages of records in a real browser, over the real service: plans, builds, sessions, status."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator
from xml.etree import ElementTree

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.support import axe
from tests.support.browser import browser as chromium
from tests.support.browser import shoot, watched_page
from tests.support.git_server import GitServer
from tests.support.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

DEADLINE = 60_000


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser, service: Service) -> AsyncIterator[BrowserContext]:
    opened = await browser.new_context(base_url=service.url)
    opened.set_default_timeout(DEADLINE)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, service: Service) -> AsyncIterator[Page]:
    async with watched_page(context, service.url) as opened:
        yield opened


@pytest.fixture
def name() -> str:
    return f"records/{uuid.uuid4().hex[:8]}"


async def _badge(page: Page, name: str) -> str:
    answer = await page.request.get(f"badge/gh/{name}/HEAD.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    again = await page.request.get(f"badge/gh/{name}/HEAD.svg", headers={"if-none-match": answer.headers["etag"]})
    assert again.status == 304
    return ElementTree.fromstring(await answer.text()).attrib["aria-label"]


async def test_a_plan_can_be_read_before_and_after_a_build(
    service: Service, git_server: GitServer, page: Page, name: str
) -> None:
    repository = git_server.repository(name)
    first = repository.commit({"requirements.txt": "tabulate==0.9.0\nsix\n", "pixi.toml": ""})
    await page.goto(f"v2/gh/{name}/HEAD?preview")
    await expect(page.get_by_role("heading", name="What a build does")).to_be_visible(timeout=DEADLINE)
    await expect(page.get_by_text("name no exact version")).to_be_visible()
    await expect(page.get_by_text("pixi.toml is not read; write an environment.yml.")).to_be_visible()
    await expect(page.get_by_text("the first launch builds it")).to_be_visible()
    assert await _badge(page, name) == "Bindery: not built"
    await axe.check(page)

    assert (await service.stream(f"gh/{name}/HEAD").read()).last["phase"] == "ready"
    await page.reload()
    await expect(page.get_by_text("this commit can be launched at once")).to_be_visible()
    await expect(page.get_by_role("listitem").filter(has_text=re.compile("^tabulate 0.9.0$"))).to_be_visible()
    await shoot(page, "plan-after", axe.check)
    await page.get_by_role("link", name="Its last build").click()
    await expect(page.get_by_role("heading", name=name)).to_be_visible()
    await expect(page.get_by_role("log")).to_contain_text("Done! Image built")
    await shoot(page, "build-ready", axe.check)

    second = repository.commit({"n.ipynb": "{}"})
    await page.goto(f"v2/gh/{name}/{second}?preview")
    await expect(page.get_by_text("only this commit's files have to be added")).to_be_visible(timeout=DEADLINE)
    await page.get_by_role("link", name=first[:12]).click()
    await expect(page.get_by_text("this commit can be launched at once")).to_be_visible()


@pytest.mark.parametrize(
    ("files", "status", "text"),
    [
        ({"requirements.txt": "<<<<<<< HEAD\n"}, 422, "There is no plan"),
        ({"environment.yml": "dependencies:\n- numpy\n"}, 200, "It cannot be built here"),
    ],
)
async def test_a_plan_that_cannot_be_carried_out_says_why(
    git_server: GitServer, page: Page, name: str, files: dict[str, str], status: int, text: str
) -> None:
    git_server.repository(name).commit(files)
    await page.goto(f"v2/gh/{name}/HEAD?preview")
    await expect(page.get_by_role("heading", name=text)).to_be_visible(timeout=DEADLINE)
    assert (await page.request.get(f"v2/gh/{name}/HEAD?preview")).status == status
    await axe.check(page)


async def test_a_build_is_followed_to_its_end_and_kept(
    service: Service, git_server: GitServer, page: Page, name: str
) -> None:
    git_server.repository(name).commit(
        # Long enough to be looked at; it is cancelled.
        {"postBuild": "#!/bin/sh\nfor n in $(seq 600); do echo part $n; sleep 0.2; done\n"}
    )
    owner, _, spec = f"gh/{name}/HEAD".partition("/")
    made = await page.request.post("api/v1/builds", data={"provider": owner, "spec": spec})
    build = (await made.json())["id"]
    await page.goto(f"builds/{build}")
    await expect(page.get_by_role("log")).to_contain_text("part 2", timeout=DEADLINE)
    await expect(page.locator(".phases [aria-current=step]")).to_be_visible()
    await shoot(page, "build-running", axe.check)
    token = json.loads((service.data_dir / "service.json").read_text())["token"]
    await page.request.post(f"api/v1/builds/{build}/cancel", headers={"authorization": f"Bearer {token}"})
    await expect(page.locator(".page-head .chip")).to_have_text("Cancelled", timeout=DEADLINE)
    await expect(page.get_by_role("log")).to_contain_text("part 2")
    await axe.check(page)


async def test_a_failed_build_says_why_and_how_to_mend_it(
    service: Service, git_server: GitServer, page: Page, name: str
) -> None:
    git_server.repository(name).commit({"requirements.txt": "no-such-package-at-all==1\n"})
    await service.stream(f"gh/{name}/HEAD").read()
    await page.goto(f"v2/gh/{name}/HEAD?preview")
    await expect(page.get_by_role("heading", name="Its last build failed")).to_be_visible()
    await page.get_by_role("link", name="Its last build").click()
    await expect(page.get_by_text("unsatisfiable_requirements")).to_be_visible()
    await shoot(page, "build-failed", axe.check)
    assert await _badge(page, name) == "Bindery: failed"
    missing = await page.request.get("builds/0123456789abcdef")
    assert missing.status == 404


async def test_a_browser_finds_its_sessions_again_and_ends_them(
    browser: Browser, service: Service, git_server: GitServer, context: BrowserContext, page: Page, name: str
) -> None:
    git_server.repository(name).commit({"a.txt": "x"})
    await page.goto("sessions")
    await expect(page.get_by_role("heading", name="No session is running")).to_be_visible()
    await page.goto(f"v2/gh/{name}/HEAD?urlpath=api")
    await page.wait_for_url("**/user/**")
    session = page.url
    # What runs in a session shares the origin; it may not read the list, which has the other sessions' tokens.
    assert (await page.request.get("sessions", headers={"sec-fetch-dest": "empty"})).status == 403

    await page.goto("sessions")
    await expect(page.get_by_role("heading", name=name)).to_be_visible()
    await expect(page.locator("time[data-until]").first).to_contain_text("in ")
    await shoot(page, "sessions", axe.check)
    address = await page.get_by_role("link", name=f"Return to {name}").get_attribute("href")
    assert address is not None
    assert (await page.request.get(address)).status == 200

    stranger = await browser.new_context(base_url=service.url)
    proof = await page.locator("input[name=proof]").get_attribute("value")
    assert proof
    theirs = session.partition("/user/")[2].partition("/")[0]
    stopping = await stranger.request.post("sessions/stop", form={"session": theirs, "proof": proof})
    assert stopping.status == 403
    await stranger.close()

    # With the keyboard alone.
    await page.get_by_role("link", name=f"Return to {name}").focus()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name=f"Stop {name}")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_have_text("The session is being stopped.")
    # The page says by itself that it has ended.
    await expect(page.get_by_role("heading", name="No session is running")).to_be_visible(timeout=DEADLINE)
    await expect(page.get_by_role("status")).to_have_count(0)
    again = page.get_by_role("link", name=f"Launch again {name}")
    await expect(again).to_be_visible(timeout=DEADLINE)
    await axe.check(page)

    answer = await page.goto(session)
    assert answer is not None
    assert answer.status == 424
    await expect(page.get_by_text("It was ended by its visitor.")).to_be_visible()
    await expect(page.get_by_role("link", name="Start again")).to_have_attribute("href", f"/v2/gh/{name}/HEAD")
    await shoot(page, "gone", axe.check)
    assert (await page.request.get("user/never-was/")).status == 404


async def test_the_list_works_without_scripts(
    browser: Browser, service: Service, git_server: GitServer, context: BrowserContext, page: Page, name: str
) -> None:
    git_server.repository(name).commit({"a.txt": "x"})
    await page.goto(f"v2/gh/{name}/HEAD?urlpath=api")
    await page.wait_for_url("**/user/**")
    plain = await browser.new_context(
        base_url=service.url, java_script_enabled=False, storage_state=await context.storage_state()
    )
    try:
        quiet = await plain.new_page()
        await quiet.goto("sessions")
        await quiet.get_by_role("button", name=f"Stop {name}").click()
        await expect(quiet.get_by_role("status")).to_have_text("The session is being stopped.")
    finally:
        await plain.close()


async def test_the_status_page_counts_what_happened(service: Service, page: Page) -> None:
    await page.goto("status?window=hour")
    await expect(page.get_by_text("All is well")).to_be_visible()
    await expect(page.locator(".chart .bar.ready").first).to_be_visible()
    await shoot(page, "status", axe.check)
    await page.get_by_text("The numbers").click()
    await axe.check(page)
    await page.get_by_role("link", name="Last week").click()
    await expect(page.get_by_role("link", name="Last week")).to_have_attribute("aria-current", "page")
    told = await (await page.request.get("status.json")).json()
    assert told["launches"]["hour"]["outcomes"]["ready"] >= 1
    assert all(times["median"] > 0 for times in told["launches"]["hour"]["times"].values())
    assert (await (await page.request.get("api/v1/status")).json())["targets"] == told["targets"]
    asked = await page.request.get("status", headers={"accept": "application/json"})
    assert (await asked.json())["version"] == told["version"]


async def test_a_german_reader_gets_german_pages(browser: Browser, service: Service) -> None:
    context = await browser.new_context(base_url=service.url, locale="de-AT")
    async with watched_page(context, service.url) as page:
        for address in ("", "about", "status", "sessions", "nowhere"):
            await page.goto(address)
            assert await page.locator("html").get_attribute("lang") == "de"
            await expect(page.get_by_role("link", name="Meine Sitzungen").first).to_be_visible()
            await axe.check(page)
        await page.goto("v2/gh/records/never-was/HEAD")
        await expect(page.get_by_role("heading", name="Dieses Repository gibt es nicht")).to_be_visible()
        await shoot(page, "german-failed", axe.check)
    await context.close()
