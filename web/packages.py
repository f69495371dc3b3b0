"""What an environment holds, read from the list that its engine made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_PINNED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>\S+)")
_AT = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*) @ (?P<version>\S+)")
_APT = re.compile(r"apt (?P<name>[^=\s]+)=(?P<version>\S+)")
_JULIA = re.compile(r"julia (?P<name>\S+)")
#: A record of conda: name, version and build, none of which but the name has a hyphen.
_CONDA = re.compile(r"(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)-(?P<version>\d[^-\s]*)-(?P<build>[^-\s]+)")

#: Each kind of line, in the order in which they are tried, and whose packages they are.
_KINDS = ((_APT, "apt"), (_JULIA, "julia"), (_PINNED, "pip"), (_AT, "pip"), (_CONDA, "conda"))
#: The order in which they are shown.
ORDER = ("pip", "conda", "julia", "apt", "other")


@dataclass(frozen=True)
class Package:
    """One package; `version` may be an address, or empty."""

    name: str
    version: str = ""


def packages(lock: str) -> Mapping[str, Sequence[Package]]:
    """The packages of an environment's list, by who installed them; lines of no known form are `other`."""
    found: dict[str, list[Package]] = {kind: [] for kind in ORDER}
    for line in filter(None, map(str.strip, lock.splitlines())):
        kind, package = _read(line)
        found[kind].append(package)
    return {kind: rows for kind, rows in found.items() if rows}


def _read(line: str) -> tuple[str, Package]:
    for pattern, kind in _KINDS:
        if match := pattern.fullmatch(line):
            return kind, Package(match["name"], match.groupdict().get("version", ""))
    return "other", Package(line)
