"""Diagnoses of builds that failed, from their rows, and a report to the repository's authors."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlencode

from yarl import URL

from builder.diagnosis import LOOKED_AT, Diagnosis, diagnose
from builder.once import Once
from db.builds import Build, BuildStore
from db.events import Failure

#: Diagnoses remembered at most.
MOST = 200
#: Longest address of a report, in characters: hosts refuse longer ones.
LONGEST_REPORT = 6000

#: Where a host takes reports, below the repository's address, and what it calls a report's title and text.
_GITHUB = ("issues/new", "title", "body")
_BY_PROVIDER = {
    "gh": _GITHUB,
    "codeberg": _GITHUB,
    "gl": ("-/issues/new", "issue[title]", "issue[description]"),
    "bitbucket": ("issues/new", "title", "content"),
    "hf": ("discussions/new", "title", "description"),
}
_BY_HOST = {
    "github.com": "gh",
    "gitlab.com": "gl",
    "codeberg.org": "codeberg",
    "bitbucket.org": "bitbucket",
    "huggingface.co": "hf",
}


@dataclass
class Diagnoses:
    """Explains failed builds; each is read once, however many look on."""

    builds: BuildStore
    _known: dict[str, Diagnosis] = field(default_factory=dict)
    _once: Once[Diagnosis] = field(default_factory=Once)

    async def of(self, build: Build, failure: Failure) -> Diagnosis:
        """Why the build failed."""
        if build.id in self._known:
            return self._known[build.id]
        return await self._once(build.id, lambda: self._read(build, failure))

    async def _read(self, build: Build, failure: Failure) -> Diagnosis:
        last: deque[str] = deque(maxlen=LOOKED_AT)
        count = 0
        async for line in self._lines(build):
            last.append(line)
            count += 1
        found = diagnose(failure, list(last), count - len(last) + 1)
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[build.id] = found
        return found

    async def _lines(self, build: Build) -> AsyncIterator[str]:
        """The log's lines, as its text has them."""
        after, rest = 0, ""
        while rows := await self.builds.events(build.id, after):
            after = rows[-1].seq
            *lines, rest = (rest + "".join(json.loads(row.payload).get("message", "") for row in rows)).split("\n")
            for line in lines:
                yield line
        if rest:
            yield rest


def report_url(build: Build, failure: Failure, found: Diagnosis, link: str, log_page: str) -> str:
    """The address of a new report at the repository's host, filled in; empty where the host is not known to have one.

    `link` launches the commit again, `log_page` shows the build.
    """
    host = URL(build.repo_url).host or ""
    kind = build.provider if build.provider in _BY_PROVIDER else _BY_HOST.get(host, "")
    if kind not in _BY_PROVIDER or URL(build.repo_url).scheme not in ("http", "https"):
        return ""
    page, title, text = _BY_PROVIDER[kind]
    address = build.repo_url.rstrip("/").removesuffix(".git")
    lines = [line.text for line in found.lines]
    while True:
        body = _body(build, failure, found, link, log_page, lines)
        report = f"{address}/{page}?{urlencode({title: f'Launching fails: {found.title}', text: body})}"
        if len(report) <= LONGEST_REPORT or not lines:
            return report[:LONGEST_REPORT]
        lines = lines[1:]


def _body(build: Build, failure: Failure, found: Diagnosis, link: str, log_page: str, lines: list[str]) -> str:
    quoted = "\n".join(lines)
    fence = "`" * (max((len(run) for run in re.findall("`+", quoted)), default=0) + 3)
    parts = [
        f"[Launching this repository]({link}) as a running notebook fails at commit {build.ref}.",
        f"**{found.title}.** {failure.message.strip()[:1000]}",
        f"{fence}text\n{quoted}\n{fence}" if quoted else "",
        "\n".join(f"- {cure}" for cure in found.cures),
        f"[The whole log]({log_page})",
    ]
    return "\n\n".join(part for part in parts if part)
