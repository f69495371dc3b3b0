"""Who may launch now: tokens of pages, and a limit for everybody else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request

from bindery.errors import RateLimitExceeded
from bindery.settings import RateLimitSettings
from db.rates import Rate, RateStore
from web.build_token import BuildTokens
from web.launches import Visit


@dataclass(frozen=True)
class Doorkeeper:
    """Checks tokens and rates before any work (protocol page 2.2, 2.6, 2.7).

    A valid token and the operator's own requests are not counted. A resumed stream is not a new launch.
    """

    tokens: BuildTokens
    rates: RateStore
    settings: RateLimitSettings
    clock: Callable[[], float] = field(default=time.time)

    async def admit(self, request: Request, visit: Visit) -> Rate | None:
        """Count a new launch; the client's account, if it is counted.

        Raises `InvalidBuildToken`. An account that is `exceeded` is returned, so that its headers can be sent.
        """
        token = request.query_params.get("build_token", "")
        if token:
            self.tokens.check(request, f"{visit.provider}/{visit.spec}", token)
            return None
        if not self.settings.limit or visit.operator:
            return None
        return await self.rates.count(visit.client_ip, self.settings.limit, self.settings.period_seconds, self.clock())

    def refuse_if_exceeded(self, rate: Rate | None) -> None:
        """Raise `RateLimitExceeded`, with the time that is left, for an account that is."""
        if rate is None or not rate.exceeded:
            return
        seconds = max(math.ceil(rate.reset_at - self.clock()), 1)
        error = RateLimitExceeded(f"Rate limit exceeded. Try again in {seconds} seconds.")
        error.retry_after_seconds = seconds
        raise error


def headers(rate: Rate | None) -> dict[str, str]:
    """The account as the protocol's response headers."""
    if rate is None:
        return {}
    return {
        "x-ratelimit-limit": str(rate.limit),
        "x-ratelimit-remaining": str(rate.remaining),
        "x-ratelimit-reset": str(int(rate.reset_at)),
    }
