"""Sentences for authors about files that look like configuration and are not read."""

from __future__ import annotations

from builder.buildpacks.draft import Draft
from builder.plan import Kind
from builder.reading import Reading, shown
from builder.runtime import Runtime

#: Files that some kind reads: where they are there and were not read, their author should know.
_CONFIGURATION = (
    "Dockerfile", "JuliaProject.toml", "Project.toml", "default.nix", "environment.yml", "environment.yaml", "Pipfile",
    "Pipfile.lock", "requirements.txt", "uv.lock", "pylock.toml", "poetry.lock", "setup.py", "pyproject.toml",
    "runtime.txt", ".python-version", "apt.txt", "postBuild", "start", "DESCRIPTION",
)  # fmt: skip
_ROOT_ONLY = frozenset({"setup.py", "pyproject.toml", "DESCRIPTION", "uv.lock", "poetry.lock"})

#: Files that no kind reads, and what to write instead.
_FOREIGN = {
    "Containerfile": "name it Dockerfile",
    "flake.nix": "only default.nix is",
    "shell.nix": "only default.nix is",
    "pixi.toml": "write an environment.yml",
    "pixi.lock": "write an environment.yml",
    "conda-lock.yml": "write an environment.yml",
    "anaconda-project.yml": "write an environment.yml",
    "devcontainer.json": "write dependency files of their own",
    ".devcontainer.json": "write dependency files of their own",
    ".devcontainer/devcontainer.json": "write dependency files of their own",
    "pdm.lock": "export it: pdm export --format pylock -o pylock.toml",
    "renv.lock": "restore it in install.R",
    "setup.cfg": "add a pyproject.toml",
}
_READ_WITH_OTHERS = {"setup.cfg": ("setup.py", "pyproject.toml"), "pixi.lock": ("pixi.toml",)}
_NESTED = ("requirements.txt", "environment.yml", "environment.yaml", "Pipfile", "pyproject.toml")


def advise(reading: Reading, draft: Draft, runtime: Runtime) -> None:
    """Add the warnings about everything that the author may expect to count and that does not."""
    _folder(reading)
    _runtime(reading, draft, runtime)
    _install_r(reading, draft)
    _beside(reading, draft)
    _foreign(reading)
    _spelling(reading)
    if not draft.decided_by:
        _nothing(reading)
    if draft.python.version and tuple(map(int, draft.python.version.split("."))) < (3,):
        reading.warn(f"Python {draft.python.version} is no longer maintained; most packages need Python 3.")


def _folder(reading: Reading) -> None:
    if not reading.folder:
        return
    if reading.tree.is_submodule(reading.folder):
        reading.warn(f"{reading.folder} is a submodule: what is in it is not read, and it hides the root's files.")
    elif not any(map(reading.find, (*_CONFIGURATION, "install.R", "REQUIRE"))):
        hidden = [name for name in _CONFIGURATION if reading.tree.is_file(name)]
        names = f" ({', '.join(hidden)})" if hidden else ""
        reading.warn(f"{reading.folder}/ has no dependency file, and hides those of the root{names}.")


def _runtime(reading: Reading, draft: Draft, runtime: Runtime) -> None:
    if runtime.name == "r" and runtime.date is None and draft.kind is not Kind.R:
        asked = shown(f"r-{runtime.version}")
        reading.warn(f"{runtime.path}: {asked} is ignored without a snapshot date; write {asked}-2025-06-01.")
    elif runtime.name not in ("", "r", "python"):
        reading.warn(f"{runtime.path} names an unknown language ({shown(runtime.name)}), so it is ignored.")


def _install_r(reading: Reading, draft: Draft) -> None:
    path = reading.find("install.R")
    if path is not None and draft.kind is not Kind.R:
        reading.warn(f"{path} alone is ignored: R needs a runtime.txt such as r-4.4-2025-06-01 beside it.")


def _beside(reading: Reading, draft: Draft) -> None:
    used = {reading.tree.resolve(path) for path in reading.files}
    for name in _CONFIGURATION:
        path = reading.find_root(name) if name in _ROOT_ONLY else reading.find(name)
        if path is None or reading.tree.resolve(path) in used or path == draft.decided_by:
            continue
        if name in ("postBuild", "start") and draft.extras:
            continue
        if name == "pyproject.toml" and b"[project]" not in reading.tree.read(path, reading.tree.size(path)):
            continue
        beside = f" beside {draft.decided_by}" if draft.decided_by else ""
        reading.warn(f"{path} is not read{beside}.")


def _foreign(reading: Reading) -> None:
    for name, cure in _FOREIGN.items():
        path = reading.find(name)
        if path is not None and not any(map(reading.find, _READ_WITH_OTHERS.get(name, ()))):
            reading.warn(f"{path} is not read; {cure}.")


def _spelling(reading: Reading) -> None:
    known = {name.lower(): name for name in (*_CONFIGURATION, "install.R") if name != "start"}
    prefix = f"{reading.folder}/" if reading.folder else ""
    for path in reading.tree.entries:
        name = path.removeprefix(prefix)
        right = known.get(name.lower()) if path.startswith(prefix) and "/" not in name else None
        if right is not None and name != right and not reading.find(right):
            reading.warn(f"{path} is not read: its name must be written {right}.")


def _nothing(reading: Reading) -> None:
    reading.warn("No dependency file was found, so the environment has only what notebooks need.")
    if reading.folder:
        return
    nested = [path for path in reading.tree.entries if path.count("/") == 1 and path.split("/")[1] in _NESTED]
    for path in sorted(nested)[:3]:
        reading.warn(f"{shown(path)} is not read: dependency files must be in the root, in binder/ or in .binder/.")
