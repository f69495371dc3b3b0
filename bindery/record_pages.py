"""The pages over rows, put together: plans, builds, sessions, status and badges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter

from bindery.settings import Settings
from db.engine import Database
from db.environments import EnvironmentStore
from db.launches import LaunchStore
from db.previews import PreviewStore
from db.wakeups import Wakeups
from web import build_page, my_sessions, status_badge, status_page
from web.build_page import BuildPage
from web.diagnoses import Diagnoses
from web.doorkeeper import Doorkeeper
from web.health import Health
from web.launches import Launches
from web.my_sessions import MySessions
from web.preview import PreviewPage
from web.service_report import Reporter
from web.shell import Pages
from web.status_badge import Budget, StatusBadges
from web.status_page import StatusPage


@dataclass(frozen=True)
class RecordPages:
    """What the pages over rows are made of."""

    settings: Settings
    database: Database
    wakeups: Wakeups
    launches: Launches
    health: Health
    doorkeeper: Doorkeeper
    operator_token: str

    def reporter(self) -> Reporter:
        """Who looks at the service as a whole."""
        launches, settings = self.launches, self.settings.status
        return Reporter(launches.builds, launches.sessions, LaunchStore(self.database), self.health, settings)

    def preview(self, pages: Pages) -> PreviewPage:
        """The pages of plans."""
        return PreviewPage(
            pages=pages,
            intake=self.launches.intake,
            previews=PreviewStore(self.database, self.wakeups),
            environments=EnvironmentStore(self.database),
            doorkeeper=self.doorkeeper,
            wakeups=self.wakeups,
            settings=self.settings.preview,
            operator_token=self.operator_token,
        )

    def routers(self, pages: Pages, reporter: Reporter) -> Sequence[APIRouter]:
        """The routes of all others."""
        launches, settings = self.launches, self.settings
        builds = BuildPage(pages, launches.builds, EnvironmentStore(self.database), Diagnoses(launches.builds))
        badges = StatusBadges(pages, launches.intake, Budget(settings.status.badge_lookups_per_minute))
        return (
            build_page.router(builds),
            my_sessions.router(MySessions(pages, launches.sessions, launches, settings.session)),
            status_page.router(StatusPage(pages, reporter, settings.status, settings.session.max_total)),
            status_badge.router(badges),
        )
