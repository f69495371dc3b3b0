"""Pipfile and Pipfile.lock, rendered as requirements."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from builder.localpath import check_local, local_path
from builder.plan import Install, Source
from builder.pythons import Choice, default_choice, minor
from builder.reading import MAX_WORD, Reading, invalid, rows, shown, table

_VERSION = re.compile(r"\d+(\.\d+)*")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_PLAIN = re.compile(r"[^\s#\\]+")
_MARKERS = (
    "os_name", "sys_platform", "platform_machine", "platform_python_implementation", "platform_release",
    "platform_system", "platform_version", "python_version", "python_full_version", "implementation_name",
    "implementation_version",
)  # fmt: skip


@dataclass(frozen=True)
class Rendered:
    """Requirements as text. `local`: they name files of the repository."""

    install: Install
    local: bool
    unpinned: tuple[str, ...] = ()
    named: int = 0


def pipfile_python(reading: Reading, lock: dict[str, Any], pipfile: dict[str, Any]) -> Choice:
    """The Python of Pipfile.lock, else of Pipfile: the full version before the short one, cut to its minor."""
    meta = lock.get("_meta")
    sources = (
        ("Pipfile.lock", meta.get("requires") if isinstance(meta, dict) else None),
        ("Pipfile", pipfile.get("requires")),
    )
    for name, requires in sources:
        for key in ("python_full_version", "python_version"):
            asked = requires.get(key) if isinstance(requires, dict) else None
            found = _VERSION.match(asked) if isinstance(asked, str) else None
            if found is None:
                continue
            path = reading.find(name) or name
            version = minor(found[0], reading.context.default_python)
            if version is None:
                raise invalid(
                    path, "not a Python version", text=str(asked), hint='Write it as in python_version = "3.12".'
                )
            return Choice(version, path)
    return default_choice(reading.context)


def render_lock(reading: Reading, path: str, lock: dict[str, Any]) -> Rendered:
    """The packages of Pipfile.lock, `default` and `develop`, with their markers and hashes.

    It is complete, so nothing is added to it, although Pipenv leaves versions open that were not for its own platform.
    """
    merged = {**table(path, lock.get("develop", {}), "develop"), **table(path, lock.get("default", {}), "default")}
    meta = table(path, lock.get("_meta", {}), "_meta")
    return _render(reading, path, merged, meta.get("sources", []), locked=True)


def render_pipfile(reading: Reading, path: str, pipfile: dict[str, Any]) -> Rendered:
    """The packages and dev-packages of Pipfile."""
    packages = table(path, pipfile.get("packages", {}), "[packages]")
    merged = {**table(path, pipfile.get("dev-packages", {}), "[dev-packages]"), **packages}
    return _render(reading, path, merged, pipfile.get("source", []), locked=False)


def _render(reading: Reading, path: str, packages: dict[str, Any], sources: object, *, locked: bool) -> Rendered:
    lines, local, unpinned = list(_indexes(reading, path, sources)), False, list[str]()
    for name in sorted(packages):
        value = packages[name]
        entry = {"version": value} if isinstance(value, str) else table(path, value, shown(name))
        line, is_local = _requirement(reading, path, name, entry)
        lines.append(line)
        local = local or is_local
        if not is_local and not re.search(r"==[^*]*$| @ ", line.partition(" ; ")[0].partition(" --hash")[0]):
            unpinned.append(name)
    text = "".join(f"{line}\n" for line in lines)
    install = Install(Source.TEXT, text=text, locked=locked)
    return Rendered(install, local, tuple(unpinned), len(packages))


def _indexes(reading: Reading, path: str, sources: object) -> Iterator[str]:
    for source in rows(path, sources, "source"):
        url = table(path, source, "source").get("url", "")
        if not isinstance(url, str) or re.match(r"https://pypi\.(python\.)?org/simple/?$", url):
            continue
        if "$" in url or not re.fullmatch(r"https?://[^\s#\\]+", url):
            reading.warn(f"{path}: the package index {shown(url)} is not used; its address cannot be read.")
            continue
        reading.warn(f"{path}: packages also come from the index {shown(url)}.")
        yield f"--extra-index-url {url}"


def _requirement(reading: Reading, path: str, name: str, entry: dict[str, Any]) -> tuple[str, bool]:
    if len(name) > MAX_WORD or not _NAME.fullmatch(name):
        raise invalid(path, "not the name of a package", text=name)
    where = _place(path, name, entry)
    if where is not None:
        return _local(reading, path, name, entry, where)
    line = f"{name}{_extras(path, name, entry)}{_origin(path, name, entry)}{_marker(entry)}"
    return checked(path, line) + _hashes(entry), False


def checked(path: str, line: str) -> str:
    """A rendered requirement, when it is one, on one line; raises `InvalidDependencyFile`."""
    try:
        if len(line) > MAX_WORD or not line.isprintable():
            raise InvalidRequirement(line)
        Requirement(line)
    except (InvalidRequirement, RecursionError):
        raise invalid(path, "not a requirement that can be understood", text=line) from None
    return line


def _place(path: str, name: str, entry: dict[str, Any]) -> str | None:
    where = entry.get("path")
    if where is None and isinstance(entry.get("file"), str) and "://" not in entry["file"]:
        where = entry["file"]
    if where is not None and (not isinstance(where, str) or not _PLAIN.fullmatch(where) or len(where) > MAX_WORD):
        raise invalid(path, f"the path of {name} cannot be read", text=str(where))
    return where


def _local(reading: Reading, path: str, name: str, entry: dict[str, Any], where: str) -> tuple[str, bool]:
    inside = local_path(posixpath.join(posixpath.dirname(path), where))
    problem = check_local(reading.tree, "/" if inside is None else inside or ".", buildable=True)
    if problem is not None:
        raise invalid(path, f"{name} {problem.text}", text=where, hint=problem.hint)
    editable = "-e " if entry.get("editable") is True else ""
    return f"{editable}./{inside or ''}{_extras(path, name, entry)}", True


def _extras(path: str, name: str, entry: dict[str, Any]) -> str:
    extras = rows(path, entry.get("extras", []), f"extras of {name}")
    return f"[{','.join(map(str, extras))}]" if extras else ""


def _origin(path: str, name: str, entry: dict[str, Any]) -> str:
    """Version, Git address or URL of a requirement."""
    git = entry.get("git")
    url = f"git+{str(git).removeprefix('git+')}" if git is not None else entry.get("file")
    if url is not None:
        ref = f"@{entry['ref']}" if git is not None and entry.get("ref") else ""
        folder = f"#subdirectory={entry['subdirectory']}" if entry.get("subdirectory") else ""
        if not re.fullmatch(r"\S+", f"{url}{ref}{folder}"):
            raise invalid(path, f"the address of {name} cannot be read", text=str(url))
        return f" @ {url}{ref}{folder}"
    version = entry.get("version", "*")
    version = str(version).strip()
    if version in ("*", ""):
        return ""
    return f"=={version}" if version[0].isdigit() else version


def _marker(entry: dict[str, Any]) -> str:
    clauses = [f"({entry['markers']})"] if isinstance(entry.get("markers"), str) else []
    clauses += [f"{key} {entry[key]}" for key in _MARKERS if isinstance(entry.get(key), str)]
    return f" ; {' and '.join(clauses)}" if clauses else ""


def _hashes(entry: dict[str, Any]) -> str:
    hashes = entry.get("hashes")
    known = [item for item in hashes if isinstance(item, str)] if isinstance(hashes, list) else []
    return "".join(f" --hash={item}" for item in known if re.fullmatch(r"sha(256|384|512):[0-9a-f]+", item))
