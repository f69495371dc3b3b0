"""How the repo2docker library would build a repository: its packages, variables, files and scripts."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bindery.errors import InstallFailed, InternalError, InvalidDependencyFile
from bindery.process import ProcessTimeout, run
from bindery.sandbox import inherited
from builder.buildpacks.repo2docker import TIMEOUT_SECONDS, write_configuration
from builder.tree import Tree

_USERS = {"root": 0, "${NB_USER}": 1000, "$NB_USER": 1000}


@dataclass(frozen=True)
class Script:
    """One logical line of shell, and the number of the user who runs it."""

    user: int
    text: str


@dataclass(frozen=True)
class LibrarySteps:
    """What the library's buildpack contributes to an image, in the order of its template.

    `files` are the library's own, by their place in the image; `early_files` the repository's, by their path there.
    `early` scripts need only those, `late` ones the whole repository.
    """

    buildpack: str
    packages: tuple[str, ...]
    build_env: tuple[tuple[str, str], ...]
    path: tuple[str, ...]
    files: Mapping[str, bytes]
    build: tuple[Script, ...]
    env: tuple[tuple[str, str], ...]
    early_files: Mapping[str, str]
    early: tuple[Script, ...]
    late: tuple[Script, ...]
    start: str | None


async def library_steps(tree: Tree) -> LibrarySteps:
    """Ask the library, in a child process that sees only configuration files.

    Raises `InvalidDependencyFile` when the library refuses the repository, `InternalError` when it gives no answer.
    """
    with tempfile.TemporaryDirectory(prefix="bindery-steps-") as home:
        folder = Path(home) / "repository"
        await asyncio.to_thread(write_configuration, tree, folder)
        # Isolated: no module may come from the environment or from the repository's own files. For R and Julia the
        # library looks up versions on their servers.
        argv = [sys.executable, "-I", "-m", "builder.buildpacks.repo2docker_steps_child", str(folder)]
        env = inherited(os.environ) | {"HOME": home, "LANG": "C.UTF-8"}
        try:
            ended = await run(argv, env=env, cwd=Path(home), timeout_seconds=TIMEOUT_SECONDS)
        except ProcessTimeout as error:
            raise InternalError(f"repo2docker gave no answer: {error}") from None
    if ended.returncode != 0:
        raise InternalError(f"repo2docker gave no answer: {ended.stderr.decode(errors='replace')[-500:]}")
    return _steps(json.loads(ended.stdout))


def one_line(script: str) -> str:
    """A script as the library would write it after RUN: one logical line, whose breaks are all escaped.

    Raises `InternalError` for anything that a Dockerfile would take for a further instruction.
    """
    written = textwrap.dedent(script.strip("\n")).splitlines()
    lines = [line.rstrip() for line in written if line.strip() and not line.lstrip().startswith("#")]
    if not lines or any(line.endswith("\\") == (line is lines[-1]) for line in lines):
        raise InternalError(f"Not one line of a shell: {script.strip()[:80]!r}.")
    return "\n".join(lines)


def _steps(answer: Mapping[str, Any]) -> LibrarySteps:
    if re.match(r"\w*(Connection|Timeout|HTTP|SSL)|RuntimeError: Failed to fetch", answer["error"]):
        hint = "Try again in a moment; if it stays so, tell the operator."
        raise InstallFailed("A server that versions are looked up on did not answer.", hint=hint)
    if answer["error"]:
        hint = "See docs/dependency-files.md for what these files may say."
        raise InvalidDependencyFile(f"repo2docker cannot use the repository: {answer['error']}", hint=hint)
    return LibrarySteps(
        buildpack=answer["buildpack"],
        packages=tuple(answer["packages"]),
        build_env=_pairs(answer["build_env"]),
        path=tuple(answer["path"]),
        files={place: base64.b64decode(data) for place, data in answer["files"].items()},
        build=_scripts(answer["build"]),
        env=_pairs(answer["env"]),
        early_files=dict(answer["early_files"]),
        early=_scripts(answer["early"]),
        late=_scripts(answer["late"]),
        start=answer["start"],
    )


def _pairs(items: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, _variable(value)) for name, value in items)


def _variable(value: str) -> str:
    """A variable's value, which may name other variables; nothing that ends its line."""
    if not re.fullmatch(r"[ -~]*", value) or '"' in value or "\\" in value:
        raise InternalError(f"Not fit to be a variable's value: {value[:80]!r}.")
    return value


def _scripts(items: list[list[str]]) -> tuple[Script, ...]:
    return tuple(Script(_USERS[user], one_line(text)) for user, text in items)
