"""The pages in a real browser, over a real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from bindery.errors import PathRefused
from tests.support import axe
from tests.support.browser import browser, watched_page
from tests.support.link_vectors import JOINED, PASTED, PROVIDERS
from tests.support.stage import Stage, stage
from tests.support.wait import until
from web import links, pasted

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLAN = {
    "python": "3.12",
    "python_reason": "runtime.txt asks for it",
    "files": ["requirements.txt", "runtime.txt"],
    "apt": [],
    "warnings": ["environment.yml is not read beside requirements.txt."],
    "post_build": None,
    "start": None,
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def theatre() -> AsyncIterator[tuple[Stage, Browser]]:
    async with stage() as opened, browser() as program:
        yield opened, program


@pytest_asyncio.fixture(loop_scope="module")
async def play(theatre: tuple[Stage, Browser]) -> Stage:
    theatre[0].reset()
    return theatre[0]


@pytest_asyncio.fixture(loop_scope="module")
async def context(theatre: tuple[Stage, Browser], play: Stage) -> AsyncIterator[BrowserContext]:
    opened = await theatre[1].new_context(base_url=play.url)
    opened.set_default_timeout(10_000)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(context: BrowserContext, play: Stage) -> AsyncIterator[Page]:
    async with watched_page(context, play.url) as opened:
        yield opened


# --- the form -----------------------------------------------------------------------------------------------


async def test_typing_makes_the_link_and_the_badge(page: Page, play: Stage) -> None:
    await page.goto("/")
    await expect(page.get_by_label("Link", exact=True)).to_be_hidden()
    await page.get_by_label("Repository", exact=True).fill("owner/name")
    link = f"{play.url}v2/gh/owner/name/HEAD"
    await expect(page.get_by_label("Link", exact=True)).to_have_value(link)
    await expect(page.get_by_label("Badge", exact=True)).to_have_value(
        f"[![Launch in Bindery]({play.url}badge_logo.svg)]({link})"
    )
    await page.get_by_label("Branch, tag or commit").fill("v1")
    await page.get_by_label("Open at start").fill("a b.ipynb")
    await expect(page.get_by_label("Link", exact=True)).to_have_value(
        f"{play.url}v2/gh/owner/name/v1?labpath=a%20b.ipynb"
    )
    await page.get_by_label("a URL of the server").check()
    await expect(page.get_by_label("Link", exact=True)).to_have_value(
        f"{play.url}v2/gh/owner/name/v1?urlpath=a%20b.ipynb"
    )
    await page.get_by_label("Badge for").select_option("HTML")
    await expect(page.get_by_label("Badge", exact=True)).to_have_value(
        links.badge_text("html", f"{play.url}badge_logo.svg", f"{play.url}v2/gh/owner/name/v1?urlpath=a%20b.ipynb")
    )
    await expect(page.get_by_role("status").filter(has_text="GitHub: owner/name, version v1")).to_be_visible()


async def test_a_pasted_address_fills_the_form_in(page: Page) -> None:
    await page.goto("/")
    await page.get_by_label("Repository", exact=True).fill("https://github.com/o/r/blob/main/notebooks/n.ipynb")
    await expect(page.get_by_label("Branch, tag or commit")).to_have_value("main")
    await expect(page.get_by_label("Open at start")).to_have_value("notebooks/n.ipynb")
    await page.get_by_label("Branch, tag or commit").fill("mine")
    await page.get_by_label("Repository", exact=True).fill("https://github.com/o/r/tree/dev")
    await expect(page.get_by_label("Branch, tag or commit")).to_have_value("mine")
    await expect(page.get_by_label("Open at start")).to_have_value("")


async def test_the_link_can_be_copied(page: Page, context: BrowserContext, play: Stage) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.goto("/")
    await page.get_by_label("Repository", exact=True).fill("owner/name")
    await page.get_by_role("button", name="Copy link").click()
    await expect(page.get_by_text("Link copied.")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == f"{play.url}v2/gh/owner/name/HEAD"


async def test_the_form_goes_to_the_launch_page_by_keyboard(page: Page, play: Stage) -> None:
    await page.goto("/")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.get_by_label("Repository", exact=True).focus()
    await page.keyboard.type("owner/name")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/v2/gh/owner/name/HEAD")
    await expect(page.get_by_role("heading", name="owner/name")).to_be_visible()


async def test_a_form_without_a_repository_says_so(page: Page) -> None:
    await page.goto("/")
    await page.get_by_role("button", name="Launch").click()
    await expect(page.get_by_role("alert")).to_have_text("Please name a repository first.")
    await expect(page.get_by_label("Repository", exact=True)).to_be_focused()
    await page.get_by_label("Repository", exact=True).fill("nonsense")
    await expect(page.get_by_role("alert")).to_be_hidden()
    await page.get_by_role("button", name="Launch").click()
    await expect(page.get_by_role("alert")).to_contain_text("nonsense")


async def test_without_scripts_the_form_submits_and_the_launch_page_says_what_to_do(
    theatre: tuple[Stage, Browser], play: Stage
) -> None:
    context = await theatre[1].new_context(base_url=play.url, java_script_enabled=False)
    page = await context.new_page()
    await page.goto("/")
    await page.get_by_label("Repository", exact=True).fill("https://github.com/o/r/tree/dev")
    await page.get_by_role("button", name="Launch").click()
    await page.wait_for_url("**/v2/gh/o/r/dev")
    await expect(page.get_by_role("heading", name="This page needs JavaScript")).to_be_visible()
    await expect(page.get_by_role("link", name="watch the launch as plain text")).to_be_visible()
    await context.close()


# --- the launch page ----------------------------------------------------------------------------------------


def _step(page: Page, name: str) -> Locator:
    return page.locator(f'[data-step="{name}"]')


async def test_a_launch_is_shown_step_by_step_and_ends_in_the_session(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD?urlpath=lab%3Freset")
    await expect(page.get_by_role("status").first).to_have_text("Asking GitHub which commit that is…")
    await expect(_step(page, "resolve")).to_have_attribute("aria-current", "step")
    play.play("waiting", "Waiting for build to start...\n")
    await expect(_step(page, "resolve")).to_have_attribute("data-state", "done")
    play.play("building", "Planned\n", plan=PLAN, environment="new")
    await expect(_step(page, "build")).to_have_attribute("aria-current", "step")
    await expect(page.get_by_text("3.12 · runtime.txt asks for it")).to_be_visible()
    await expect(page.get_by_text("This environment is new")).to_be_visible()
    await expect(page.get_by_text("environment.yml is not read")).to_be_visible()
    play.play("", "a line without a phase\n")
    await expect(page.get_by_text("a line without a phase")).to_be_visible()
    play.play("built", "Built image, launching...\n")
    await expect(_step(page, "start")).to_have_attribute("aria-current", "step")
    await expect(page.locator("#favicon")).to_have_attribute("href", links_to("favicon_building"))
    play.ready()
    await page.wait_for_url("**/user/x/**")
    assert page.url == f"{play.url}user/x/lab?reset&token=T0K"
    await page.go_back()
    assert play.visits == [""]


def links_to(name: str) -> re.Pattern[str]:
    return re.compile(rf"/static/{name}\.svg")


async def test_a_known_image_skips_what_there_is_already(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("built", "Found built image, launching...\n", imageName="x")
    await expect(_step(page, "fetch")).to_contain_text("already there")
    await expect(_step(page, "build")).to_contain_text("already there")


async def test_a_failure_says_why_and_how_to_mend_it(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("building", "resolving\n")
    play.play(
        "failed",
        "numpy 1.2 needs an older Python.\n",
        hint="Ask for a newer numpy.",
        code="unsatisfiable_requirements",
        retryable=False,
    )
    play.hang_up()
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("numpy 1.2 needs an older Python.")
    await expect(alert).to_contain_text("Ask for a newer numpy.")
    await expect(alert).to_contain_text("unsatisfiable_requirements")
    await expect(_step(page, "build")).to_contain_text("failed")
    await expect(page.get_by_role("log")).to_contain_text("resolving")
    await expect(page).to_have_title("Failed: o/r · Bindery")
    await expect(page.locator("#favicon")).to_have_attribute("href", links_to("favicon_fail"))
    await until(lambda: play.viewers == 0)
    await alert.get_by_role("link", name="Try again").click()
    await expect(page.get_by_role("status").first).to_have_text("Asking GitHub which commit that is…")
    assert play.visits == ["", ""]


async def test_the_reason_stands_on_a_line_of_its_own(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("building", "\x1b[31m40 %")
    play.play("failed", "It broke.\n")
    await expect(page.locator(".log-line")).to_have_text(["40 %", "It broke."])


async def test_a_failure_without_a_reason_still_says_something(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("failed", "")
    await expect(page.get_by_role("alert")).to_contain_text("The service gave no reason.")


async def test_a_broken_connection_is_resumed_where_it_was(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("building", "one\n")
    play.play("building", "two\n")
    await expect(page.get_by_role("log")).to_contain_text("two")
    await page.evaluate(
        "window.seen = []; new MutationObserver(() => seen.push(document.getElementById('status').textContent))"
        ".observe(document.getElementById('status'), { childList: true })"
    )
    play.hang_up()
    await page.wait_for_function("seen.includes('The connection was lost. Resuming…')")
    play.play("building", "three\n")
    await expect(page.get_by_role("log")).to_contain_text("three")
    await expect(page.get_by_role("status").first).to_have_text("Binding the environment…")
    assert play.visits == ["", "2"]
    play.ready()
    await page.wait_for_url("**/user/x/**")


async def test_a_place_in_the_line_is_told(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("waiting", "All places are taken. You are number 3 in line.\n", position=3, ahead=2, estimate_seconds=40)
    await expect(page.get_by_role("status").first).to_have_text("Waiting in line: you are number 3.")
    await expect(page.locator("#detail")).to_have_text("All places are taken. You are number 3 in line.")
    play.play("built", "Built image, launching...\n")
    await expect(page.get_by_role("status").first).to_have_text("Everything is bound. Opening a notebook server…")


async def test_a_time_to_wait_is_counted_down(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("failed", "Too many.\n", code="rate_limit_exceeded", retryable=True, retry_after_seconds=2)
    alert = page.get_by_role("alert")
    await expect(alert.get_by_role("heading", name="Too many launches from your network")).to_be_visible()
    again = alert.get_by_role("link", name="Try again")
    await expect(again).to_have_text(re.compile("Try again in [12] s"))
    await expect(again).to_have_text("Try again")
    await expect(again).to_have_attribute("href", f"{play.url}v2/gh/o/r/HEAD")


async def test_a_stream_that_is_over_is_not_asked_for_again(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("building", "one\n")
    await expect(page.get_by_role("log")).to_contain_text("one")
    play.over = True
    play.hang_up()
    await expect(page.get_by_role("alert")).to_contain_text("without a result")
    await until(lambda: play.viewers == 0)
    assert play.visits == ["", "1"]


@pytest.mark.parametrize("url", ["javascript:window.hacked=1", "data:text/html,x"])
async def test_an_address_that_is_no_web_page_is_not_opened(page: Page, play: Stage, url: str) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.ready(url=url)
    await expect(page.get_by_role("alert")).to_contain_text("no web page")
    assert await page.evaluate("window.hacked") is None


# --- the log ------------------------------------------------------------------------------------------------

ATTACKS = [
    "<script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    '"><svg onload=window.hacked=1>',
    "javascript:window.hacked=1",
    "\x1b]8;;javascript:window.hacked=1\x07click\x1b]8;;\x07",
    "\x1b]0;title\x07\x1b[31m<b>red</b>\x1b[0m",
    '\x1b[31;"onmouseover=window.hacked=1m',
    "\x1bPpayload\x1b\\",
    "&lt;script&gt;",
]


async def test_hostile_text_is_inert(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    for attack in ATTACKS:
        play.play("building", attack + "\n", plan={**PLAN, "warnings": [attack], "files": [attack]})
    play.play("failed", "".join(ATTACKS), hint="".join(ATTACKS), code=ATTACKS[1])
    await expect(page.get_by_role("alert")).to_contain_text("<img src=x")
    box = page.get_by_role("log")
    await expect(box).to_contain_text("<script>window.hacked=1</script>")
    await expect(box).to_contain_text("&lt;script&gt;")
    assert await page.locator("#log :not(div):not(span)").count() == 0
    assert await page.locator("#failure :is(img, svg, script), #plan :is(img, svg, script, b)").count() == 0
    assert await page.evaluate("window.hacked") is None
    text = await box.inner_text()
    assert "\x1b" not in text
    assert "payload" not in text


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        (["one\ntwo\n"], ["one", "two"]),
        (["on", "e\r", "\ntwo"], ["one", "two"]),
        (["10%\r", "20%\r30%", "\r100%\n", "done\n"], ["100%", "done"]),
        (["\x1b[3", "1mred\x1b", "[0m plain\n"], ["red plain"]),
        (["working\x1b[2K\x1b[1Gdone\n"], ["done"]),
        (["\x1b]8;;https://x\x1b\\text\x1b]8;;\x1b\\\n"], ["text"]),
        (["a\x00\x07\x08b\x9b31mc\n"], ["ab31mc"]),
        (["\x1b]never ended\n", "after\n"], ["]never ended", "after"]),
        (["x" * 30_000 + "\nnext\n"], ["x" * 10_000 + " … (the line goes on)", "next"]),
    ],
)
async def test_output_becomes_lines_as_in_a_terminal(
    page: Page, play: Stage, chunks: list[str], lines: list[str]
) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    for chunk in chunks:
        play.play("building", chunk)
    await expect(page.locator(".log-line")).to_have_text(lines)


async def test_colours_are_shown_through_classes(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("building", "\x1b[1;31mbad\x1b[22m worse\x1b[0m \x1b[38;5;2mgood\x1b[39m plain\x1b[0m\n")
    await expect(page.locator(".ansi-bold.ansi-red")).to_have_text("bad")
    await expect(page.locator(".ansi-red:not(.ansi-bold)")).to_have_text("worse")
    await expect(page.locator(".ansi-green")).to_have_text("good")


async def test_all_colours_of_terminals_are_shown_and_can_be_read(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.play(
        "building",
        "\x1b[38;5;208morange\x1b[0m \x1b[38;2;0;0;90mnavy\x1b[0m \x1b[38:2::255:255:0mcolons\x1b[0m "
        "\x1b[48;2;255;255;255mpaper\x1b[0m \x1b[38;5;999mno\x1b[0m \x1b[38;2;1;2;300mnumbers\x1b[0m\n",
    )
    line = page.locator(".log-line").first
    await expect(line).to_have_text("orange navy colons paper no numbers")
    shown = await line.evaluate(
        "(line) => Object.fromEntries("
        "[...line.querySelectorAll('span')].map((span) => [span.textContent, span.style.cssText]))"
    )
    assert shown["orange"] == "color: rgb(255, 135, 0);"
    assert shown["colons"] == "color: rgb(255, 255, 0);"
    assert shown["navy"] != "color: rgb(0, 0, 90);"
    assert "background-color: rgb(255, 255, 255)" in shown["paper"]
    assert set(shown) == {"orange", "navy", "colons", "paper"}


async def test_following_stops_when_one_reads_back(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("building", "".join(f"line {number}\n" for number in range(500)))
    box, follow = page.get_by_role("log"), page.get_by_role("button", name="Follow")
    # The box grows with its first lines: only then is it known where its end is.
    await expect(page.get_by_text("line 499", exact=True)).to_be_attached()
    await box.scroll_into_view_if_needed()
    await expect(page.get_by_text("line 499", exact=True)).to_be_in_viewport()
    await box.hover()
    await page.mouse.wheel(0, -400)
    await expect(follow).to_have_attribute("aria-pressed", "false")
    before = await box.evaluate("(box) => box.scrollTop")
    play.play("building", "last line\n")
    await expect(box).to_contain_text("last line")
    assert await box.evaluate("(box) => box.scrollTop") == before
    await follow.click()
    await expect(page.get_by_text("last line", exact=True)).to_be_in_viewport()


async def test_the_log_can_be_searched_and_its_lines_linked_to(
    page: Page, context: BrowserContext, play: Stage
) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("building", "".join(f"line {number}\n" for number in range(1, 1001)))
    await expect(page.get_by_text("line 1000", exact=True)).to_be_attached()
    field, found = page.get_by_label("Search the log"), page.locator("#log-found")
    await field.fill("LINE 77")
    await expect(found).to_have_text("1 of 11")
    marked = page.locator(".log-line.marked")
    await expect(marked).to_have_text("line 77")
    await expect(marked).to_be_in_viewport()
    await field.press("Enter")
    await expect(marked).to_have_text("line 770")
    await page.get_by_role("button", name="Previous match").click()
    await expect(marked).to_have_text("line 77")
    assert await page.evaluate("CSS.highlights.get('log-current').size") == 1
    play.play("building", "\x1b[31mli\x1b[32mne 77\x1b[0m again\n")
    await expect(found).to_have_text("1 of 12")
    await field.fill("nowhere")
    await expect(found).to_have_text("Not found")
    await field.press("Escape")
    await expect(field).to_have_value("")
    box = await page.get_by_text("line 80", exact=True).bounding_box()
    assert box is not None
    await page.mouse.click(box["x"] + 10, box["y"] + 5)
    await expect(page).to_have_url(re.compile("#L80$"))
    await expect(marked).to_have_text("line 80")
    assert await page.evaluate("navigator.clipboard.readText()") == f"{play.url}v2/gh/o/r/HEAD#L80"


async def test_a_link_to_a_line_shows_it_when_it_has_come(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD#L300")
    play.play("building", "".join(f"line {number}\n" for number in range(1, 250)))
    await expect(page.get_by_text("line 249", exact=True)).to_be_attached()
    play.play("building", "".join(f"line {number}\n" for number in range(250, 500)))
    await expect(page.locator(".log-line.marked")).to_have_text("line 300")
    await expect(page.locator(".log-line.marked")).to_be_in_viewport()
    await expect(page.get_by_role("button", name="Follow")).to_have_attribute("aria-pressed", "false")


async def test_a_paused_log_says_what_waits(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("building", "one\n")
    await expect(page.locator(".log-line")).to_have_count(1)
    await page.get_by_role("button", name="Pause").click()
    play.play("building", "two\nthree\n")
    await expect(page.get_by_text("Paused. 3 new lines wait.")).to_be_visible()
    await expect(page.locator(".log-line")).to_have_count(1)
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator(".log-line")).to_have_text(["one", "two", "three"])


async def test_the_log_can_be_downloaded(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("building", "\x1b[31mone\x1b[0m\ntwo\n")
    await expect(page.get_by_text("two")).to_be_visible()
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Download log").click()
    path = await (await started.value).path()
    assert await asyncio.to_thread(path.read_text) == "one\ntwo\n"


LONG = 50_000


async def test_a_long_log_stays_smooth(page: Page, play: Stage) -> None:
    """Prints how long the browser was ever kept from answering: nothing here asserts a time."""
    await page.add_init_script(
        "window.held = []; new PerformanceObserver((list) =>"
        " held.push(...list.getEntries().map((each) => each.duration))).observe({ type: 'longtask' })"
    )
    await page.goto("/v2/gh/o/r/HEAD")
    for start in range(0, LONG, 50):
        play.play(
            "building",
            "".join(f"\x1b[32m{n}\x1b[0m packages, some words {n * 7919}\n" for n in range(start, start + 50)),
        )
    drawn = f"document.querySelectorAll('.log-line').length >= {LONG}"
    await until(lambda: page.evaluate(drawn), 120.0)
    print(f"\n{LONG} lines drawn; long tasks: {await _held(page)}")
    await page.get_by_role("log").evaluate(
        """async (box) => {
            for (let share = 0; share <= 1; share += 0.02) {
                box.scrollTop = box.scrollHeight * share;
                await new Promise(requestAnimationFrame);
            }
        }"""
    )
    print(f"scrolled through; long tasks: {await _held(page)}")
    await page.get_by_label("Search the log").fill("words 395942081")
    await expect(page.locator("#log-found")).to_have_text("1 of 1", timeout=60_000)
    await expect(page.locator(".log-line.marked")).to_contain_text("49999 packages", timeout=60_000)
    await expect(page.locator(".log-line.marked")).to_be_in_viewport()
    print(f"searched; long tasks: {await _held(page)}")
    await page.get_by_label("Search the log").fill("packages")
    await expect(page.locator("#log-found")).to_have_text(f"1 of {LONG}", timeout=60_000)
    print(f"found {LONG} times; long tasks: {await _held(page)}")


async def _held(page: Page) -> str:
    held = await page.evaluate("held.splice(0)")
    return f"{len(held)}, the longest {max(held, default=0):.0f} ms"


async def test_the_whole_log_can_be_copied(page: Page, context: BrowserContext, play: Stage) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.goto("/v2/gh/o/r/HEAD")
    play.play("building", "\x1b[31mone\x1b[0m\ntwo\n")
    await expect(page.get_by_text("two")).to_be_visible()
    await page.get_by_role("button", name="Copy log").click()
    await expect(page.get_by_text("Log copied.")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == "one\ntwo\n"


# --- the same rules in Python and JavaScript ----------------------------------------------------------------


async def test_the_script_makes_the_same_links_as_the_server(page: Page) -> None:
    await page.goto("/about")
    made = await page.evaluate(
        """async ([texts, providers, rules]) => {
            const { launchPath } = await import("/static/links.js");
            const { recognise } = await import("/static/pasted.js");
            return texts.map(([text, chosen]) => {
                const target = recognise(text, providers, rules, chosen);
                return launchPath(target, providers.find((each) => each.id === target.provider));
            });
        }""",
        [PASTED, PROVIDERS, pasted.RULES],
    )
    assert made == [link for _, _, link in PASTED]


async def test_the_script_joins_as_the_server_does(page: Page) -> None:
    await page.goto("/about")
    made = await page.evaluate(
        """async (joined) => {
            const { joinSession } = await import("/static/links.js");
            return joined.map(([server, token, path]) => joinSession(server, token, path));
        }""",
        JOINED,
    )
    assert made == [expected for _, _, _, expected in JOINED]


async def test_the_browser_resolves_an_accepted_path_as_the_server_did(page: Page) -> None:
    pieces = ["..", ".", "a", "%2e", "%2e%2E", "", "b c", "é", "x:y", "%2f", "?", "#", "^|{}`'"]
    wanted = [f"{one}/{two}/{three}" for one in pieces for two in pieces for three in pieces]
    accepted = []
    for path in wanted:
        try:
            accepted.append((path, links.open_path({"urlpath": path})))
        except PathRefused:
            continue
    assert len(accepted) > 500
    await page.goto("/about")
    strays = await page.evaluate(
        """(accepted) => accepted.flatMap(([wanted, opened]) => {
            const server = "https://h.example/user/abc/";
            const meant = new URL(wanted.replace(/^[/ ]+/, ""), server).href;
            const found = new URL(opened, server).href;
            const same = (href) => decodeURI(href).replace(/[?#]+$/, "").replaceAll(/(?<!:)\\/+/g, "/");
            const fits = found.startsWith(server) && found === server + opened && same(meant) === same(found);
            return fits ? [] : [[wanted, opened, meant, found]];
        })""",
        accepted,
    )
    assert strays == []


async def test_a_page_whose_script_did_not_arrive_offers_to_load_it_again(page: Page, play: Stage) -> None:
    await page.emulate_media(reduced_motion="reduce")
    await page.route("**/stream.js*", lambda route: route.abort())
    await page.goto("/v2/gh/o/r/HEAD")
    again = page.get_by_role("link", name="Load it again")
    await expect(again).to_be_hidden()
    await expect(again).to_be_visible(timeout=15_000)
    await axe.check(page)
    await page.unroute("**/stream.js*")
    await again.click()
    await expect(page.get_by_role("status").first).to_have_text("Asking GitHub which commit that is…")
    await expect(again).to_have_count(0)


# --- for everybody ------------------------------------------------------------------------------------------


async def _form(page: Page, play: Stage) -> None:
    await page.goto("/")


async def _filled(page: Page, play: Stage) -> None:
    await page.goto("/")
    await page.get_by_label("Repository", exact=True).fill(
        "https://github.com/a-long-owner-name/a-rather-long-name/blob/main/n.ipynb"
    )


async def _mistyped(page: Page, play: Stage) -> None:
    await page.goto("/launch?repo=nonsense")


async def _waiting(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/o/r/HEAD?labpath=a.ipynb")
    await expect(page.get_by_role("status").first).to_have_text("Asking GitHub which commit that is…")


async def _building(page: Page, play: Stage) -> None:
    await _waiting(page, play)
    colours = "".join(f"\x1b[{code}mcolour\x1b[0m \x1b[{code + 10}mback\x1b[0m " for code in range(30, 38))
    play.play("building", f"\x1b[2mdim\x1b[0m {colours}\n" + "word " * 200 + "\n", plan=PLAN, environment="reused")
    await expect(page.get_by_role("log")).to_contain_text("colour")
    await page.locator("summary").click()


async def _failed(page: Page, play: Stage) -> None:
    await _building(page, play)
    play.play("failed", "It did not work.\n", hint="Mend it.", code="install_failed", retryable=True)
    await expect(page.get_by_role("alert")).to_contain_text("Mend it.")


async def _not_found(page: Page, play: Stage) -> None:
    await page.goto("/nothing/here")


async def _invalid(page: Page, play: Stage) -> None:
    await page.goto("/v2/gh/user/repo")


async def _gone(page: Page, play: Stage) -> None:
    await page.goto("/gone")


async def _about(page: Page, play: Stage) -> None:
    await page.goto("/about")


#: How a page comes to look as it is to be looked at.
Way = Callable[[Page, Stage], Awaitable[None]]
STATES: list[Way] = [_form, _filled, _mistyped, _waiting, _building, _failed, _not_found, _invalid, _gone, _about]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
async def test_axe_finds_nothing(page: Page, play: Stage, state: Way, scheme: Literal["light", "dark"]) -> None:
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await state(page, play)
    await axe.check(page)


@pytest.mark.parametrize("width", [320, 768, 1440])
@pytest.mark.parametrize("state", STATES)
async def test_nothing_is_wider_than_the_window(page: Page, play: Stage, state: Way, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 800})
    await state(page, play)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
