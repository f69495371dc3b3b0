"""Buildah's own lines told apart from those of the programs in a build."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

_HEADING = re.compile(r"(?:\[\d+/\d+\] )?STEP (\d+)/(\d+): (.+)")
_PULLING = re.compile(r"Trying to pull (\S+?)\.\.\.")
_CHATTER = re.compile(
    r"(?:\[\d+/\d+\] )?COMMIT( \S+)?|Getting image source signatures|Copying (?:blob|config) \S+.*|"
    r"Writing manifest to image destination|Storing signatures|--> .*|Successfully tagged \S+|[0-9a-f]{64}|"
    r"\[Warning\] one or more build args were not consumed: .*|"
    r"(?:subprocess )?exited with status \d+|"
    r'time="[^"]+" level=\w+ .*|Resolved "[^"]+" as an alias .*|Resolving "[^"]+" using .*'
)
_ERROR = re.compile(r"Error: .+|error building at STEP .+")
_EXIT = re.compile(r"exit status (\d+)")
_LAST_LINES = 400
_HEADING_LENGTH = 160


@dataclass
class BuildahProgress:
    """Reads the lines of one build. `headings`: tell each step of the Dockerfile too.

    `output` is the end of what programs in the build wrote, `words` what Buildah itself said of its failure.
    """

    headings: bool = False
    output: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))
    words: deque[str] = field(default_factory=lambda: deque(maxlen=40))

    def read(self, line: str) -> str | None:
        """The line for the visitor, with its line end; None when there is nothing to tell."""
        line = line.rstrip("\r\n")
        if heading := _HEADING.fullmatch(line):
            told = f"Step {heading[1]}/{heading[2]}: {heading[3][:_HEADING_LENGTH]}\n"
            return told if self.headings else None
        if _ERROR.fullmatch(line):
            self.words.append(_EXIT.sub(r"exit code: \1", line))
            return None
        if pulling := _PULLING.fullmatch(line):
            return f"Bringing {pulling[1]}\n"
        if _CHATTER.fullmatch(line):
            return None
        shown = f"{line.rpartition(chr(13))[2]}\n"
        self.output.append(shown)
        return shown
