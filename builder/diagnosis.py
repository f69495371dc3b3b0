"""Why a build failed, for its author: a plain title, the lines that matter, and what to do.

A pure function of the build's error and its log. The log is hostile text: it is only searched, by patterns that take
time in proportion to a line's length, and shown as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bindery.terminal import plain
from db.events import Failure

#: Lines of the log's end that are looked at, and the characters of each.
LOOKED_AT = 3000
LINE_LENGTH = 400
#: Lines that are shown.
SHOWN = 12


@dataclass(frozen=True)
class Line:
    """A line of the log; `number` counts from 1."""

    number: int
    text: str


@dataclass(frozen=True)
class Diagnosis:
    """What an author should read first."""

    title: str
    cures: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class _Sign:
    """What a line of the log tells. Groups of the pattern fill in the sentences."""

    pattern: re.Pattern[str]
    title: str
    cures: tuple[str, ...]
    codes: tuple[str, ...] = ()


def _sign(pattern: str, title: str, *cures: str, codes: tuple[str, ...] = ()) -> _Sign:
    return _Sign(re.compile(pattern, re.IGNORECASE), title, cures, codes)


_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}"
_INSTALLING = ("install_failed", "unsatisfiable_requirements", "invalid_dependency_file")

#: In the order in which they count: what explains a failure best comes first.
_SIGNS: tuple[_Sign, ...] = (
    _sign(
        r"no space left on device|disk quota exceeded|os error 28\b",
        "The server's disk is full",
        "This is not the repository's fault: the operator has to free space. Try again later.",
    ),
    _sign(
        r"out of memory|\boom.?kill|memoryerror|std::bad_alloc|cannot allocate memory|"
        r"exit(?:ed with)? (?:code|status):? 137|signal: 9|sigkill|^killed$",
        "The build ran out of memory",
        "Ask for fewer or smaller packages, or for ones that have a wheel: building from source needs the most memory.",
        "In postBuild, download data in pieces, or let the notebook load it.",
    ),
    _sign(
        rf"\b(?P<name>{_NAME}) was not found in the (?:package registry|cache|provided package locations)|"
        rf"no matching distribution found for (?P<pip>{_NAME})|packagesnotfounderror|"
        rf"nothing provides (?:requested )?(?P<conda>{_NAME})|unable to locate package (?P<apt>{_NAME})|"
        rf"package [\u2018'`](?P<r>{_NAME})['\u2019`] is not available",
        "A package cannot be found: {name}",
        "Check how it is spelt; the name to install may differ from the name to import.",
        "If it is in another channel or index, name that in the dependency file.",
        "A whole machine's freeze often names packages that nobody else has: list only what the notebooks need.",
        codes=(*_INSTALLING, "engine_cannot_serve"),
    ),
    _sign(
        rf"there (?:is|are) no versions? of (?P<name>{_NAME})|could not find a version that satisfies the requirement "
        rf"(?P<pip>{_NAME})",
        "There is no such version of {name}",
        "Ask for a version that exists, or loosen the pin.",
        codes=_INSTALLING,
    ),
    _sign(
        r"requires.python|does not satisfy python|depends on python[<>=!~]|current python version|a different python",
        "A package needs another Python",
        "Name a Python version that all packages support, in runtime.txt (python-3.11) or environment.yml.",
        "Or loosen the package's pin, so that a release for this Python is found.",
        codes=_INSTALLING,
    ),
    _sign(
        r"are incompatible|conflict|because .* depends on|unsatisfiable|requirements are unsatisfiable",
        "The packages' versions contradict each other",
        "Loosen the pins that the lines below name, or remove the one that is not needed.",
        "To find versions that fit, install the file into a fresh environment at home, then pin what you got.",
        codes=_INSTALLING,
    ),
    _sign(
        r"failed to build|failed building wheel|command .*gcc.* failed|fatal error: .*\.h|no such file .*: '?gcc|"
        r"build backend returned an error|legacy-install-failure|subprocess-exited-with-error",
        "A package could not be built from source",
        "Ask for a version that has a wheel for this Python; older pins often have none.",
        "If it needs a compiler or a system library, name that in apt.txt.",
        codes=_INSTALLING,
    ),
    _sign(
        r"dns error|could not resolve host|temporary failure in name resolution|connection (?:refused|reset)|"
        r"read timed out|operation timed out|failed to fetch",
        "A download did not get through",
        "Try again in a moment. If it stays so, check the address that the lines below name.",
        codes=("install_failed", "post_build_failed"),
    ),
    _sign(
        rf"modulenotfounderror: no module named '(?P<name>{_NAME})'|importerror: (?P<other>.{{1,80}})",
        "A Python module is missing: {name}",
        "Add the package that has it to the dependency file.",
    ),
    _sign(
        rf"(?P<name>{_NAME}): (?:command )?not found",
        "A command is missing: {name}",
        "Install what has it: in apt.txt for programs of the system, in the dependency file for Python's.",
        codes=("post_build_failed",),
    ),
    _sign(
        r"permission denied",
        "A file or folder may not be used",
        "Builds run without rights of an administrator: write below the home folder only, and leave sudo out.",
        codes=("post_build_failed",),
    ),
)

#: What is said where no line tells more.
_BY_CODE: dict[str, tuple[str, tuple[str, ...]]] = {
    "unsatisfiable_requirements": ("The requirements cannot be satisfied", ()),
    "install_failed": ("Installing the packages failed", ()),
    "invalid_dependency_file": ("A dependency file cannot be read", ()),
    "conflicting_files": ("The repository's files contradict each other", ()),
    "python_unavailable": ("This Python version is not to be had here", ()),
    "engine_cannot_serve": ("This service cannot build what the repository asks for", ()),
    "post_build_failed": ("The repository's postBuild ended with an error", ()),
    "build_timed_out": (
        "The build took too long",
        ("Ask for fewer packages, or for ones that have wheels.", "Move downloads from postBuild to the notebook."),
    ),
    "build_cancelled": ("The build was cancelled", ()),
    "build_interrupted": ("The service was restarted too often during this build", ()),
    "disk_full": ("The server's disk is full", ()),
    "repository_too_large": ("The repository is too large for this service", ()),
    "repository_not_found": ("There is no such repository", ()),
    "authentication_required": ("The repository is private, or does not exist", ()),
    "ref_not_found": ("There is no such branch, tag or commit", ()),
    "host_unreachable": ("The repository's host does not answer", ()),
    "internal_error": ("Something went wrong in Bindery itself", ()),
}

#: Errors before which a program of the repository's, or an installer, has spoken.
_WORDED = ("install_failed", "post_build_failed", "build_timed_out")

_TROUBLE = re.compile(
    r"error|\u00d7|hint:|because|cannot|could not|failed|fatal|not found|no such|denied|killed|traceback|"
    r"exception|unsatisfiable|conflict|incompatible",
    re.IGNORECASE,
)


def diagnose(failure: Failure, log: Sequence[str], first: int = 1) -> Diagnosis:
    """Explain a failure by the log's lines, of which the first has the number `first`."""
    lines = [Line(first + index, _shown(text)) for index, text in enumerate(log)][-LOOKED_AT:]
    said = [Line(0, text) for text in f"{failure.message}\n{failure.hint}".splitlines()]
    title, cures = _BY_CODE.get(failure.code, ("The build failed", ()))
    if (told := _told(failure.code, [*said, *lines])) is not None:
        title, cures = told
    return Diagnosis(title, cures, tuple(_that_matter(lines, failure.code)))


