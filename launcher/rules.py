"""The operator's rules for repositories: which may be launched, and what each may take."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from bindery.errors import BinderyError, SpecNotAllowed, UnderMaintenance
from bindery.settings import LimitSettings, RepositoryRule
from db.line import Allowance

#: Stands for all providers in lists of banned specs; such patterns are matched with the repository's address.
EVERY = "*"

#: A path that leads upwards could begin as an allowed one and end elsewhere.
_UPWARDS = re.compile(r"(^|/)(\.|%2e){1,2}(/|$)", re.IGNORECASE)

_FIELDS = ("sessions", "memory_bytes", "cpus", "idle_seconds", "max_age_seconds")


@dataclass(frozen=True)
class Rules:
    """Rules as the settings have them. Patterns are matched from the start, whatever the case."""

    settings: LimitSettings

    def check_open(self) -> None:
        """Raise `UnderMaintenance` while nobody but the operator may launch."""
        if self.settings.maintenance:
            raise UnderMaintenance(self.settings.maintenance)

    def refusal(self, provider: str, spec: str) -> BinderyError | None:
        """Why nobody may launch a spec now, as far as it is known without asking its host."""
        try:
            self.check_open()
            self.check(provider, spec)
        except BinderyError as error:
            return error
        return None

    def check(self, provider: str, spec: str, *others: str) -> None:
        """Raise `SpecNotAllowed` for a spec that is banned, or not among those allowed.

        It is matched as it was sent and decoded, so that encoding evades no ban. `others` are further ways to write
        the same, such as the spec with its commit; for bans alone.
        """
        names = {spec, unquote(spec)}
        allowed = self.settings.allowed.get(provider)
        banned = _any_match(self.settings.banned.get(provider, ()), {*names, *others})
        if banned or (allowed is not None and (_UPWARDS.search(unquote(spec)) or not _any_match(allowed, names))):
            raise _not_allowed(spec)

    def check_address(self, spec: str, repo_url: str) -> None:
        """Raise `SpecNotAllowed` for a repository whose address is banned for all providers."""
        if _any_match(self.settings.banned.get(EVERY, ()), {repo_url}):
            raise _not_allowed(spec)

    def allowance(self, provider: str, spec: str) -> Allowance:
        """What a spec's repository may take: of all rules that match, later ones win."""
        allowance = Allowance(sessions=self.settings.per_repository)
        for rule in self.settings.repositories:
            if rule.provider in ("", provider) and _any_match((rule.pattern,), {spec, unquote(spec)}):
                allowance = replace(allowance, **_given(rule))
        return allowance


def _given(rule: RepositoryRule) -> dict[str, Any]:
    return {name: value for name in _FIELDS if (value := getattr(rule, name)) is not None}


def _any_match(patterns: Iterable[str], names: Iterable[str]) -> bool:
    return any(re.match(pattern, name, re.IGNORECASE) for pattern in patterns for name in names)


def _not_allowed(spec: str) -> SpecNotAllowed:
    return SpecNotAllowed(f"Sorry, {spec} is not allowed to launch. Please contact admins for more info!")
