"""The launch page over the real service, in every state that a visitor can meet, looked at and checked by axe."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, Route, expect

from tests.support import axe
from tests.support.attacks import MARKUP
from tests.support.browser import browser as chromium
from tests.support.browser import shoot, watched_page
from tests.support.git_server import GitServer, Repository
from tests.support.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

expect.set_options(timeout=60_000)

README = """# Waves

A small study of **waves** in a box. See [the notes](docs/notes.md) and <https://example.org>.

| wave | length |
|------|-------:|
| long | 3.2 m  |

```python
import math
```
"""
#: As long as somebody has to look at what goes on.
WAITING = "#!/bin/sh\nn=0\nwhile [ ! -e /nonexistent ]; do n=$((n+1)); echo preparing $n; sleep 0.2; done\n"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    opened = await browser.new_context(viewport={"width": 1440, "height": 900})
    opened.set_default_timeout(60_000)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, service: Service) -> AsyncIterator[Page]:
    # A failed server is started again on another port, so every address of this machine will do.
    async with watched_page(context, "http://127.0.0.1:") as opened:
        yield opened


def notebook(*cells: dict[str, Any]) -> str:
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def repository(git: GitServer, files: dict[str, str]) -> tuple[str, Repository]:
    name = f"look/{uuid.uuid4().hex[:8]}"
    made = git.repository(name)
    made.commit(files)
    return name, made


def status(page: Page) -> Locator:
    return page.locator("#status")


def log(page: Page) -> Locator:
    return page.get_by_role("log")


async def test_the_page_is_there_before_anybody_answered(service: Service, git_server: GitServer, page: Page) -> None:
    name = f"look/{uuid.uuid4().hex[:8]}"
    git_server.silent.add(f"/{name}")
    await page.goto(f"{service.url}v2/gh/{name}/main?labpath=waves.ipynb")
    await expect(page.get_by_role("heading", name=name)).to_be_visible()
    await expect(page.get_by_text("First GitHub is asked which commit “main” is.")).to_be_visible()
    painted = await page.evaluate(
        "new Promise((done) => new PerformanceObserver((list) => {"
        " const found = list.getEntriesByName('first-contentful-paint')[0]; if (found) done(found.startTime); })"
        ".observe({ type: 'paint', buffered: true }))"
    )
    print(f"first contentful paint after {painted:.0f} ms, no provider has answered")
    weight = await page.evaluate(
        "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
        ".filter((each) => !each.name.includes('/build/')).reduce((sum, each) => sum + each.decodedBodySize, 0)"
    )
    print(f"the page weighs {weight} bytes")
    assert 20_000 < weight < 100_000
    await expect(status(page)).to_have_text("Asking GitHub which commit that is…")
    await shoot(page, "launch-asking", axe.check)
    await page.get_by_role("button", name="Cancel").click()
    await expect(status(page)).to_have_text("You cancelled this launch.")
    await expect(page.get_by_text("Nothing was started yet.")).to_be_visible()


async def test_a_fresh_build_with_something_to_read_then_cancelled(
    service: Service, git_server: GitServer, page: Page
) -> None:
    cells = (
        {"cell_type": "markdown", "source": "# Waves\nin a *box*"},
        {"cell_type": "code", "source": "1 + 1", "outputs": [{"output_type": "stream", "text": "2"}]},
    )
    files = {"README.md": README, "waves.ipynb": notebook(*cells), "postBuild": WAITING}
    name, _ = repository(git_server, files)
    await page.goto(f"{service.url}v2/gh/{name}/HEAD?labpath=waves.ipynb")
    await expect(log(page)).to_contain_text("preparing 3")
    await expect(page.locator("#commit a")).to_have_text(re.compile("[0-9a-f]{12}"))
    await expect(page.get_by_text("How this repository was understood")).to_be_visible()
    frame = page.frame_locator("#reading iframe")
    await expect(frame.get_by_role("heading", name="Waves")).to_be_visible()
    await expect(frame.get_by_text("1 + 1")).to_be_visible()
    await expect(page.get_by_role("heading", name="While you wait: waves.ipynb")).to_be_visible()
    environment = page.locator("#plan-environment")
    await expect(environment).to_be_visible()
    assert await page.title() == f"Binding: {name} · Bindery"
    await shoot(page, "launch-building", axe.check)
    await page.get_by_role("button", name="Cancel").focus()
    await page.keyboard.press("Enter")
    await expect(status(page)).to_have_text("You cancelled this launch.")
    await expect(page.get_by_text("Nobody else waited for the build, so it is stopped, too.")).to_be_visible()
    await expect(page.locator('[data-step="build"]')).to_contain_text("cancelled")
    await expect(page.get_by_role("heading", name="waves.ipynb", exact=True)).to_be_visible()
    await expect(environment).to_be_hidden()
    await expect(page.get_by_role("link", name="Launch again")).to_be_visible()
    await expect(page).to_have_title(f"Cancelled: {name} · Bindery")
    await shoot(page, "launch-cancelled", axe.check)


async def test_a_known_image_opens_at_once_with_its_readme_at_hand(
    service: Service, git_server: GitServer, page: Page
) -> None:
    name, made = repository(git_server, {"README.md": README})
    await page.goto(f"{service.url}v2/gh/{name}/HEAD?urlpath=lab")
    await page.wait_for_url("**/user/**/lab*")
    # Kept open at the moment before the visitor would be gone.
    seen: list[dict[str, Any]] = []
    await page.expose_function("tell", lambda event: seen.append(event))
    await page.route("**/static/stream.js*", _telling)
    await page.goto(f"{service.url}v2/gh/{name}/HEAD?urlpath=lab")
    await page.wait_for_url("**/user/**/lab*")
    about = seen[0]["about"]
    assert about["build_id"] is None
    assert list(about["documents"]) == ["README.md"]
    assert [event.get("phase") for event in seen[1:]] == ["built", "launching", "ready"]
    # A new commit with the same dependencies reuses the environment.
    made.commit({"README.md": README + "\nMore.\n"})
    seen.clear()
    await page.goto(f"{service.url}v2/gh/{name}/HEAD?urlpath=lab")
    await page.wait_for_url("**/user/**/lab*")
    assert [event["environment"] for event in seen if "environment" in event] == ["reused"]


async def _telling(route: Route) -> None:
    answer = await route.fetch()
    text = await answer.text()
    told = text.replace(
        "this.#handlers.event(", "globalThis.tell?.(JSON.parse(data.join('\\n'))); this.#handlers.event("
    )
    assert told != text
    await route.fulfill(response=answer, body=told)


FAILURES: list[tuple[str, dict[str, str], str, str]] = [
    ("missing", {"requirements.txt": "no-such-package-at-all\n"}, "A package cannot be found", "Check how it is spelt"),
    ("version", {"requirements.txt": "numpy==99.99\n"}, "There is no such version of numpy", "loosen the pin"),
    (
        "conflict",
        {"requirements.txt": "ipykernel==6.29.5\ntraitlets==4.0\n"},
        "The packages' versions contradict each other",
        "Loosen the pins",
    ),
    ("file", {"requirements.txt": "numpy ==\n"}, "A dependency file cannot be read", "Correct requirements.txt"),
    (
        "post-build",
        {"postBuild": "#!/bin/sh\necho one\npython -c 'import nowhere'\n"},
        "A Python module is missing: nowhere",
        "Add the package",
    ),
    ("memory", {"postBuild": "#!/bin/sh\necho Killed\nexit 137\n"}, "The build ran out of memory", "smaller packages"),
    ("python", {"runtime.txt": "python-2.7\n"}, "This Python version is not to be had here", ""),
]


@pytest.mark.parametrize(("kind", "files", "title", "cure"), FAILURES, ids=[kind for kind, *_ in FAILURES])
async def test_a_build_that_fails_says_why_and_what_helps(
    service: Service, git_server: GitServer, page: Page, kind: str, files: dict[str, str], title: str, cure: str
) -> None:
    name, _ = repository(git_server, {"README.md": README, **files})
    await page.goto(f"{service.url}v2/gh/{name}/HEAD")
    alert = page.get_by_role("alert")
    await expect(alert.get_by_role("heading", name=title)).to_be_visible()
    if cure:
        await expect(alert).to_contain_text(cure)
    report = alert.get_by_role("link", name="Tell the authors")
    await expect(report).to_have_attribute("href", re.compile(rf"/{name}/issues/new\?title=Launching"))
    await expect(alert.get_by_role("link", name="Open the log")).to_have_attribute("href", re.compile("/builds/"))
    await expect(page).to_have_title(f"Failed: {name} · Bindery")
    if kind == "version":
        line = alert.get_by_role("link", name=re.compile("Line ")).first
        number = (await line.inner_text()).strip()
        await line.click()
        await expect(page.locator(".log-line.marked")).to_be_in_viewport()
        assert page.url.endswith(f"#L{number}")
        await expect(page.locator(".log-line.marked")).to_have_text(await alert.locator("code").nth(0).inner_text())
    if kind in ("conflict", "post-build"):
        await shoot(page, f"launch-failed-{kind}", axe.check)


async def test_a_ref_that_does_not_exist_leads_to_those_that_do(
    service: Service, git_server: GitServer, page: Page
) -> None:
    name, _ = repository(git_server, {"README.md": README})
    await page.goto(f"{service.url}v2/gh/{name}/maim?labpath=README.md")
    alert = page.get_by_role("alert")
    await expect(alert.get_by_role("heading", name="There is no such branch, tag or commit")).to_be_visible()
    await expect(page.locator('[data-step="resolve"]')).to_contain_text("failed")
    await shoot(page, "launch-failed-ref", axe.check)
    await alert.get_by_role("link", name="main", exact=True).click()
    await page.wait_for_url("**/main?labpath=README.md")
    await page.wait_for_url("**/user/**")


async def test_a_repository_that_does_not_exist_or_is_private(
    service: Service, git_server: GitServer, page: Page
) -> None:
    await page.goto(f"{service.url}v2/gh/look/nothing-here/HEAD")
    await expect(page.get_by_role("heading", name="There is no such repository")).to_be_visible()
    git_server.faults["/look/private"] = (401, {"WWW-Authenticate": "Basic"}, b"")
    await page.goto(f"{service.url}v2/gh/look/private/HEAD")
    await expect(page.get_by_role("heading", name="The repository is private, or does not exist")).to_be_visible()
    await page.get_by_role("link", name="Change the link").click()
    await expect(page.get_by_label("Repository", exact=True)).to_have_value("look/private")


async def test_a_launch_goes_on_after_the_service_was_killed(
    service: Service, git_server: GitServer, page: Page
) -> None:
    name, _ = repository(
        git_server, {"postBuild": "#!/bin/sh\nfor n in 1 2 3 4 5 6; do echo step $n; sleep 0.4; done\n"}
    )
    seen: list[dict[str, Any]] = []
    await page.expose_function("tell", lambda event: seen.append(event))
    await page.route("**/static/stream.js*", _telling)
    await page.goto(f"{service.url}v2/gh/{name}/HEAD?urlpath=lab")
    await expect(log(page)).to_contain_text("step 1")
    port = service.url.rstrip("/").rpartition(":")[2]
    await service.stop(signal.SIGKILL)
    await expect(status(page)).to_have_text("The connection was lost. Resuming…")
    await shoot(page, "launch-lost", axe.check)
    await service.start("--port", port)
    await page.wait_for_url("**/user/**/lab*")
    assert any("building again, attempt 2" in event["message"] for event in seen)
    assert len([event for event in seen if "about" in event]) == 1


async def test_a_launch_goes_on_after_the_network_was_away(
    service: Service, git_server: GitServer, page: Page, context: BrowserContext
) -> None:
    name, _ = repository(git_server, {"postBuild": WAITING})
    await page.goto(f"{service.url}v2/gh/{name}/HEAD")
    await expect(log(page)).to_contain_text("preparing 1")
    await page.evaluate("window.stayed = true")
    await context.set_offline(True)
    # The browser keeps what is open; a laptop that slept would not.
    await page.evaluate("dispatchEvent(new Event('offline'))")
    await context.set_offline(False)
    await expect(log(page)).to_contain_text("preparing 5")
    assert await page.evaluate("window.stayed")
    await page.get_by_role("button", name="Cancel").click()
    await expect(status(page)).to_have_text("You cancelled this launch.")


async def test_two_tabs_share_a_build_and_one_can_leave(
    service: Service, git_server: GitServer, context: BrowserContext
) -> None:
    name, _ = repository(
        git_server, {"postBuild": "#!/bin/sh\nfor n in 1 2 3 4 5 6 7 8; do echo step $n; sleep 0.4; done\n"}
    )
    tabs = [await context.new_page() for _ in range(2)]
    await asyncio.gather(*(tab.goto(f"{service.url}v2/gh/{name}/HEAD?urlpath=lab") for tab in tabs))
    await asyncio.gather(*(expect(log(tab)).to_contain_text("step 2") for tab in tabs))
    await tabs[0].get_by_role("button", name="Cancel").click()
    await expect(tabs[0].get_by_text("The build goes on for others who wait for it.")).to_be_visible()
    await tabs[1].wait_for_url("**/user/**/lab*")


async def test_what_strangers_wrote_stays_in_its_box(service: Service, git_server: GitServer, page: Page) -> None:
    name, _ = repository(git_server, {"README.md": "# Attack\n\n" + "\n\n".join(MARKUP), "postBuild": WAITING})
    await page.goto(f"{service.url}v2/gh/{name}/HEAD")
    frame = page.frame_locator("#reading iframe")
    await expect(frame.get_by_role("heading", name="Attack")).to_be_visible()
    assert await page.evaluate("window.hacked") is None
    address = await page.locator("#reading iframe").get_attribute("src")
    await page.get_by_role("button", name="Cancel").click()
    await expect(status(page)).to_have_text("You cancelled this launch.")
    # Even by itself, with nothing around it.
    await page.goto(f"{service.url.rstrip('/')}{address}")
    await expect(page.get_by_role("heading", name="Attack")).to_be_visible()
    assert await page.evaluate("window.origin") == "null"
    assert await page.evaluate("window.hacked") is None
