"""The repository as a Python project: pyproject.toml, setup.py, and the locks beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from builder.plan import Install, Source
from builder.pythons import Bounds, bounds_of
from builder.reading import MAX_WORD, Reading, invalid, rows, table
from builder.requirements import parse_lines


@dataclass(frozen=True)
class Project:
    """What the root says about itself. `package`: pip can install it, by repo2docker's rule."""

    path: str | None
    settings: dict[str, Any]
    package: bool
    bounds: Bounds | None

    @property
    def metadata(self) -> dict[str, Any]:
        """The [project] table; empty when there is none."""
        found = self.settings.get("project", {})
        return found if isinstance(found, dict) else {}


def read_project(reading: Reading) -> Project:
    """Read pyproject.toml and setup.py, which count only without a configuration folder."""
    path = reading.find_root("pyproject.toml")
    settings = reading.toml(path, shapes=False) if path else {}
    if path and "project" in settings:
        table(path, settings["project"], "[project]")
    built = "project" in settings and "build-system" in settings and not _package_mode_off(settings)
    package = built or reading.find_root("setup.py") is not None
    project = Project(path, settings, package, None)
    bounds = bounds_of(project.metadata.get("requires-python"), path) if path else None
    return Project(path, settings, package, bounds)


def _package_mode_off(settings: dict[str, Any]) -> bool:
    return _poetry(settings).get("package-mode") is False


def _poetry(settings: dict[str, Any]) -> dict[str, Any]:
    tools = settings.get("tool")
    found = tools.get("poetry") if isinstance(tools, dict) else None
    return found if isinstance(found, dict) else {}


def poetry_installs_itself(reading: Reading, project: Project) -> bool:
    """Whether `poetry install` would install the repository itself: its settings or its folders show a package."""
    poetry = _poetry(project.settings)
    if project.package or _package_mode_off(project.settings):
        return project.package
    name = poetry.get("name", project.metadata.get("name"))
    if not isinstance(name, str) or "build-system" not in project.settings:
        return False
    module = re.sub(r"[-.]+", "_", name).lower()
    places = (f"{module}/__init__.py", f"src/{module}/__init__.py", f"{module}.py", f"src/{module}.py")
    return bool(poetry.get("packages")) or any(reading.tree.is_file(place) for place in places)


def install_package(reading: Reading, *, locked: bool = False) -> Install:
    """The step that installs the repository itself."""
    for name in ("pyproject.toml", "setup.py", "setup.cfg"):
        path = reading.find_root(name)
        if path is not None:
            reading.use(path)
    return Install(Source.PROJECT, (".",), locked=locked)


def dependencies(reading: Reading, project: Project) -> list[str]:
    """What [project] lists as dependencies; raises `InvalidDependencyFile`."""
    path = project.path or "pyproject.toml"
    listed = rows(path, project.metadata.get("dependencies", []), "dependencies in [project]")
    lines = [" ".join(text.split()) if isinstance(text, str) else "" for text in listed]
    for text, line in zip(listed, lines, strict=True):
        try:
            Requirement(line if len(line) <= MAX_WORD else "")
        except (InvalidRequirement, RecursionError):
            hint = "Each of the dependencies must be a requirement such as numpy>=2."
            raise invalid(path, "not a requirement", text=str(text), hint=hint) from None
    parse_lines(reading, path, lines)
    return lines
