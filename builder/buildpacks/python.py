"""Python repositories: requirements.txt, a lock, a package, or a bare [project] table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from builder.buildpacks.draft import UV, Draft
from builder.locks import Lock, read_pylock, read_uv_lock
from builder.pipfile import Rendered
from builder.plan import Install, Kind, Source
from builder.poetry import lock_bounds, render_poetry
from builder.project import Project, dependencies, install_package, poetry_installs_itself, read_project
from builder.pythons import Choice, choose
from builder.reading import Reading, shown
from builder.requirements import Requirements, parse_lines, read_requirements
from builder.runtime import Runtime

_NAMES_SHOWN = 5


@dataclass(frozen=True)
class Steps:
    """The Python part of an environment."""

    python: Choice
    installs: tuple[Install, ...]
    local: bool
    decided_by: str


def draft(reading: Reading, runtime: Runtime) -> Draft:
    """Plan a Python repository; every repository without other dependency files is one."""
    steps = python_steps(reading, runtime)
    return Draft(Kind.PYTHON, UV, steps.decided_by or _runtime_file(runtime), steps.python, steps.installs, steps.local)


def python_steps(reading: Reading, runtime: Runtime) -> Steps:
    """What repo2docker's Python buildpack would install, else a lock, else what [project] lists.

    requirements.txt comes first, then the package itself; locks are read only where there is no requirements.txt.
    """
    project = read_project(reading)
    path = reading.find("requirements.txt")
    if path is not None:
        return _from_requirements(reading, runtime, project, path)
    return _from_lock(reading, runtime, project) or _from_project(reading, runtime, project)


def _runtime_file(runtime: Runtime) -> str:
    return runtime.path if runtime.name == "python" else ""


def _from_requirements(reading: Reading, runtime: Runtime, project: Project, path: str) -> Steps:
    found = read_requirements(reading, path)
    warn_unpinned(reading, path, found.unpinned, found.named)
    installs = [requirements_step(path, found)]
    if project.package:
        installs.append(install_package(reading))
    python = choose(reading, runtime, project.bounds)
    return Steps(python, tuple(installs), found.local or project.package, path)


def requirements_step(path: str, found: Requirements) -> Install:
    """The step for a requirements file: the file itself, or its text where uv does not understand all of it."""
    if not found.rewritten:
        return Install(Source.FILES, (path,))
    return Install(Source.TEXT, tuple(found.constraints), "".join(f"{line}\n" for line in found.lines))


def _from_lock(reading: Reading, runtime: Runtime, project: Project) -> Steps | None:
    uv_lock, poetry_lock = reading.find_root("uv.lock"), reading.find_root("poetry.lock")
    pylock = reading.find("pylock.toml")
    if uv_lock is not None and project.path is not None:
        return _locked(reading, runtime, project, read_uv_lock(reading, uv_lock))
    if pylock is not None:
        return _locked(reading, runtime, project, read_pylock(reading, pylock))
    if poetry_lock is not None:
        return _from_poetry(reading, runtime, project, poetry_lock)
    return None


def _locked(reading: Reading, runtime: Runtime, project: Project, lock: Lock) -> Steps:
    python = choose(reading, runtime, lock.bounds or project.bounds)
    package = project.package if lock.package is None else lock.package
    return _with_package(reading, python, lock.install, package=package, local=lock.local)


def _from_poetry(reading: Reading, runtime: Runtime, project: Project, path: str) -> Steps:
    lock = reading.toml(path, shapes=False)
    python = choose(reading, runtime, project.bounds or lock_bounds(path, lock))
    rendered: Rendered = render_poetry(reading, path, lock, project.settings, python.version)
    package = poetry_installs_itself(reading, project)
    steps = _with_package(reading, python, rendered.install, package=package, local=rendered.local)
    return Steps(steps.python, steps.installs, steps.local, path)


def _with_package(reading: Reading, python: Choice, install: Install, *, package: bool, local: bool) -> Steps:
    installs = (install, install_package(reading, locked=True)) if package else (install,)
    return Steps(python, installs, local or package, install.paths[0] if install.paths else "")


def _from_project(reading: Reading, runtime: Runtime, project: Project) -> Steps:
    python = choose(reading, runtime, project.bounds)
    if project.package:
        decided_by = reading.find_root("setup.py") or project.path or ""
        return Steps(python, (install_package(reading),), True, decided_by)
    if project.path is None or not project.metadata:
        return Steps(python, (), False, "")
    lines = dependencies(reading, project)
    if "dependencies" in _dynamic(project):
        reading.warn(f"{project.path} declares its dependencies dynamic but has no [build-system], so none are known.")
    if not lines:
        return Steps(python, (), False, project.path)
    found = parse_lines(reading, project.path, lines)
    warn_unpinned(reading, project.path, found.unpinned, found.named)
    install = Install(Source.TEXT, text="".join(f"{line}\n" for line in lines))
    return Steps(python, (install,), found.local, project.path)


def _dynamic(project: Project) -> Collection[object]:
    found = project.metadata.get("dynamic")
    return found if isinstance(found, list) else ()


def warn_unpinned(reading: Reading, path: str, names: Collection[str], named: int) -> None:
    """Say which requirements may get another version next time."""
    if not names:
        return
    listed = sorted(set(names), key=str.lower)
    more = ", …" if len(listed) > _NAMES_SHOWN else ""
    some = shown(", ".join(listed[:_NAMES_SHOWN]), 200) + more
    reading.warn(
        f"{path}: {len(names)} of {named} requirements name no exact version ({some}); "
        "a later build may get other versions."
    )
