"""requirements.txt: what pip understands, brought into the form that uv understands.

Paths are relative to the repository's root, where pip would run; `-r` and `-c` are relative to the file they stand in.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from packaging.requirements import InvalidRequirement, Requirement

from bindery.errors import InvalidDependencyFile
from builder.localpath import check_local
from builder.reading import MAX_WORD, Reading, invalid, shown

MAX_FILES = 50
MAX_LINES = 20_000
#: Room for the hashes of one package with very many wheels.
MAX_LINE_LENGTH = 100_000

_COMMENT = re.compile(r"(^|\s)#")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9.-]*\+)?(https?|ssh|git|ftp|file|svn|bzr|hg|lp|static-http|sftp):", re.I)
_LOCAL_NAME = re.compile(r"\.(whl|zip|tar\.gz|tgz|tar\.bz2|tar\.xz)(\[[^\]]*\])?$", re.I)
_ENVIRONMENT = re.compile(r"\$\{[A-Z0-9_]+\}")
_PER_LINE_OPTION = re.compile(r" (?=--?[A-Za-z])")

_SHORT = {"-r": "--requirement", "-c": "--constraint", "-e": "--editable", "-i": "--index-url", "-f": "--find-links"}
#: Options with a value that uv reads as pip does.
_PLACES = frozenset({"--index-url", "--extra-index-url", "--find-links", "--no-binary", "--only-binary"})
#: Flags that uv accepts in a file.
_FLAGS = frozenset({"--no-index", "--pre", "--require-hashes", "--prefer-binary"})
#: What pip accepts and uv does not, and what makes no difference to it.
_IDLE_FLAGS = frozenset({"--use-pep517", "--no-use-pep517", "--always-unzip", "-Z"})
_IDLE_VALUES = frozenset({"--trusted-host", "--use-feature", "--pypi-url"})
_BUILD_OPTIONS = ("--global-option", "--install-option", "--config-setting", "-C", "--build-option")

_HINTS = (
    (re.compile(r"^(pip3?|conda|python3?|%pip|!pip)\s"), "Write only the names of packages, one a line."),
    (re.compile(r"^(<{7}|={7}|>{7})"), "These are the marks of an unfinished merge: finish it."),
    (re.compile(r"^[\w.-]+=[\w.*]+(=[\w.]+)?$"), "pip writes versions with two equal signs: name==1.2.3."),
    (re.compile(r"^(import|from)\s"), "This is Python code; write the names of packages, one a line."),
    (re.compile(r"^<"), "This is not a list of packages but a web page."),
    (re.compile(r"^Package\s+Version|^-{4,}"), "Write the file with: pip list --format=freeze > requirements.txt"),
    (re.compile(r"^[\w.-]+\s+[\d.]+$"), "Write the version with two equal signs: name==1.2.3."),
)


@dataclass
class Requirements:
    """What a requirements file and its includes come to.

    `lines` have the includes in place and are in uv's form; `constraints` are the files named by `-c`. `rewritten`: the
    files themselves are not in uv's form. `unpinned` are names without an exact version, of `named` in all.
    """

    lines: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    local: bool = False
    rewritten: bool = False
    named: int = 0
    unpinned: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Line:
    """One logical line, and where it begins."""

    path: str
    number: int
    text: str

    def invalid(self, problem: str, hint: str = "") -> InvalidDependencyFile:
        """The error for this line."""
        return invalid(self.path, problem, line=self.number, text=self.text, hint=hint)


def read_requirements(reading: Reading, path: str) -> Requirements:
    """Read a requirements file with all it includes; raises `InvalidDependencyFile`."""
    return _Parser(reading).file(path)


def parse_lines(reading: Reading, path: str, lines: Iterable[str]) -> Requirements:
    """Parse requirement lines that stand in another file, such as environment.yml."""
    parser = _Parser(reading)
    for text in lines:
        parser.line(Line(path, 0, text.strip()))
    return parser.found


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers: continued lines joined, comments removed."""
    start, parts = 0, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], 1):
        start = start or number
        comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not comment:
            parts.append(line[:-1])
            continue
        joined = _COMMENT.split((" " if comment else "").join([*parts, line]), maxsplit=1)[0]
        joined = " ".join(joined.split())
        if joined:
            yield start, joined
        start, parts = 0, []


