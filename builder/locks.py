"""uv.lock and pylock.toml: locks that uv installs as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from builder.plan import Install, Source
from builder.pythons import Bounds, bounds_of
from builder.reading import Reading, invalid, rows, table


@dataclass(frozen=True)
class Lock:
    """A lock as a step of an environment.

    `local`: it names files of the repository. `bounds`: the Pythons it is for. `package`: it installs the repository
    itself; None where it does not say.
    """

    install: Install
    local: bool
    bounds: Bounds | None
    package: bool | None = None


def read_uv_lock(reading: Reading, path: str) -> Lock:
    """Read uv.lock; its pyproject.toml is part of the step."""
    lock = reading.toml(path)
    if not isinstance(lock.get("version"), int):
        raise invalid(path, "has no version, so it is no lock of uv", hint="Write it with: uv lock")
    reading.use("pyproject.toml")
    packages = [table(path, item, "a package") for item in rows(path, lock.get("package", []), "package")]
    sources = [item["source"] for item in packages if isinstance(item.get("source"), dict)]
    local = any(_uv_local(source) for source in sources)
    package = any(source.get("editable") == "." or source.get("directory") == "." for source in sources)
    bounds = bounds_of(lock.get("requires-python"), path)
    return Lock(Install(Source.UV_LOCK, (path,), locked=True), local, bounds, package)


def _uv_local(source: dict[str, Any]) -> bool:
    """Whether a package of uv.lock needs files of the repository; the root project itself is installed apart."""
    registry = source.get("registry")
    if isinstance(registry, str) and "://" not in registry:
        return True
    places = [source[key] for key in ("path", "directory", "editable", "virtual") if key in source]
    return any(place != "." for place in places)


def read_pylock(reading: Reading, path: str) -> Lock:
    """Read pylock.toml (PEP 751)."""
    lock = reading.toml(path)
    if not isinstance(lock.get("lock-version"), str):
        raise invalid(path, "has no lock-version", hint="Write it with: uv export --format pylock.toml -o pylock.toml")
    packages = [table(path, item, "a package") for item in rows(path, lock.get("packages", []), "packages")]
    local = any(_pylock_local(item) for item in packages)
    bounds = bounds_of(lock.get("requires-python"), path)
    return Lock(Install(Source.PYLOCK, (path,), locked=True), local, bounds)


def _pylock_local(package: dict[str, Any]) -> bool:
    wheels = package.get("wheels")
    places = [package.get(key) for key in ("directory", "archive", "sdist", "vcs")]
    places += wheels if isinstance(wheels, list) else []
    return any(isinstance(place, dict) and "path" in place and "url" not in place for place in places)
