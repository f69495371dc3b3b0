"""DOIs: their form, and where they lead."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from yarl import URL

from bindery.errors import InvalidSpec, RepositoryNotFound
from builder.guard import MAX_REDIRECTS, GuardedClient, redirect, too_many_redirects
from builder.providers.api import check_status

#: As the protocol's clients check it.
VALID = r"10\.\d+\/(.)+"

_DOI = re.compile(r"10\.\d{2,9}(?:\.\d{1,9})*/[^\s\x00-\x20\x7f-\x9f\ud800-\udfff]{1,200}")
_BEFORE = re.compile(r"(?:https?:/{1,2}(?:dx\.)?doi\.org/|doi:)", re.IGNORECASE)


def parse(spec: str, example: str) -> str:
    """The DOI that a spec is, also as `doi:...` or as an address of doi.org. Raises `InvalidSpec`."""
    text = _BEFORE.sub("", unquote(spec), count=1).rstrip("/")
    if not _DOI.fullmatch(text) or any(part in (".", "..") for part in text.split("/")):
        raise InvalidSpec(f'"{text[:200]}" is not a DOI.', hint=f"A DOI looks like {example}.")
    return text


@dataclass(frozen=True)
class DoiResolver:
    """doi.org, or a server that answers as it does."""

    client: GuardedClient
    base: str

    def link(self, doi: str) -> str:
        """The address of a DOI, for people."""
        return f"{self.base.rstrip('/')}/{quote(doi, safe=_PLAIN)}"

    async def destination(self, doi: str, enough: Callable[[URL], bool] | None = None) -> URL:
        """Where a DOI leads: the first address that is `enough`, else the last.

        An address that is enough is not asked for: many hosts keep programs from their pages. Without `enough`, any
        address outside of the resolver is. Raises `RepositoryNotFound` for a DOI that is not registered.
        """
        url = start = URL(self.link(doi), encoded=True)
        enough = enough or (lambda address: (address.host, address.port) != (start.host, start.port))
        for _ in range(MAX_REDIRECTS + 1):
            async with self.client.ask(url, {"Accept": "text/html, */*;q=0.8"}) as response:
                onward = redirect(response)
                if onward is None:
                    check_status(response, f"There is no DOI {doi}.")
                    return url
            if enough(onward):
                return onward
            url = onward
        raise too_many_redirects(url)


_PLAIN = "/:;,()._-~!*'@+$="


def leads_elsewhere(doi: str, address: URL, wanted: str) -> RepositoryNotFound:
    """The error for a DOI of another kind of host."""
    return RepositoryNotFound(
        f"The DOI {doi} leads to {address.host}, not to {wanted}.",
        hint="Choose the provider that belongs to that host.",
    )
