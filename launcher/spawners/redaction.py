"""Taking tokens out of what a server wrote."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"(token=)[^&\s\"']+", re.IGNORECASE)


def redacted(text: str, token: str) -> str:
    """The text without this token, nor any that stands in a URL."""
    return _TOKEN.sub(r"\1[token]", text.replace(token, "[token]") if token else text)
