"""What the status page says of what is launched most."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from bindery.settings import StatusSettings
from db.launches import Popular
from tests.support.link_vectors import PROVIDERS
from web import status_page
from web.health import Health
from web.service_report import WINDOWS, Look, Outcomes, Report, Reporter
from web.shell import Pages
from web.status_page import StatusPage

HIDDEN = "What was launched is on hosts whose repositories are not listed here."
NOTHING = "No launch gave a server."
POPULAR = Popular("gh", "https://github.com/o/r", "v2/gh/o/r/HEAD", 7)


async def page(outcomes: Outcomes, *popular: Popular) -> str:
    """The page of a service whose launches of the last week ended so."""
    looks = [Look(window, 0.0, 0.0, outcomes, {}, [Outcomes()] * window.slots) for window in WINDOWS]
    stores: Any = None
    settings = StatusSettings()
    report = Report(0.0, True, {}, {}, looks, popular)
    reporter = Reporter(stores, stores, stores, Health({}), settings, lambda: 0.0, [report])
    app = FastAPI()
    app.include_router(status_page.router(StatusPage(Pages(PROVIDERS), reporter, settings, 0)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://h") as client:
        answer = await client.get("/status")
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize(
    ("outcomes", "popular", "said"),
    [
        (Outcomes(), (), NOTHING),
        (Outcomes(repository=2, service=1, left=1), (), NOTHING),
        (Outcomes(ready=3), (), HIDDEN),
        (Outcomes(ready=3), (POPULAR,), POPULAR.link),
    ],
)
async def test_it_is_true(outcomes: Outcomes, popular: tuple[Popular, ...], said: str) -> None:
    text = await page(outcomes, *popular)
    assert [words for words in (NOTHING, HIDDEN, POPULAR.link) if words in text] == [said]
