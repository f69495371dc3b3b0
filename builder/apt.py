"""apt.txt: the system packages that a repository asks for."""

from __future__ import annotations

import re

from builder.reading import Reading, invalid

#: A Debian package's name, then perhaps its architecture and version. Whole words only: they reach a shell line.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9][a-z0-9-]*)?(=[A-Za-z0-9][A-Za-z0-9.+:~-]*)?", re.ASCII)
_HINT = "Write one package name a line, such as libgl1 or graphviz=2.42.2-7; names are in lower case."


def read_apt(reading: Reading) -> tuple[str, ...]:
    """The packages of apt.txt, sorted; nothing when there is none."""
    path = reading.find("apt.txt")
    return () if path is None else parse_apt(reading.text(path, shapes=False), path)


def parse_apt(text: str, path: str) -> tuple[str, ...]:
    """Parse apt.txt; raises `InvalidDependencyFile`."""
    found: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        for word in line.partition("#")[0].split():
            name = word.partition("=")[0].partition(":")[0]
            # apt takes a minus at the end as the wish to remove a package.
            if not _PACKAGE.fullmatch(word) or name.endswith("-"):
                raise invalid(path, "not a package name", line=number, text=word, hint=_HINT)
            found.add(word)
    return tuple(sorted(found))
