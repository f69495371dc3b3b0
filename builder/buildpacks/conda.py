"""Conda's repositories: environment.yml."""

from __future__ import annotations

import re
from typing import Any

from builder.buildpacks.draft import Draft
from builder.plan import Kind
from builder.pythons import Choice, minor
from builder.reading import Reading, invalid, rows

_PYTHON = re.compile(r"python\s*=+\s*([\d.]*)", re.ASCII)
_RANGE = re.compile(r"python\s*[<>!~]")
#: pip's lines that need other files of the repository, by repo2docker's rule.
_LOCAL = re.compile(r"(-[rce]|--(requirement|constraint|editable)\b|\.|file:|.*file://)")


def find_environment(reading: Reading) -> str | None:
    """The path of environment.yml, else of environment.yaml."""
    return reading.find("environment.yml") or reading.find("environment.yaml")


def draft(reading: Reading) -> Draft | None:
    """Plan a repository with an environment.yml."""
    path = find_environment(reading)
    if path is None:
        return None
    packages = conda_packages(reading, path)
    return Draft(Kind.CONDA, "CondaBuildPack", path, _python(reading, path, packages), needs_tree=is_local(packages))


def conda_packages(reading: Reading, path: str) -> list[Any]:
    """The dependencies of environment.yml; raises `InvalidDependencyFile`."""
    content = reading.yaml(path)
    listed = content.get("dependencies")
    return [] if listed is None else rows(path, listed, "dependencies")


def is_local(packages: list[Any]) -> bool:
    """Whether the pip part names files of the repository."""
    sections = [item["pip"] for item in packages if isinstance(item, dict) and isinstance(item.get("pip"), list)]
    lines = [line for section in sections for line in section if isinstance(line, str)]
    return any(re.match(_LOCAL, re.sub(r"^(-e|--editable)[ =]\s*(?=\w+\+)", "", line.strip())) for line in lines)


def _python(reading: Reading, path: str, packages: list[Any]) -> Choice:
    default = reading.context.default_python
    names = [item for item in packages if isinstance(item, str)]
    asked = next((found for found in map(_PYTHON.match, names) if found), None)
    if asked is None or not asked[1].strip("."):
        if any(_RANGE.match(name) for name in names):
            reading.warn(
                f"{path} gives a range for python; the environment starts with {default} and the solver may change it. "
                "Write python=3.12 (one equal sign) to choose."
            )
        return Choice(default, "default")
    version = minor(asked[1].strip("."), default)
    if version is None:
        raise invalid(path, "not a Python version", text=asked[0], hint="Write it as in python=3.12.")
    return Choice(version, path)
