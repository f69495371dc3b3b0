"""What the repo2docker library would do with a tree, asked in a child process that sees only configuration files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bindery.errors import InternalError, InvalidDependencyFile
from bindery.process import ProcessTimeout, run
from builder.detect import CONFIG_FOLDERS
from builder.reading import MAX_LOCK_BYTES
from builder.tree import Tree

TIMEOUT_SECONDS = 60.0
#: Every file that makes a difference to the library's choice.
NAMES = (
    "Dockerfile", "JuliaProject.toml", "Project.toml", "Manifest.toml", "JuliaManifest.toml", "REQUIRE", "default.nix",
    "runtime.txt", "DESCRIPTION", "install.R", "environment.yml", "environment.yaml", "Pipfile", "Pipfile.lock",
    "setup.py", "pyproject.toml", "requirements.txt", "requirements3.txt", "apt.txt", "postBuild", "start",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """The library's choice; `error` is its own words when it refuses the repository, "" otherwise.

    `pip` is what its Python buildpack installs in the kernel's environment: requirements files, "." for the repository.
    """

    buildpack: str
    python: str
    apt: tuple[str, ...]
    pip: tuple[str, ...]
    post_build: str
    start: str
    warnings: tuple[str, ...]
    error: str


async def ask(tree: Tree) -> Verdict:
    """The library's choice for one tree; raises `InvalidDependencyFile` when the library refuses it."""
    verdict = (await ask_all([tree]))[0]
    if verdict.error:
        hint = "See docs/dependency-files.md for what these files may say."
        raise InvalidDependencyFile(f"repo2docker cannot use the repository: {verdict.error}", hint=hint)
    return verdict


async def ask_all(trees: Sequence[Tree]) -> list[Verdict]:
    """The library's choices for several trees, from one child process.

    Raises `InternalError` when the child fails or takes longer than `TIMEOUT_SECONDS`.
    """
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bindery-detect-")))
        folders = [home / str(number) for number in range(len(trees))]
        await asyncio.to_thread(_write_all, trees, folders)
        # Isolated: no module may come from the environment or from the repository's own files.
        argv = [sys.executable, "-I", "-m", "builder.buildpacks.repo2docker_child", *map(str, folders)]
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}
        try:
            ended = await run(argv, env=env, cwd=home, timeout_seconds=TIMEOUT_SECONDS)
        except ProcessTimeout as error:
            raise InternalError(f"repo2docker gave no answer: {error}") from None
    if ended.returncode != 0:
        raise InternalError(f"repo2docker gave no answer: {ended.stderr.decode(errors='replace')[-500:]}")
    return [_verdict(answer) for answer in json.loads(ended.stdout)]


def _verdict(answer: dict[str, Any]) -> Verdict:
    return Verdict(
        buildpack=str(answer["buildpack"]),
        python=str(answer["python"] or ""),
        apt=tuple(answer.get("apt", ())),
        pip=tuple(answer.get("pip", ())),
        post_build=str(answer.get("post_build", "")),
        start=str(answer.get("start", "")),
        warnings=tuple(answer["warnings"]),
        error=str(answer["error"]),
    )


def _write_all(trees: Sequence[Tree], folders: Sequence[Path]) -> None:
    for tree, folder in zip(trees, folders, strict=True):
        write_configuration(tree, folder)


def write_configuration(tree: Tree, folder: Path) -> None:
    """Write the files that make a difference to the library into a new folder."""
    folder.mkdir()
    for prefix in ("", *CONFIG_FOLDERS):
        if tree.is_folder(prefix):
            (folder / prefix).mkdir(exist_ok=True)
            _write(tree, folder, prefix)


def _write(tree: Tree, folder: Path, prefix: str) -> None:
    for name in NAMES:
        path = f"{prefix}/{name}" if prefix else name
        if tree.is_file(path):
            (folder / path).write_bytes(tree.read(path, MAX_LOCK_BYTES))
