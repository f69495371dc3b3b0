"""From a plan to an environment: what is locked is installed as it is, the rest is resolved around it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bindery.errors import InvalidDependencyFile
from builder.engines.hands import Hands
from builder.engines.joining import asks_for_server, extends_server, normalized, package_names
from builder.engines.server import SERVER_OVERRIDES, SERVER_REQUIREMENTS, server_pins
from builder.plan import Install, Plan, Source
from builder.tree import Tree

#: What every environment gets: a kernel, and pip for `%pip install`.
KERNEL_REQUIREMENTS = "ipykernel\npip\n"
_MAX_FILE_BYTES = 4 * 1024 * 1024


@dataclass
class _Inputs:
    """`locked` are arguments of `uv pip install`, one list a step; `open` are requirements files to resolve.

    `constraints` are the files that bound what `open` resolves to.
    """

    locked: list[list[str | Path]] = field(default_factory=list)
    open: list[Path] = field(default_factory=list)
    constraints: list[Path] = field(default_factory=list)


async def make_environment(plan: Plan, installer: Hands, preferred: str = "") -> tuple[str, bool]:
    """Make the installer's target the environment of a plan; return its lock, and whether it runs the server too.

    The files that the plan names are in the installer's `sources`. Versions in `preferred`, the lock of an environment
    of the same plan, are taken where nothing speaks against.
    """
    await installer.create()
    inputs = await _inputs(plan, installer)
    for arguments in inputs.locked:
        await installer.install(*arguments)
    frozen = await installer.freeze() if inputs.locked else ""
    kernel = installer.write("kernel.txt", KERNEL_REQUIREMENTS)
    frozen_pins = [installer.write("constraints.txt", _pins(frozen))] if frozen else []
    constraints = [*inputs.constraints, *frozen_pins]
    known = _pins(preferred)
    lock = await installer.resolve([*inputs.open, kernel], constraints=constraints, preferred=known)
    joined = asks_for_server(package_names(frozen + lock.read_text(encoding="utf-8")))
    if joined:
        await installer.say(
            "The packages include a Jupyter server or an extension of one: it runs from this environment\n"
        )
        lock = await _resolve_joined(installer, [*inputs.open, kernel], constraints, known)
    await installer.install("--no-deps", "-r", lock)
    if not joined and extends_server(installer.target):
        await installer.say("A package extends the Jupyter server: it runs from this environment\n")
        await join(installer)
        joined = True
    installer.settle_paths()
    await installer.compile_bytecode()
    return await installer.freeze(), joined


class OtherVersions(Exception):
    """An environment cannot be grown from another one: it has to be made from nothing."""


async def grow_environment(plan: Plan, installer: Hands, lower: str) -> str:
    """Add what a plan asks for to the installer's target, an environment with the lock `lower`; return the new lock.

    All is resolved as if nothing was there. Raises `OtherVersions` unless what is there is just a part of that.
    """
    inputs = await _inputs(plan, installer)
    kernel = installer.write("kernel.txt", KERNEL_REQUIREMENTS)
    lock = await installer.resolve([*inputs.open, kernel], constraints=inputs.constraints)
    wanted = lock.read_text(encoding="utf-8")
    if inputs.locked or asks_for_server(package_names(wanted)) or not versions(lower) <= versions(wanted):
        raise OtherVersions
    await installer.install("--no-deps", "-r", lock)
    if extends_server(installer.target):
        raise OtherVersions
    await installer.compile_bytecode()
    return await installer.freeze()


def versions(lock: str) -> set[tuple[str, str]]:
    """The packages in a lock, each with its version or with where it is from."""
    lines = [line.strip() for line in lock.splitlines() if line.strip() and not line.startswith(("-", "#"))]
    split = [line.partition(" @ ") if " @ " in line else line.partition("==") for line in lines]
    return {(normalized(name.strip()), version.strip()) for name, _, version in split}


async def join(installer: Hands, lower_lock: str = "") -> None:
    """Add the server to the installer's target without changing what is there, or below it (`lower_lock`)."""
    frozen = await installer.freeze()
    constraints = [installer.write("constraints.txt", _pins(lower_lock + frozen))]
    lock = await _resolve_joined(installer, [], constraints)
    await installer.install("--no-deps", "-r", lock)


async def _resolve_joined(installer: Hands, inputs: list[Path], constraints: list[Path], preferred: str = "") -> Path:
    server = installer.write("server.txt", SERVER_REQUIREMENTS)
    return await installer.resolve(
        [*inputs, server], constraints=constraints, overrides=SERVER_OVERRIDES, preferred=preferred or server_pins()
    )


async def _inputs(plan: Plan, installer: Hands) -> _Inputs:
    inputs = _Inputs()
    for number, step in enumerate(plan.installs):
        await _add(inputs, step, number, installer)
    return inputs


async def _add(inputs: _Inputs, step: Install, number: int, installer: Hands) -> None:
    files = [installer.sources / path for path in step.paths]
    match step.source:
        case Source.FILES:
            _add_requirements(inputs, step, files)
        case Source.TEXT:
            text = installer.write(f"requirements-{number}.txt", step.text)
            _add_requirements(inputs, step, [text], constraints=files)
        case Source.UV_LOCK:
            locks = [await installer.export(file.parent, str(number)) for file in files]
            inputs.locked += [["-r", lock] for lock in locks]
        case Source.PYLOCK:
            inputs.locked += [["-r", file] for file in files]
        case Source.PROJECT if step.locked:
            inputs.locked += [["--no-deps", f"./{path}"] for path in step.paths]
        case Source.PROJECT:
            projects = "".join(f"./{path}\n" for path in step.paths)
            inputs.open.append(installer.write(f"project-{number}.txt", projects))


def _add_requirements(inputs: _Inputs, step: Install, files: list[Path], constraints: Sequence[Path] = ()) -> None:
    """Files with hashes are locks: uv checks hashes only of what it installs from the very file."""
    for file in files:
        if step.locked or "--hash" in file.read_text(encoding="utf-8", errors="replace"):
            bounds = [word for path in constraints for word in ("-c", path)]
            inputs.locked.append(["--no-deps", "-r", file, *bounds])
        else:
            inputs.open.append(file)
            inputs.constraints += constraints


def _pins(lock: str) -> str:
    """The exact versions in a lock; packages from elsewhere than an index are left out."""
    return "".join(f"{line}\n" for line in lock.splitlines() if "==" in line and not line.startswith("-"))


async def write_files(tree: Tree, paths: tuple[str, ...], folder: Path) -> None:
    """Write some files of a commit below `folder`; links are followed within the commit."""
    await asyncio.to_thread(_write_files, tree, paths, folder)


def _write_files(tree: Tree, paths: tuple[str, ...], folder: Path) -> None:
    for path in dict.fromkeys(paths):
        if not tree.is_file(path):
            continue
        parts = PurePosixPath(path).parts
        if path.startswith("/") or {"..", ".git"} & set(parts):
            raise InvalidDependencyFile(f"{path} is not a path inside of the repository.")
        target = folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(tree.read(path, _MAX_FILE_BYTES))