class _Parser:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.found = Requirements()
        self.seen: set[tuple[str, bool]] = set()
        self.count = 0

    def file(self, path: str, *, constraint: bool = False) -> Requirements:
        real = self.reading.tree.resolve(path) or path
        if (real, constraint) in self.seen:
            return self.found
        self.seen.add((real, constraint))
        if len(self.seen) > MAX_FILES:
            raise invalid(path, f"more than {MAX_FILES} files are included")
        for number, text in logical_lines(self.reading.text(path)):
            self.line(Line(path, number, text), constraint=constraint)
        return self.found

    def line(self, line: Line, *, constraint: bool = False) -> None:
        self.count += 1
        if self.count > MAX_LINES:
            raise line.invalid(f"more than {MAX_LINES} lines of requirements")
        if len(line.text) > MAX_LINE_LENGTH:
            raise line.invalid(f"longer than {MAX_LINE_LENGTH} characters")
        named, unpinned = self.found.named, len(self.found.unpinned)
        if line.text.startswith("-"):
            self.option(line, constraint=constraint)
        elif line.text:
            self.add(self.requirement(line, line.text), constraint=constraint)
        if constraint:
            self.found.named = named
            del self.found.unpinned[unpinned:]

    def add(self, text: str, *, constraint: bool) -> None:
        if not constraint:
            self.found.lines.append(text)

    def option(self, line: Line, *, constraint: bool) -> None:
        name, value = _split_option(line.text)
        if len(value) > MAX_WORD:
            raise line.invalid(f"longer than {MAX_WORD} characters")
        if name in ("--requirement", "--constraint"):
            self.include(line, value, constraint=constraint or name == "--constraint")
        elif name == "--editable":
            self.editable(line, value, constraint=constraint)
        elif name in _PLACES and value:
            self.place(line, name, value, constraint=constraint)
        elif name in _FLAGS and not value:
            self.add(name, constraint=constraint)
        elif (name in _IDLE_VALUES and value) or (name in _IDLE_FLAGS and not value):
            self.found.rewritten = True
        else:
            raise line.invalid("an option that pip does not know in a requirements file")

    def include(self, line: Line, value: str, *, constraint: bool) -> None:
        if not value:
            raise line.invalid("the name of the file to include is missing")
        if re.match(r"https?://", value):
            self.reading.warn(f"{shown(value)} is read from the web at each build: changes there are not noticed.")
            self.add(f"{'--constraint' if constraint else '--requirement'} {value}", constraint=False)
            return
        path = self._included_path(line, value)
        # uv wants something between the option and its value, pip does not.
        if re.match(r"-[rc][^\s=]", line.text):
            self.found.rewritten = True
        if constraint and path not in self.found.constraints:
            self.found.constraints.append(path)
        self.file(path, constraint=constraint)

    def _included_path(self, line: Line, value: str) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(line.path), value))
        if value.startswith("/") or path.startswith(".."):
            raise line.invalid("includes a file outside of the repository", "Include files of the repository only.")
        if not self.reading.tree.is_file(path):
            hint = f"Add {shown(path)} to the repository, or remove the line."
            raise line.invalid("includes a file that the repository does not have", hint)
        return path

    def editable(self, line: Line, value: str, *, constraint: bool) -> None:
        if not value:
            raise line.invalid("what to install is missing")
        if _URL.match(value) and not value.startswith("file:"):
            self.found.rewritten = True
            self.add(self.requirement(line, value), constraint=constraint)
        else:
            self.local(line, value, buildable=True)
            self.add(f"-e {value}", constraint=constraint)

    def place(self, line: Line, name: str, value: str, *, constraint: bool) -> None:
        if name == "--find-links" and not re.match(r"https?:", value):
            self.local(line, value)
        # pip takes `-i URL name` on one line; what uv makes of it is not worth knowing.
        if len(value.split()) > 1:
            raise line.invalid("more than one word after an option", "Write each option on a line of its own.")
        self.add(f"{name} {value}", constraint=constraint)

    def requirement(self, line: Line, text: str) -> str:
        body, *options = _PER_LINE_OPTION.split(text)
        if len(body) > MAX_WORD:
            raise line.invalid(f"longer than {MAX_WORD} characters")
        kept = [option for option in options if not option.startswith(_BUILD_OPTIONS)]
        if any(not option.startswith("--hash") for option in kept):
            raise line.invalid("an option that pip does not know after a requirement")
        if len(kept) < len(options):
            self.found.rewritten = True
            self.reading.warn(f"{line.path}: build options after a requirement are not passed on.")
        self._check(line, body)
        return " ".join([body, *kept])

    def _check(self, line: Line, body: str) -> None:
        if _ENVIRONMENT.search(body) or _URL.match(body):
            self._check_url(line, body)
        elif _is_path(body):
            self.local(line, body, buildable=True)
        else:
            self._check_name(line, body)

    def _check_name(self, line: Line, body: str) -> None:
        try:
            found = Requirement(body)
        except (InvalidRequirement, RecursionError) as error:
            hint = next((cure for pattern, cure in _HINTS if pattern.match(body)), "")
            reason = shown(str(error).splitlines()[0], 120)
            raise line.invalid(f"not a requirement that pip understands ({reason})", hint) from None
        self.found.named += 1
        if found.url is not None:
            self._check_url(line, found.url)
        elif not any(part.operator in ("==", "===") and "*" not in part.version for part in found.specifier):
            self.found.unpinned.append(found.name)

    def _check_url(self, line: Line, url: str) -> None:
        if re.match(r"(\w+\+)?file:", url, re.I):
            self.local(line, re.sub(r"^(\w+\+)?file:(//(localhost)?(?=/))?", "", url, flags=re.I))
        elif not _URL.match(url) and not _ENVIRONMENT.search(url):
            self.local(line, url, buildable=True)

    def local(self, line: Line, value: str, *, buildable: bool = False) -> None:
        self.found.local = True
        problem = check_local(self.reading.tree, value, buildable=buildable)
        if problem is not None:
            raise line.invalid(problem.text, problem.hint)


def _split_option(text: str) -> tuple[str, str]:
    short = _SHORT.get(text[:2])
    if short is not None:
        value = text[2:].strip().removeprefix("=")
        return short, value.strip().strip("\"'")
    found = re.match(r"(--[a-z-]+|-Z)(?:\s*=\s*|\s+|$)(.*)", text)
    return (found[1], found[2].strip().strip("\"'")) if found else (text, "")


def _is_path(body: str) -> bool:
    name = body.split(";")[0].split(" @ ")[0].strip()
    return name.startswith((".", "/", "~")) or bool(_LOCAL_NAME.search(name)) or bool(re.match(r"[\w.-]+/", name))
