"""Hosts that have had enough of us, and when they want to be asked again."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from bindery.errors import HostBusy


def rate_limited(response: aiohttp.ClientResponse) -> HostBusy | None:
    """The error for a host that has had enough of us; None for any other answer."""
    headers, host = response.headers, response.url.host or ""
    spent = headers.get("X-RateLimit-Remaining", headers.get("RateLimit-Remaining")) == "0"
    if response.status == 403 and spent:
        name = "GitHub" if "X-GitHub-Request-Id" in headers or "github" in host else host
        minutes = _minutes(headers, step=5)
        return HostBusy(f"{name} rate limit exceeded. Try again in {minutes} minutes.")
    if response.status == 429 or (response.status == 503 and "Retry-After" in headers):
        return HostBusy(f"{host} is asked too often at the moment. Try again in {_minutes(headers)} minutes.")
    return None


def _minutes(headers: Mapping[str, str], step: int = 1) -> int:
    """How long to wait, in minutes, rounded up to a multiple of `step`; one step when nothing is said."""
    seconds = _seconds(headers.get("Retry-After", ""))
    reset = headers.get("X-RateLimit-Reset", "")
    if not seconds and reset.isdecimal() and len(reset) < 12:
        seconds = int(reset) - time.time()
    return max(math.ceil(min(seconds, 86400) / 60 / step), 1) * step


def _seconds(text: str) -> float:
    if text.isdecimal():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime.now(UTC)).total_seconds()
