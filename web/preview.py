"""How a repository was understood: the plan of its commit, before and after a build.

The plan comes from the build's row where there is one; else it is made by a worker, once for each commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bindery import errors
from bindery.errors import BinderyError
from bindery.settings import PreviewSettings
from builder.providers.base import Resolved
from db import previews as preview_rows
from db.builds import Build, Wanted
from db.environments import EnvironmentRecord, EnvironmentStore
from db.events import Failure
from db.images import ImageRecord
from db.previews import Preview, PreviewStore
from db.states import PreviewState
from db.wakeups import Wakeups
from web import links, plan_view
from web.doorkeeper import Doorkeeper
from web.intake import Intake, Visit
from web.languages import language_of
from web.packages import packages
from web.shell import Pages, error_page, render
from web.visitor import client_ip, is_operator, launch_host

#: For how many seconds an answer waits for a plan before it says that there is none yet.
WAIT_SECONDS = 2.5
#: After how many seconds a plan is made anew that failed in a way that may pass.
RETRY_SECONDS = 10.0
#: How many commits that share an environment are named.
MOST_SHARING = 8

_STATUSES: Mapping[str, int] = {
    kind.code: kind.status
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, BinderyError)
}


@dataclass(frozen=True)
class Understood:
    """What is known of how a repository was understood. Without a `plan` and a `failure` it is still being read."""

    resolved: Resolved
    image: ImageRecord | None
    build: Build | None
    plan: Mapping[str, Any] | None
    notes: Sequence[str]
    failure: Failure | None
    environment: EnvironmentRecord | None
    sharing: Sequence[ImageRecord]
    shared_by: int

    @property
    def status(self) -> int:
        """The answer's HTTP status."""
        if self.plan is not None:
            return 200
        return 202 if self.failure is None else _STATUSES.get(self.failure.code, 500)


@dataclass(frozen=True)
class PreviewPage:
    """What the page works with."""

    pages: Pages
    intake: Intake
    previews: PreviewStore
    environments: EnvironmentStore
    doorkeeper: Doorkeeper
    wakeups: Wakeups
    settings: PreviewSettings
    operator_token: str
    clock: Callable[[], float] = time

    async def show(self, request: Request, provider: links.Provider, spec: str) -> Response:
        """The page of a link, whose spec follows its provider's grammar."""
        visit = Visit(
            provider=provider["id"],
            spec=spec,
            launch_host=launch_host(request, self.pages.base_url),
            client_ip=client_ip(request),
            operator=is_operator(request, self.operator_token),
        )
        try:
            found = await self.understood(request, visit)
        except BinderyError as error:
            return error_page(self.pages, request, error, actions=_again(request, visit))
        return self._render(request, provider, spec, found)

    async def understood(self, request: Request, visit: Visit) -> Understood:
        """What is known of a visit's repository. Its plan is asked for if need be, and waited for a short while."""
        resolved = await self.intake.resolve(visit)
        reference = self.intake.image(resolved)
        image = await self.intake.images.get(reference)
        build = await self.intake.builds.latest(reference)
        plan, failure = (build.plan, build.failure) if build else (None, None)
        notes: Sequence[str] = ()
        if plan is None:
            preview = await self._preview(request, visit, resolved, reference)
            plan, notes, failure = preview.plan, preview.notes, preview.failure
        facts = json.loads(plan) if plan else None
        key = facts["environment_key"] if facts else ""
        sharing, count = await self.environments.shared_by(key, MOST_SHARING) if key else ([], 0)
        environment = await self.environments.get(key)
        return Understood(resolved, image, build, facts, notes, failure, environment, sharing, count)

    async def _preview(self, request: Request, visit: Visit, resolved: Resolved, reference: str) -> Preview:
        """The preview's row, asked for if need be, once it has ended or the answer has waited long enough."""
        known = await self.previews.get(reference)
        if known is not None and self._may_pass(known):
            known = None
        with self.wakeups.listen(preview_rows.topic(reference)) as ended:
            if known is None or not known.ended:
                known = known or await self._ask(request, visit, resolved, reference)
                await ended.wait(0.0 if known.ended else WAIT_SECONDS)
                known = await self.previews.get(reference) or known
        return known

    def _may_pass(self, known: Preview) -> bool:
        """Whether a preview failed in a way that may have passed by now."""
        failed = known.state is PreviewState.FAILED and bool(known.error_retryable)
        return failed and self.clock() - (known.finished_at or 0.0) > RETRY_SECONDS

    async def _ask(self, request: Request, visit: Visit, resolved: Resolved, reference: str) -> Preview:
        # It costs a download, so it is counted like a launch.
        self.doorkeeper.refuse_if_exceeded(await self.doorkeeper.admit(request, visit))
        wanted = Wanted(reference, resolved.provider, resolved.spec, resolved.repo_url, resolved.ref, resolved.ref_url)
        return await self.previews.request(wanted, self.settings.max_waiting, self.clock())

    def _render(self, request: Request, provider: links.Provider, spec: str, found: Understood) -> Response:
        repo, ref = links.shown(spec, provider)
        link = f"v2/{provider['id']}/{spec}"
        public = self.pages.public(request)
        return render(
            self.pages,
            request,
            "preview.html",
            status=found.status,
            headers={"Retry-After": "3"} if found.status == 202 else {},
            config={"preview": {"pending": found.status == 202}},
            provider=provider,
            repo=repo,
            ref=ref,
            link=link,
            found=found,
            steps=plan_view.steps(found.plan, language_of(request)) if found.plan else [],
            kind_names=plan_view.KIND_NAMES,
            packages=packages(found.environment.lock) if found.environment else {},
            others=found.shared_by - (found.image is not None),
            commits=[self._commit(provider, found, row) for row in found.sharing if _same(row, found)],
            now=self.clock(),
            badge=links.badge_text("markdown", f"{public}badge/{provider['id']}/{spec}.svg", f"{public}{link}"),
        )

    def _commit(self, provider: links.Provider, found: Understood, row: ImageRecord) -> tuple[str, str]:
        """A commit of the same repository, and the link to how it was understood."""
        spec = found.resolved.spec.replace(found.resolved.ref, row.ref)
        return row.ref, f"v2/{provider['id']}/{spec}?preview"


def _same(row: ImageRecord, found: Understood) -> bool:
    return row.repo_url == found.resolved.repo_url and row.ref != found.resolved.ref


def _again(request: Request, visit: Visit) -> dict[str, str]:
    return {language_of(request).gettext("Look again"): f"v2/{visit.provider}/{visit.spec}?preview"}
