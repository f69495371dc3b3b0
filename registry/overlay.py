"""Overlay environments: a small virtual environment of one's own on top of others that stay as they are."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.untrusted import read_plain, read_plain_text

#: Read at every start of the overlay's interpreter: puts the lower environments behind the overlay's own packages.
_PTH = "_bindery.pth"
_PTH_LINE = "import site, sys; {folder!r} in sys.path or site.addsitedir({folder!r})\n"
_PIP = """#!/bin/sh
exec {python} -m pip "$@"
"""
#: How much of a command is looked at to find its interpreter, and the longest first line that all kernels read.
_HEAD_BYTES = 1024
_SHEBANG_BYTES = 127
#: Longest script of an environment that is kept in memory.
_REMEMBERED_BYTES = 4096
_LOGOS = ("logo-32x32.png", "logo-64x64.png", "logo-svg.svg")


@dataclass(frozen=True)
class Overlay:
    """An overlay at `path`; `lower` are the environments below it, the uppermost first."""

    path: Path
    lower: tuple[Path, ...]

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def search_path(self) -> list[Path]:
        """What belongs in front of PATH."""
        return [environment / "bin" for environment in (self.path, *self.lower)]

    def variables(self, path: str) -> dict[str, str]:
        """The variables of a program that works in the overlay; `path` is the PATH to put its own in front of."""
        return {
            "PATH": os.pathsep.join([*map(str, self.search_path), path]),
            "VIRTUAL_ENV": str(self.path),
            "NB_PYTHON_PREFIX": str(self.path),
            "KERNEL_PYTHON_PREFIX": str(self.path),
        }


def create_overlay(path: Path, lower: Sequence[Path], *, moved: Mapping[Path, Path] | None = None) -> Overlay:
    """Make an overlay of the environments `lower`, the uppermost first, in the folder `path`, which must not exist.

    - What is installed through it (pip, uv, `python -m pip`) lands in it and wins; the lower ones are never written to.
    - Packages, `.pth` files and editable installs of the lower ones work, and their commands run in the overlay.
    - Its kernel is the `python3` kernel for every Jupyter server that finds its `share/jupyter`.

    `moved` names folders that editable installs of the lower environments point to, and where they are to point now.
    """
    packages = [site_packages(environment) for environment in lower]
    own_packages = path / packages[0].relative_to(lower[0])
    (path / "bin").mkdir(parents=True)
    own_packages.mkdir(parents=True)
    (path / "pyvenv.cfg").write_text(_configuration(lower[0]))
    _link_interpreter(path, lower[0])
    _adopt_commands(path, lower)
    for name in ("pip", "pip3"):
        _write_program(path / "bin" / name, _PIP.format(python=shlex.quote(str(path / "bin" / "python"))).encode())
    lines = [f"{folder}\n" for folder in _moved_sources(packages, moved or {})]
    lines += [_PTH_LINE.format(folder=str(folder)) for folder in packages]
    (own_packages / _PTH).write_text("".join(lines), encoding="utf-8")
    _write_kernel(path, lower)
    return Overlay(path, tuple(lower))


def site_packages(environment: Path) -> Path:
    """The folder of an environment's packages."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for version in sorted((environment / "lib").iterdir()):
            folder = version / "site-packages"
            if version.name.startswith("python3.") and folder.is_dir():
                return folder
    raise FileNotFoundError(f"{environment} is not a virtual environment")


def _configuration(environment: Path) -> str:
    return read_plain_text(environment / "pyvenv.cfg")


def _link_interpreter(path: Path, environment: Path) -> None:
    """Link to the interpreter below all environments, under the names that the environment below has."""
    base = os.path.realpath(environment / "bin" / "python")
    for theirs in (environment / "bin").iterdir():
        if re.fullmatch(r"python[0-9.]*", theirs.name):
            (path / "bin" / theirs.name).symlink_to(base)


def _adopt_commands(path: Path, lower: Sequence[Path]) -> None:
    """Copy the lower environments' commands so that they run on the overlay's interpreter."""
    for environment in reversed(lower):
        for name, script in _scripts(environment / "bin"):
            text = _moved_command(script, environment / "bin" / "python", path / "bin" / "python")
            if text is not None:
                _write_program(path / "bin" / name, text)


def _scripts(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The names and texts of an environment's scripts."""
    state = folder.stat()
    for name, text in _known_scripts(folder, state.st_ino, state.st_mtime_ns):
        yield name, read_plain(folder / name) if text is None else text


@functools.lru_cache(maxsize=16)
def _known_scripts(folder: Path, _inode: int, _changed: int) -> tuple[tuple[str, bytes | None], ...]:
    """The scripts of a folder, as it was then, without the texts of long ones: each start of a session wants them."""
    with os.scandir(folder) as entries:
        names = [each.name for each in entries if each.is_file(follow_symlinks=False)]
    known: list[tuple[str, bytes | None]] = []
    for name in names:
        head = b"" if name.startswith(("activate", "deactivate")) else read_plain(folder / name, _REMEMBERED_BYTES + 1)
        if head.startswith(b"#!"):
            known.append((name, head if len(head) <= _REMEMBERED_BYTES else None))
    return tuple(known)


def _moved_command(text: bytes, theirs: Path, own: Path) -> bytes | None:
    """A command's text with another interpreter; None if it does not run on `theirs`."""
    first, newline, rest = text.partition(b"\n")
    if re.fullmatch(rb"#!" + re.escape(os.fsencode(theirs)) + rb"[0-9.]*\s*", first):
        return _first_line(own) + newline + rest
    head, tail = text[:_HEAD_BYTES], text[_HEAD_BYTES:]
    if first.startswith(b"#!") and os.fsencode(theirs) in head:
        return head.replace(os.fsencode(theirs), os.fsencode(own)) + tail
    return None


def _first_line(python: Path) -> bytes:
    """What makes a Python script a program. Kernels split long lines and those with spaces: a shell does not."""
    plain = b"#!" + os.fsencode(python)
    if len(plain) < _SHEBANG_BYTES and not re.search(rb"\s", plain):
        return plain
    return b"#!/bin/sh\n'''exec' " + os.fsencode(shlex.quote(str(python))) + b' "$0" "$@"\n' + b"' '''"


def _write_program(path: Path, text: bytes) -> None:
    """Write a program, in place of one that an environment further below has."""
    with path.open("wb", buffering=0) as file:
        os.fchmod(file.fileno(), 0o755)
        file.write(text)


def _moved_sources(packages: Sequence[Path], moved: Mapping[Path, Path]) -> list[Path]:
    """Where the folders that `.pth` files of the lower environments name are now, as far as they have moved."""
    if not moved:
        return []
    named = [Path(line) for folder in packages for file in sorted(folder.glob("*.pth")) for line in _plain_lines(file)]
    return [new / item.relative_to(old) for item in named for old, new in moved.items() if item.is_relative_to(old)]


def _plain_lines(file: Path) -> list[str]:
    try:
        lines = read_plain_text(file).splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "import ", "import\t"))]


def _write_kernel(path: Path, lower: Sequence[Path]) -> None:
    folder = path / "share" / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    kernel = {
        "argv": [str(path / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "metadata": {"debugger": True},
    }
    (folder / "kernel.json").write_text(json.dumps(kernel, indent=1), encoding="utf-8")
    for environment in lower:
        theirs = environment / "share" / "jupyter" / "kernels" / "python3"
        for logo in _LOGOS:
            if not (folder / logo).exists():
                with contextlib.suppress(OSError):
                    (folder / logo).write_bytes(read_plain(theirs / logo))
