"""From a link's spec to what it points to now: parse, ask the provider, remember the answer for a short while."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from bindery.errors import (
    AuthenticationRequired,
    BinderyError,
    HostUnreachable,
    RefNotFound,
    RepositoryNotFound,
    UnknownProvider,
)
from builder.once import Once
from builder.providers.base import ParsedSpec, Provider, Resolved
from db.resolutions import ResolutionStore


class Resolver:
    """Resolves specs of all providers.

    - Concurrent questions about one spec are asked once.
    - Answers are kept for `ttl_seconds`; errors are not kept.
    - `local` also reads repositories on this machine's disk; only the operator may use it.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        local: Provider,
        store: ResolutionStore,
        ttl_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.providers = providers
        self._local = local
        self._store = store
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._once: Once[Resolved] = Once()

    def parse(self, provider: str, spec: str, *, operator: bool = False) -> tuple[Provider, ParsedSpec]:
        """Read a spec. Raises `UnknownProvider`, `InvalidSpec` or `HostRefused`."""
        if provider not in self.providers:
            known = ", ".join(self.providers)
            raise UnknownProvider(f"No provider found for prefix {provider}", hint=f"Links begin with one of: {known}.")
        place = self._local if operator and provider == "git" else self.providers[provider]
        return place, place.parse(spec.rstrip("/"))

    async def resolve(self, provider: str, spec: str, *, operator: bool = False) -> Resolved:
        """Find what a spec points to now; raises what the provider raises."""
        place, parsed = self.parse(provider, spec, operator=operator)
        key = f"{provider}:{parsed.spec}"
        return await self._once(key, lambda: self._find(key, place, parsed))

    async def _find(self, key: str, place: Provider, parsed: ParsedSpec) -> Resolved:
        if self._ttl_seconds and (known := await self._store.get(key, self._clock())):
            return Resolved.from_json(known)
        try:
            resolved = await place.resolve(parsed)
        except (RefNotFound, RepositoryNotFound, AuthenticationRequired) as error:
            raise _unresolved(key, error) from error
        except HostUnreachable as error:
            raise type(error)(f"Error resolving ref for {key}: {error.message}", hint=error.hint) from error
        if self._ttl_seconds:
            await self._store.put(key, resolved.to_json(), self._ttl_seconds, self._clock())
        return resolved


def _unresolved(key: str, error: BinderyError) -> BinderyError:
    # The protocol's sentence, as clients know it; what is special about this case stands in the hint.
    sentence = f"Could not resolve ref for {key}. Double check your URL and that your repo is public."
    details = " ".join(part for part in (error.message, error.hint) if part)
    return type(error)(sentence, hint=details, suggestions=error.suggestions)