def _told(code: str, lines: Sequence[Line]) -> tuple[str, tuple[str, ...]] | None:
    if code not in (*_INSTALLING, "post_build_failed", "engine_cannot_serve"):
        return None
    for sign in _SIGNS:
        if sign.codes and code not in sign.codes:
            continue
        # What came last is nearest to the end.
        for line in reversed(lines):
            if found := sign.pattern.search(line.text):
                named = next((text for text in found.groups() if text), "")
                title = sign.title.format(name=named) if named else sign.title.partition(": {name}")[0]
                return title.replace("{name}", "the package"), sign.cures
    return None


def _that_matter(lines: Sequence[Line], code: str) -> Iterator[Line]:
    """The lines about the trouble that ended it; where a program's own words end the log, at least those."""
    ending = lines[-80:]
    marked = [index for index, line in enumerate(ending) if _TROUBLE.search(line.text)]
    if not marked:
        if code in _WORDED:
            yield from [line for line in ending if line.text.strip()][-SHOWN:]
        return
    end = min(marked[-1] + 3, len(ending))
    start = max(end - SHOWN, marked[0])
    yield from [line for line in ending[start:end] if line.text.strip()]


def _shown(text: str) -> str:
    """A line as a terminal shows it at the end: what a carriage return overwrote is gone."""
    shown = text.rstrip("\r\n").rpartition("\r")[2][: 4 * LINE_LENGTH]
    return plain(shown)[:LINE_LENGTH]
