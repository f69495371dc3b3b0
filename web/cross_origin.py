"""Which other sites' pages may read answers: the headers that browsers go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.requests import Request

#: What scripts of other sites may send, and what they may read beside the answer itself.
_ASKED = "accept, authorization, bindery-client, cache-control, content-type, last-event-id, x-xsrftoken"
_TOLD = "location, retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset"
_ALWAYS = {"access-control-allow-headers": _ASKED}
#: For caches: another origin may get another answer.
_VARIES = {"vary": "Origin"}


class CrossOrigin:
    """Says in every answer (protocol page 1) whether the page that asked may read it.

    - One origin, or any, is named in all answers: they are alike.
    - Of several, the one that asked is named, and never one that is not among them.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._of: dict[str, Mapping[str, str]] = {}
        self._of_others: Mapping[str, str] = _ALWAYS
        if len(allowed) > 1:
            self._of = {origin: {**_readable_by(origin), **_VARIES} for origin in allowed}
            self._of_others = {**_ALWAYS, **_VARIES}
        elif allowed:
            self._of_others = _readable_by(allowed[0])

    def headers(self, request: Request) -> Mapping[str, str]:
        """The headers of the answer to a request."""
        return self._of.get(request.headers.get("origin", ""), self._of_others)


def _readable_by(origin: str) -> Mapping[str, str]:
    return {**_ALWAYS, "access-control-allow-origin": origin, "access-control-expose-headers": _TOLD}
