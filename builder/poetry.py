"""poetry.lock, rendered as pinned requirements.

Groups are taken as `poetry install` takes them: all but those marked optional; extras are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from builder.localpath import check_local, local_path
from builder.pipfile import Rendered, checked
from builder.plan import Install, Source
from builder.pythons import Bounds, poetry_bounds
from builder.reading import MAX_WORD, Reading, invalid, rows, shown, table

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_EXTRA = re.compile(r"\bextra\b")
_SCP = re.compile(r"(?:(\w+)@)([\w.-]+):(?!//)(.+)")


@dataclass(frozen=True)
class _Edge:
    """One package's wish for another: a range of versions in Poetry's notation, and when it applies ("": always)."""

    constraint: str
    marker: str


def lock_bounds(path: str, lock: dict[str, Any]) -> Bounds | None:
    """The Pythons that the lock is for."""
    metadata = table(path, lock.get("metadata", {}), "[metadata]")
    return poetry_bounds(metadata.get("python-versions"), path)


def render_poetry(reading: Reading, path: str, lock: dict[str, Any], settings: dict[str, Any], python: str) -> Rendered:
    """Render the lock for one Python; `settings` is the content of pyproject.toml."""
    packages = [table(path, item, "a package") for item in rows(path, lock.get("package", []), "package")]
    for package in packages:
        _check_identity(path, package)
    skipped = _optional_groups(settings)
    chosen = [package for package in packages if not package.get("optional") and _wanted(package, skipped)]
    edges = _edges(path, chosen, settings) if not any("groups" in package for package in packages) else None
    if edges is not None:
        chosen = _asked_for(chosen, settings, skipped) if skipped else chosen
        chosen = _one_version_each(reading, path, chosen, edges, python)
    old_hashes = table(path, lock.get("metadata", {}), "[metadata]").get("files", {})
    indexes, lines, local = list[str](), list[str](), False
    for package in chosen:
        marker = _marker(package, skipped) if edges is None else _edge_marker(package, edges)
        line, is_local = _requirement(reading, path, package, marker)
        local = local or is_local
        lines.append(line if is_local else line + _hashes(package, old_hashes))
        indexes += _index(reading, path, package)
    text = "".join(f"{line}\n" for line in [*dict.fromkeys(indexes), *sorted(lines)])
    return Rendered(Install(Source.TEXT, text=text, locked=True), local, named=len(lines))


def _check_identity(path: str, package: dict[str, Any]) -> None:
    name, version = package.get("name"), package.get("version")
    if not isinstance(name, str) or len(name) > MAX_WORD or not _NAME.fullmatch(name):
        raise invalid(path, "a package without a proper name", text=str(name))
    try:
        Version(version if isinstance(version, str) and len(version) <= MAX_WORD else "")
    except InvalidVersion:
        raise invalid(path, f"{name} has no proper version", text=str(version)) from None


def _optional_groups(settings: dict[str, Any]) -> frozenset[str]:
    groups = _dig(settings, "tool", "poetry", "group")
    return frozenset(name for name, group in groups.items() if isinstance(group, dict) and group.get("optional"))


def _dig(value: object, *names: str) -> dict[str, Any]:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _groups(package: dict[str, Any]) -> list[str]:
    groups = package.get("groups")
    return [str(group) for group in groups] if isinstance(groups, list) and groups else ["main"]


def _wanted(package: dict[str, Any], skipped: frozenset[str]) -> bool:
    return any(group not in skipped for group in _groups(package))


def _marker(package: dict[str, Any], skipped: frozenset[str]) -> str:
    """The marker that a lock of version 2.1 states, for the groups that are installed."""
    markers = package.get("markers", "")
    if isinstance(markers, dict):
        texts = [str(markers.get(group, "")) for group in _groups(package) if group not in skipped]
        return _either(texts)
    return str(markers)


def _either(markers: list[str]) -> str:
    if not markers or not all(markers):
        return ""
    unique = list(dict.fromkeys(markers))
    return unique[0] if len(unique) == 1 else " or ".join(f"({marker})" for marker in unique)


def _edges(path: str, packages: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, list[_Edge]]:
    """Who wants what, in locks that do not state it: from each package, and from pyproject.toml."""
    found: dict[str, list[_Edge]] = {}
    poetry = _dig(settings, "tool", "poetry")
    wishes = [_dig(poetry, "dependencies"), _dig(poetry, "dev-dependencies")]
    wishes += [_dig(group, "dependencies") for group in _dig(poetry, "group").values()]
    wishes += [_dig(package, "dependencies") for package in packages]
    for wish in wishes:
        for name, value in wish.items():
            found.setdefault(canonicalize_name(str(name)), []).extend(_read_edges(value))
    return found


def _asked_for(
    packages: list[dict[str, Any]], settings: dict[str, Any], skipped: frozenset[str]
) -> list[dict[str, Any]]:
    """Without what only skipped groups ask for, in locks that do not state groups."""
    poetry = _dig(settings, "tool", "poetry")
    listed = _dig(settings, "project").get("dependencies")
    pending = [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in _strings(listed)]
    pending += [*_dig(poetry, "dependencies"), *_dig(poetry, "dev-dependencies")]
    for name, group in _dig(poetry, "group").items():
        pending += [] if name in skipped else _dig(group, "dependencies")
    wishes: dict[str, list[str]] = {}
    for package in packages:
        wishes.setdefault(canonicalize_name(package["name"]), []).extend(_dig(package, "dependencies"))
    wanted: set[str] = set()
    while pending:
        name = canonicalize_name(pending.pop())
        if name not in wanted:
            wanted.add(name)
            pending += wishes.get(name, [])
    return [package for package in packages if canonicalize_name(package["name"]) in wanted]


def _read_edges(value: object) -> Iterator[_Edge]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield _Edge(item, "")
        elif isinstance(item, dict):
            marker = str(item.get("markers", ""))
            # What only an extra asks for is in the lock because somebody asks for the extra.
            yield _Edge(str(item.get("version", "*")), "" if _EXTRA.search(marker) else marker)


def _edge_marker(package: dict[str, Any], edges: dict[str, list[_Edge]]) -> str:
    mine = edges.get(canonicalize_name(package["name"]), [])
    fitting = [edge for edge in mine if _fits(package["version"], edge.constraint)]
    return _either([edge.marker for edge in fitting or mine])


def _fits(version: str, constraint: str) -> bool:
    bounds = poetry_bounds(constraint, "")
    return bounds is None or bounds.specifier.contains(version, prereleases=True)


def _one_version_each(
    reading: Reading, path: str, packages: list[dict[str, Any]], edges: dict[str, list[_Edge]], python: str
) -> list[dict[str, Any]]:
    """Of several versions of a package, those for this Python; the highest of those that nothing tells apart."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for package in packages:
        by_name.setdefault(canonicalize_name(package["name"]), []).append(package)
    chosen = []
    for name, versions in by_name.items():
        fitting = [item for item in versions if len(versions) == 1 or _for_python(item, python)]
        if len(fitting) > 1 and not all(_edge_marker(item, edges) for item in fitting):
            best = max(fitting, key=lambda item: Version(item["version"]))
            reading.warn(f"{path} locks several versions of {name}; {best['version']} is installed.")
            fitting = [best]
        chosen += fitting
    return chosen


