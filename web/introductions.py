"""Introductions: what is known of a launch before anything of it happens, for those who ask for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builder.providers.base import Resolved
from db.documents import DocumentStore
from db.events import Event
from db.sessions import Session
from web.estimates import Estimates


@dataclass(frozen=True)
class Introductions:
    """Introduces launches by an event with the field `about`; it has no phase and no text.

    `readable` says of a provider and a repository whether its files may be shown.
    """

    documents: DocumentStore
    estimates: Estimates
    readable: Callable[[str, str], bool]
    clock: Callable[[], float] = time.time

    async def of(self, resolved: Resolved, session: Session, opens: str) -> Event:
        """The introduction of a session; the file that it `opens` is wished for."""
        about: dict[str, Any] = {
            "session_id": session.id,
            "build_id": session.build_id,
            "provider": resolved.provider,
            "repo_url": resolved.repo_url,
            "ref": resolved.ref,
            "ref_url": resolved.ref_url,
            "branch": resolved.branch,
            "forecast": (await self.estimates.forecast()).to_dict(),
            "documents": {},
        }
        if self.readable(resolved.provider, resolved.repo_url):
            await self.documents.wish(resolved.repo_url, resolved.ref, opens, self.clock())
            about["documents"] = await self.documents.rendered(resolved.repo_url, resolved.ref)
        return Event("", "", {"about": about})
