"""The page of a build: a permanent record of what it did, when, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bindery.errors import NotFound
from builder.diagnosis import Diagnosis
from db.builds import Build, BuildStore, Step
from db.environments import EnvironmentStore
from db.events import Failure
from db.states import BUILD_ENDS, BuildState
from web.diagnoses import Diagnoses, report_url
from web.languages import N_, language_of
from web.plan_view import KIND_NAMES
from web.shell import Pages, error_page, render

STATE_WORDS = {
    BuildState.QUEUED: N_("Waiting"),
    BuildState.FETCHING: N_("Fetching"),
    BuildState.PLANNING: N_("Planning"),
    BuildState.BUILDING: N_("Building"),
    BuildState.COMPOSING: N_("Finishing"),
    BuildState.BUILT: N_("Ready"),
    BuildState.FAILED: N_("Failed"),
    BuildState.CANCELLED: N_("Cancelled"),
}
_PHASES = {
    BuildState.QUEUED: N_("Waiting for a free hand"),
    BuildState.FETCHING: N_("Fetching the commit"),
    BuildState.PLANNING: N_("Reading its dependency files"),
    BuildState.BUILDING: N_("Building the environment"),
    BuildState.COMPOSING: N_("Adding the repository's files"),
}


_UNKNOWN = NotFound(
    N_("There is no build of this id."), hint=N_("Records of builds are kept for a while; the link may be older.")
)


@dataclass(frozen=True)
class Phase:
    """One phase of an attempt, which is done, active, failed or todo; `seconds` is None for one that has not begun."""

    name: str
    state: str
    began_at: float | None
    seconds: float | None


@dataclass(frozen=True)
class BuildPage:
    """What the page works with."""

    pages: Pages
    builds: BuildStore
    environments: EnvironmentStore
    diagnoses: Diagnoses
    clock: Callable[[], float] = time

    async def show(self, request: Request) -> Response:
        """The page of one build; 404 when it is not, or no longer, known."""
        build = await self.builds.get(request.path_params["build_id"])
        if build is None:
            return error_page(self.pages, request, _UNKNOWN)
        _ = language_of(request).gettext
        steps = await self.builds.steps(build.id)
        now = self.clock()
        failure = build.failure
        diagnosis = await self.diagnoses.of(build, failure) if failure is not None else None
        return render(
            self.pages,
            request,
            "build.html",
            config={"build": _config(self.pages, build)},
            build=build,
            word=_(STATE_WORDS[build.state]),
            diagnosis=diagnosis,
            report_url=self._report(request, build, failure, diagnosis) if failure and diagnosis else "",
            phases=[Phase(_(each.name), each.state, each.began_at, each.seconds) for each in phases(build, steps, now)],
            plan=json.loads(build.plan) if build.plan else None,
            kind_names=KIND_NAMES,
            environment=await self.environments.get(build.environment_key or ""),
            waiting=0 if build.ended else await self.builds.waiting_for(build),
            ahead=await self.builds.ahead_of(build) if build.state is BuildState.QUEUED else 0,
            now=now,
            seconds=(build.finished_at or now) - (build.started_at or build.created_at),
            provider=self.pages.provider(build.provider),
        )

    def _report(self, request: Request, build: Build, failure: Failure, found: Diagnosis) -> str:
        """Where the repository's authors take reports, filled in; empty where the host is not known."""
        public = self.pages.public(request)
        link, own = f"{public}v2/{build.provider}/{build.spec}", f"{public}builds/{build.id}"
        return report_url(build, failure, found, link, own)


def router(page: BuildPage) -> APIRouter:
    """The page's route."""
    routes = APIRouter()
    routes.add_route(f"{page.pages.base_url}builds/{{build_id}}", page.show, methods=["GET"])
    return routes


def phases(build: Build, steps: Sequence[Step], now: float) -> list[Phase]:
    """The phases of a build's last attempt, each with its time; of a queued build the waiting alone has begun."""
    last = [step for step in steps if step.attempt in (0, build.attempt)]
    begun = {step.state: step.entered_at for step in last}
    moments = [step.entered_at for step in last]
    ended = build.finished_at if build.ended else None
    found = []
    for state, name in _PHASES.items():
        began = begun.get(state)
        if began is None:
            found.append(Phase(name, "todo", None, None))
            continue
        after = min((moment for moment in moments if moment > began), default=ended)
        found.append(Phase(name, _state(build, state, last), began, (now if after is None else after) - began))
    return found


def _state(build: Build, state: BuildState, last: Sequence[Step]) -> str:
    reached = [step.state for step in last if step.state not in BUILD_ENDS]
    if not reached or reached[-1] is not state:
        return "done"
    return {BuildState.BUILT: "done", BuildState.FAILED: "failed", BuildState.CANCELLED: "failed"}.get(
        build.state, "active"
    )


def _config(pages: Pages, build: Build) -> dict[str, Any]:
    own = f"{pages.base_url}api/v1/builds/{build.id}"
    return {
        "id": build.id,
        "title": build.spec,
        "state": build.state.value,
        "ended": build.ended,
        "eventsUrl": f"{own}/events",
        "logUrl": f"{own}/log",
    }
