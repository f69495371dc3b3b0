"""Reading a repository's dependency files: decoding, parsing, and precise words when that fails."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from bindery.errors import InvalidDependencyFile
from builder.plan import PlanContext
from builder.tree import Tree

KIB = 1024
MAX_TEXT_BYTES = 1024 * KIB
MAX_LOCK_BYTES = 8 * 1024 * KIB
#: YAML is read slowly: this is a few seconds at worst.
MAX_YAML_BYTES = 256 * KIB
#: Longest requirement, path, address or version, in characters: patterns and numbers stay cheap.
MAX_WORD = 4000

_LOGIN = re.compile(r"(https?://)[^/\s@]*@", re.I)
_TOML_LINE = re.compile(r"at line (\d+)")


def shown(text: str, limit: int = 80) -> str:
    """Text of a repository, fit for a message: on one line, without control characters and logins, cut."""
    head = _LOGIN.sub(r"\1…@", text[: 4 * limit])[: limit + 1]
    clean = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in head)
    return clean if len(clean) <= limit else clean[:limit] + "…"


def invalid(path: str, problem: str, *, line: int = 0, text: str = "", hint: str = "") -> InvalidDependencyFile:
    """The error for a dependency file: names the file, the line where it is known, and the offending text."""
    where = f"{shown(path)}, line {line}" if line else shown(path)
    offending = f": {shown(text)}" if text else ""
    return InvalidDependencyFile(f"{where}: {problem}{offending}", hint=hint or f"Correct {shown(path)} and push.")


@dataclass
class Reading:
    """One planner's way through a tree: where configuration is, what was read, what there is to warn of.

    `files` are the paths read, in order; `contents` the digests of those whose content shapes the environment
    beyond what the plan itself repeats.
    """

    tree: Tree
    context: PlanContext
    folder: str
    files: list[str] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def find(self, name: str) -> str | None:
        """The path of a file of the configuration folder, if it is there."""
        path = f"{self.folder}/{name}" if self.folder else name
        return path if self.tree.is_file(path) else None

    def find_root(self, name: str) -> str | None:
        """The path of a file that counts only in the root, and only without a configuration folder."""
        return None if self.folder else self.find(name)

    def warn(self, sentence: str) -> None:
        """Tell the author something, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def use(self, path: str, *, shapes: bool = True, limit: int = MAX_LOCK_BYTES) -> bytes:
        """Read a file as one that the plan depends on; `shapes`: its content is part of the key."""
        size = self.tree.size(path)
        if size > limit:
            raise invalid(path, f"too large to be read ({size} bytes; at most {limit})")
        data = self.tree.read(path, limit)
        if path not in self.files:
            self.files.append(path)
        if shapes:
            self.contents[path] = hashlib.sha256(data).hexdigest()
        return data

    def text(self, path: str, *, shapes: bool = True, limit: int = MAX_TEXT_BYTES) -> str:
        """Read a text file, in UTF-8 or in UTF-16 with its mark."""
        return decoded(path, self.use(path, shapes=shapes, limit=limit))

    def toml(self, path: str, *, shapes: bool = True) -> dict[str, Any]:
        """Read a TOML file."""
        text = self.text(path, shapes=shapes, limit=MAX_LOCK_BYTES)
        try:
            return tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            found = _TOML_LINE.search(str(error))
            line = int(found[1]) if found else len(text.splitlines())
            raise invalid(path, f"not valid TOML ({_reason(error)})", line=line, text=_line(text, line)) from None

    def json(self, path: str, *, shapes: bool = True) -> dict[str, Any]:
        """Read a JSON file that holds an object."""
        text = self.text(path, shapes=shapes, limit=MAX_LOCK_BYTES)
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            offending = _line(text, error.lineno)
            raise invalid(path, f"not valid JSON ({error.msg})", line=error.lineno, text=offending) from None
        except (ValueError, RecursionError) as error:
            raise invalid(path, f"not valid JSON ({_reason(error)})") from None
        return table(path, found, "its content")

    def yaml(self, path: str, *, shapes: bool = True) -> dict[str, Any]:
        """Read a YAML file that holds a mapping, or nothing."""
        text = self.text(path, shapes=shapes, limit=MAX_YAML_BYTES)
        try:
            found = YAML(typ="safe", pure=True).load(text)
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            problem = shown(error.problem or "syntax error")
            raise invalid(path, f"not valid YAML ({problem})", line=line, text=_line(text, line)) from None
        except (YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise invalid(path, f"not valid YAML ({_reason(error)})") from None
        return {} if found is None else table(path, found, "its content")


def decoded(path: str, data: bytes) -> str:
    """The text of a file; raises `InvalidDependencyFile` when it is none."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = 0 if wide else data.count(b"\n", 0, error.start) + 1
        offending = "" if wide else ascii(data.splitlines()[line - 1] if data else b"")[2:-1]
        hint = f"Save {shown(path)} in UTF-8 (in most editors: Save with encoding)."
        raise invalid(path, "not text in UTF-8", line=line, text=offending, hint=hint) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        hint = f"Save {shown(path)} as plain text in UTF-8."
        raise invalid(path, "binary data, not text", line=line, text=_line(text, line), hint=hint)
    return text


def table(path: str, value: object, what: str) -> dict[str, Any]:
    """A mapping of a parsed file; raises `InvalidDependencyFile` when it is something else."""
    if not isinstance(value, Mapping):
        raise invalid(path, f"{what} must be a table of names and values, not {type(value).__name__}")
    return {str(key): item for key, item in value.items()}


def rows(path: str, value: object, what: str) -> list[Any]:
    """A list of a parsed file; raises `InvalidDependencyFile` when it is something else."""
    if not isinstance(value, list):
        raise invalid(path, f"{what} must be a list, not {type(value).__name__}")
    return value


def _reason(error: BaseException) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else shown(str(error), 120)


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""
