"""BuildKit's plain progress, turned into what a person wants to read."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

_OUTPUT = re.compile(r"#\d+ \d+\.\d+ ?(.*)", re.S)
_HEADING = re.compile(r"#\d+ \[(?:stage-\d+ )?(?: *\S+ )?(\d+)/(\d+)\] (.+)")
_CLIPPED = re.compile(r"#\d+ .*\[output clipped, (log limit \S+) reached\]")
_LAST_LINES = 400
_HEADING_LENGTH = 160


@dataclass
class Progress:
    """Reads the lines of one build. `headings`: tell each step of the Dockerfile too.

    `output` is the end of what programs in the build wrote, `words` what BuildKit itself said of its failure.
    """

    headings: bool = False
    output: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))
    words: deque[str] = field(default_factory=lambda: deque(maxlen=40))
    _failed: bool = False
    _told: str = ""

    def read(self, line: str) -> str | None:
        """The line for the visitor, with its line end; None when there is nothing to tell."""
        line = line.rstrip("\r\n")
        if line.startswith("------"):
            # A summary of the failed step follows: its lines were told already.
            self._failed = True
            return None
        found = _OUTPUT.fullmatch(line)
        if found and not self._failed:
            return self._tell(found[1])
        if not line.startswith("#"):
            self.words.extend(line.splitlines())
        elif " ERROR: " in line:
            self.words.append(line.partition(" ERROR: ")[2])
        elif heading := _HEADING.fullmatch(line) if self.headings else None:
            return self._heading(heading)
        elif clipped := _CLIPPED.fullmatch(line):
            return f"The log of this step is cut here ({clipped[1]}).\n"
        return None

    def _tell(self, text: str) -> str:
        shown = f"{text.rpartition(chr(13))[2] if chr(13) in text else text}\n"
        self.output.append(shown)
        return shown

    def _heading(self, found: re.Match[str]) -> str | None:
        told = f"Step {found[1]}/{found[2]}: {found[3][:_HEADING_LENGTH]}\n"
        if told == self._told:
            return None
        self._told = told
        return told
