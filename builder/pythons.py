"""Which Python an environment gets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from bindery.errors import ConflictingFiles, PythonUnavailable
from builder.plan import PlanContext
from builder.reading import Reading, invalid, shown
from builder.runtime import Runtime

#: What is tried for requires-python when an engine cannot say what it has; the versions of repo2docker 2026.4.
KNOWN_PYTHONS = ("3.14", "3.13", "3.12", "3.11", "3.10", "3.9", "3.8")
#: No minor version ever had as many patch releases.
_PATCHES = range(40)
_MAX_RANGE = 500
_PYTHON_VERSION = re.compile(r"(?:c?python-?)?(\d+)(?:\.(\d+))?(?:\.\d+)?(?:(?:a|b|rc)\d+)?(?:[+-].*)?")


@dataclass(frozen=True)
class Choice:
    """A Python such as "3.12", and why it was chosen."""

    version: str
    reason: str


@dataclass(frozen=True)
class Bounds:
    """The Pythons that a project accepts, and the file that says so."""

    specifier: SpecifierSet
    path: str

    def accept(self, python: str) -> bool:
        """Whether some patch release of `python` is within the bounds."""
        return any(self.specifier.contains(f"{python}.{patch}") for patch in _PATCHES)


def default_choice(context: PlanContext) -> Choice:
    """The Python of a repository that asks for none."""
    return Choice(context.default_python, "default")


def minor(text: str, default: str) -> str | None:
    """Cut a version to its minor, "3.11.4" to "3.11"; "3" means the default. None when it is no version."""
    found = re.fullmatch(r"(\d{1,3})(?:\.(\d{1,3})(?:\.\d+)*)?\.?", text)
    if found is None:
        return None
    if found[2] is not None:
        return f"{int(found[1])}.{int(found[2])}"
    return {"2": "2.7", "3": default}.get(found[1])


def choose(reading: Reading, runtime: Runtime, bounds: Bounds | None) -> Choice:
    """The Python of a project: runtime.txt, else .python-version, else the project's bounds, else the default.

    Raises `InvalidDependencyFile`, `ConflictingFiles` when runtime.txt is outside of the bounds, `PythonUnavailable`.
    """
    asked = from_runtime(reading, runtime)
    if asked is not None:
        if bounds is not None and not bounds.accept(asked.version):
            _refuse(asked, bounds)
        return asked
    asked = _from_python_version(reading)
    if asked is not None and (bounds is None or bounds.accept(asked.version)):
        return asked
    if asked is not None and bounds is not None:
        reading.warn(
            f"{asked.reason} asks for Python {asked.version}, which {bounds.path} excludes; "
            f"it asks for Python {shown(str(bounds.specifier))}, and that is used."
        )
    return within(reading.context, bounds) if bounds is not None else default_choice(reading.context)


def _refuse(asked: Choice, bounds: Bounds) -> None:
    wanted = shown(str(bounds.specifier))
    raise ConflictingFiles(
        f"{asked.reason} asks for Python {asked.version}, but {bounds.path} for {wanted}.",
        hint=f"Change {asked.reason} to a version that {bounds.path} accepts, or remove it.",
    )


def within(context: PlanContext, bounds: Bounds) -> Choice:
    """The default Python if it is within the bounds, else the highest that is."""
    if bounds.accept(context.default_python):
        return Choice(context.default_python, f"default; {bounds.path} accepts it")
    known = context.available_pythons or KNOWN_PYTHONS
    for version in sorted(known, key=Version, reverse=True):
        if bounds.accept(version):
            return Choice(version, bounds.path)
    names = ", ".join(sorted({*known, context.default_python}, key=Version))
    raise PythonUnavailable(
        f"{bounds.path} asks for Python {shown(str(bounds.specifier))}; available here: {names}.",
        hint=f"Let requires-python in {bounds.path} accept one of them.",
    )


def bounds_of(text: object, path: str) -> Bounds | None:
    """The bounds that a requires-python states; raises `InvalidDependencyFile`."""
    if text is None:
        return None
    try:
        return Bounds(SpecifierSet(text if isinstance(text, str) and len(text) <= _MAX_RANGE else "?"), path)
    except InvalidSpecifier:
        hint = 'Write it as in requires-python = ">=3.10".'
        raise invalid(path, "not a range of Python versions", text=str(text), hint=hint) from None


def poetry_bounds(text: object, path: str) -> Bounds | None:
    """The bounds in Poetry's notation, with ^ and alternatives; None where they cannot be read."""
    if not isinstance(text, str) or "||" in text or len(text) > _MAX_RANGE:
        return None
    try:
        return Bounds(SpecifierSet(",".join(_plain(part) for part in re.split(r"[,\s]+(?=[\^~<>=!*\d])", text))), path)
    except (InvalidSpecifier, InvalidVersion):
        return None


def _plain(part: str) -> str:
    part = part.strip()
    if part == "*":
        return ""
    caret = part.startswith("^")
    if not caret and not re.match(r"~[^=]", part):
        return f"=={part}" if part[:1].isdigit() else part
    version = Version(part[1:])
    numbers = list(version.release)
    keep = next((at for at, number in enumerate(numbers) if number), 0) if caret else min(1, len(numbers) - 1)
    upper = [*numbers[:keep], numbers[keep] + 1]
    return f">={version},<{'.'.join(map(str, upper))}"


def from_runtime(reading: Reading, runtime: Runtime) -> Choice | None:
    """What runtime.txt asks for, where it names a Python."""
    if runtime.name != "python" or not runtime.version:
        return None
    version = minor(runtime.version, reading.context.default_python)
    if version is None:
        hint = "Write one line such as python-3.12."
        raise invalid(runtime.path, "not a Python version", line=1, text=runtime.version, hint=hint)
    return Choice(version, runtime.path)


def _from_python_version(reading: Reading) -> Choice | None:
    path = reading.find(".python-version")
    if path is None:
        return None
    lines = (line.partition("#")[0].strip() for line in reading.text(path, shapes=False).splitlines())
    word = next((line for line in lines if line), "")
    found = _PYTHON_VERSION.fullmatch(word)
    version = minor(".".join(filter(None, found.groups())), reading.context.default_python) if found else None
    if version is None:
        reading.warn(f"{path} names no Python version that can be read ({shown(word)}), so it is ignored.")
        return None
    return Choice(version, path)
