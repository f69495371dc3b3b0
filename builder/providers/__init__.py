"""Providers: the places where repositories live, one module each, found through entry points.

A package adds one with an entry point of the group `bindery.providers`: its name is the link's prefix, its object a
function of `(settings, client)` that returns a `Provider`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import structlog

from bindery.errors import UnknownProvider
from bindery.settings import ProviderSettings
from builder.guard import GuardedClient
from builder.providers.base import Provider

log = structlog.get_logger(__name__)

GROUP = "bindery.providers"

#: How forms show them: the protocol's order, then ours, then what other packages add.
ORDER = (
    *("gh", "gist", "git", "gl", "zenodo", "figshare", "hydroshare", "dataverse", "ckan"),
    *("bitbucket", "codeberg", "hf", "swh", "osf", "invenio"),
)

_OWN = "builder.providers."
_ID = re.compile(r"[a-z][a-z0-9-]{0,31}")
_METHODS = ("parse", "resolve", "fetch")


def providers(settings: ProviderSettings, client: GuardedClient) -> dict[str, Provider]:
    """Every provider by its link prefix, in the order in which forms show them.

    One that cannot be loaded is logged and left out; none replaces one of ours.
    """
    found: dict[str, Provider] = {}
    for entry in sorted(entry_points(group=GROUP), key=_place):
        if entry.name in found or entry.name in settings.disabled:
            continue
        try:
            found[entry.name] = _loaded(entry, settings, client)
        except Exception:
            log.exception("provider.left_out", provider=entry.name, origin=entry.value)
    return found


def _place(entry: EntryPoint) -> tuple[int, bool, str]:
    place = ORDER.index(entry.name) if entry.name in ORDER else len(ORDER)
    return place, not entry.value.startswith(_OWN), entry.name


def _loaded(entry: EntryPoint, settings: ProviderSettings, client: GuardedClient) -> Provider:
    made = entry.load()(settings, client)
    if not _ID.fullmatch(entry.name) or not all(callable(getattr(made, name, None)) for name in _METHODS):
        raise TypeError(f"{entry.value} makes no provider")
    check_display(entry.name, made.display)
    return cast("Provider", made)


def check_display(name: str, display: Mapping[str, Any]) -> None:
    """Raise `ValueError`, `KeyError` or `TypeError` for a display that pages and clients cannot use."""
    texts = (display["displayName"], display["repo"]["label"], display["repo"]["placeholder"])
    flags = (display["repo"]["urlEncode"], display["ref"]["enabled"])
    if display["id"] != name or not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"the display of {name} lacks its id, name or label")
    if not all(isinstance(flag, bool) for flag in flags):
        raise ValueError(f"the display of {name} has flags that are not true or false")
    re.compile(display["spec"]["validateRegex"])
    if "detect" in display:
        # JavaScript and Python write named groups differently.
        pattern = re.compile(re.sub(r"\(\?<(?![=!])", "(?P<", display["detect"]["regex"]))
        if "repo" not in pattern.groupindex:
            raise ValueError(f"the pattern of {name} has no group called repo")


def provider(known: dict[str, Provider], name: str) -> Provider:
    """The provider of a link's prefix; raises `UnknownProvider`."""
    if name not in known:
        raise UnknownProvider(
            f"No provider found for prefix {name}", hint=f"Links begin with one of: {', '.join(known)}."
        )
    return known[name]
