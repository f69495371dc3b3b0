"""Builds, without a database: their rows, and which of them run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from builder.engines.base import Running
from db.builds import Build
from db.states import BuildState

_BUILT = Build(
    id="b" * 16,
    image="gh-o-r:abc",
    provider="gh",
    spec="o/r/abc",
    repo_url="https://example.org/o/r",
    ref="abc",
    ref_url="https://example.org/o/r/tree/abc",
    state=BuildState.FAILED,
    attempt=1,
    cancel_requested=False,
    last_seq=1,
    plan=None,
    environment_key=None,
    error_code=None,
    error_message=None,
    error_hint=None,
    error_retryable=None,
    created_at=1.0,
    started_at=2.0,
    finished_at=3.0,
)


def build(**change: Any) -> Build:
    """A build that differs from an ordinary one in these fields."""
    return replace(_BUILT, **change)


def builds_running(*build_ids: str) -> Running:
    """What tells that these builds run."""

    async def told() -> Collection[str]:
        return build_ids

    return told
