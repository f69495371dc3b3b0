"""Text of strangers on a terminal: shown, never obeyed."""

from __future__ import annotations

import re
import unicodedata

from rich.markup import escape

#: Escape sequences: of the screen (CSI), of the window (OSC and the like, to their end), and short ones.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]"
)
#: Characters that turn the direction of what follows.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain(text: str) -> str:
    """The text without anything that moves the cursor, changes the window or reorders the line."""
    return "".join(letter for letter in _SEQUENCE.sub("", text) if _harmless(letter))


def marked(text: str) -> str:
    """The text for a line with markup of our own: brackets of its own stay brackets."""
    return escape(plain(text))


def _harmless(letter: str) -> bool:
    return letter in "\n\t" or (unicodedata.category(letter) != "Cc" and letter not in _TURNING)
