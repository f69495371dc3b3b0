"""The status page, and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bindery.settings import StatusSettings
from web.charts import Chart, Series, stacked_bars
from web.languages import N_, Language, language_of
from web.service_report import WINDOWS, Look, Reporter
from web.shell import Pages, render
from web.visitor import prefers_json

WINDOW_NAMES: Mapping[str, str] = {"hour": N_("Last hour"), "day": N_("Last day"), "week": N_("Last week")}


@dataclass(frozen=True)
class StatusPage:
    """What the page works with."""

    pages: Pages
    reporter: Reporter
    settings: StatusSettings
    max_sessions: int

    async def show(self, request: Request) -> Response:
        """The page, or its JSON for whoever prefers that."""
        if prefers_json(request):
            return await self.json(request)
        report = await self.reporter.report()
        language = language_of(request)
        wanted = request.query_params.get("window", "day")
        look = next((each for each in report.looks if each.window.name == wanted), report.looks[1])
        return render(
            self.pages,
            request,
            "status.html",
            report=report,
            look=look,
            chart=_chart(look, language),
            windows=[(window.name, language.gettext(WINDOW_NAMES[window.name])) for window in WINDOWS],
            targets=self.settings,
            max_sessions=self.max_sessions,
            provider_names={each["id"]: each["displayName"] for each in self.pages.providers},
        )

    async def json(self, request: Request) -> Response:
        """The report as JSON, for everybody's pages."""
        report = await self.reporter.report()
        body = {"version": self.pages.version, **report.to_dict(self.settings)}
        return JSONResponse(body, headers={"Cache-Control": "no-cache", "Vary": "Accept"})


def router(page: StatusPage) -> APIRouter:
    """The page's routes."""
    routes = APIRouter()
    routes.add_route(f"{page.pages.base_url}status", page.show, methods=["GET"])
    routes.add_route(f"{page.pages.base_url}status.json", page.json, methods=["GET"])
    return routes


def _chart(look: Look, language: Language) -> Chart:
    _ = language.gettext
    series = [
        Series("ready", _("Ready"), [slot.ready for slot in look.slots]),
        Series("repository", _("Failed because of the repository"), [slot.repository for slot in look.slots]),
        Series("service", _("Failed because of the service"), [slot.service for slot in look.slots]),
    ]
    begins = [look.since + number * look.window.slot_seconds for number in range(look.window.slots)]
    pattern = "%m-%d %H:%M" if look.window.slot_seconds > 3600 else "%H:%M"
    return stacked_bars([f"{datetime.fromtimestamp(begin, UTC):{pattern}}" for begin in begins], series)
