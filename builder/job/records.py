"""What a build's Job says: one JSON object a line, numbered, the last one its verdict."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: Bytes that Kubernetes keeps of a container's last message.
LAST_WORDS_BYTES = 4000
_OUTPUT = 32_000


class Reason(StrEnum):
    """Why a build failed."""

    STEP = "step"
    MEMORY = "memory"
    DISK = "disk"
    REGISTRY = "registry"
    TIME = "time"
    TOOL = "tool"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Verdict:
    """How a build ended. Without a `reason` it is done, with `files` of the image; `output` and `words` say why not."""

    reason: Reason | None = None
    words: str = ""
    output: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One line of a Job: its number from 1 on, when it was said, and what: text, or the verdict."""

    number: int
    moment: float
    text: str = ""
    verdict: Verdict | None = None

    def encode(self) -> str:
        """The record as one line without its end."""
        fields: dict[str, Any] = {"n": self.number, "t": round(self.moment, 3)}
        if self.verdict is None:
            return json.dumps({**fields, "say": self.text})
        verdict = self.verdict
        files = {path: base64.b64encode(data).decode() for path, data in verdict.files.items()}
        told = {"reason": verdict.reason, "words": verdict.words, "output": verdict.output[-_OUTPUT:], "files": files}
        return json.dumps({**fields, "verdict": told})

    @classmethod
    def decode(cls, line: str | bytes) -> Record | None:
        """The record of a line; None for a line that something else wrote."""
        try:
            fields = json.loads(line)
            told = fields.get("verdict")
            verdict = None if told is None else _verdict(told)
            return cls(int(fields["n"]), float(fields["t"]), str(fields.get("say", "")), verdict)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


class Speaker:
    """Says records through `write`, one after the other."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.time) -> None:
        self._write = write
        self._clock = clock
        self._number = 0

    async def say(self, text: str) -> None:
        """Tell the visitor something."""
        self._put(text=text)

    def end(self, verdict: Verdict) -> str:
        """Say how it ended; returns what can be kept of that where there is little room."""
        self._put(verdict=verdict)
        for length in (1500, 300, 0):
            short = Verdict(verdict.reason, verdict.words[-length - 100 :], verdict.output[-length:] if length else "")
            text = Record(self._number, self._clock(), verdict=short).encode()
            if len(text.encode()) <= LAST_WORDS_BYTES:
                break
        return text

    def _put(self, text: str = "", verdict: Verdict | None = None) -> None:
        self._number += 1
        self._write(Record(self._number, self._clock(), text, verdict).encode() + "\n")


def _verdict(told: Mapping[str, Any]) -> Verdict:
    reason = Reason(told["reason"]) if told["reason"] else None
    files = {path: base64.b64decode(text) for path, text in told.get("files", {}).items()}
    return Verdict(reason, str(told["words"]), str(told["output"]), files)