def _for_python(package: dict[str, Any], python: str) -> bool:
    bounds = poetry_bounds(package.get("python-versions"), "")
    return bounds is None or bounds.accept(python)


def _requirement(reading: Reading, path: str, package: dict[str, Any], marker: str) -> tuple[str, bool]:
    name, source = package["name"], _dig(package, "source")
    kind, url = source.get("type"), str(source.get("url", ""))
    if len(url) > MAX_WORD:
        raise invalid(path, f"the address of {shown(name)} is too long", text=url)
    if kind in ("file", "directory"):
        return _local(reading, path, package, url), True
    folder = f"#subdirectory={source['subdirectory']}" if source.get("subdirectory") else ""
    if kind == "git":
        ref = source.get("resolved_reference") or source.get("reference")
        address = _SCP.sub(r"ssh://\1@\2/\3", url)
        line = f"{name} @ git+{address}{f'@{ref}' if ref else ''}{folder}"
    elif kind == "url":
        line = f"{name} @ {url}{folder}"
    else:
        line = f"{name}=={package['version']}"
    line += f" ; {marker}" if marker else ""
    return checked(path, line), False


def _local(reading: Reading, path: str, package: dict[str, Any], where: str) -> str:
    problem = check_local(reading.tree, where, buildable=True)
    if problem is not None or not re.fullmatch(r"\S+", where):
        hint = problem.hint if problem else "Use a path without spaces."
        raise invalid(
            path, f"{package['name']} {problem.text if problem else 'has no proper path'}", text=where, hint=hint
        )
    editable = "-e " if package.get("develop") is True else ""
    return f"{editable}./{local_path(where)}"


def _hashes(package: dict[str, Any], old: object) -> str:
    if _dig(package, "source").get("type") == "git":
        return ""
    files = package.get("files") or (old.get(package["name"]) if isinstance(old, dict) else None)
    found = [item.get("hash") for item in files if isinstance(item, dict)] if isinstance(files, list) else []
    known = [item for item in found if isinstance(item, str) and re.fullmatch(r"sha(256|384|512):[0-9a-f]+", item)]
    return "".join(f" --hash={item}" for item in dict.fromkeys(known))


def _index(reading: Reading, path: str, package: dict[str, Any]) -> Iterator[str]:
    source = _dig(package, "source")
    if source.get("type") != "legacy":
        return
    url = str(source.get("url", ""))
    if not re.fullmatch(r"https?://[^\s#\\]+", url):
        raise invalid(path, "not the address of a package index", text=url)
    reading.warn(f"{path}: packages also come from the index {shown(url)}.")
    yield f"--extra-index-url {url}"
