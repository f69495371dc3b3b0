"""Documents: a repository's readme or a notebook, rendered for whoever waits for a launch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import Database
from db.tables import documents
from db.upsert import upsert
from db.wakeups import Wakeups

#: How long, in seconds, a document is kept.
KEEP_SECONDS = 7 * 86400.0
#: Most documents of one commit, so that a link's path cannot ask for ever more, and of all: the oldest go.
MOST = 20
MOST_OF_ALL = 2000
#: Longest path that is asked for, in characters.
LONGEST_PATH = 500


@dataclass(frozen=True)
class Document:
    """One rendered document; `html` is safe to show, and empty until there is one."""

    key: str
    path: str
    html: str


class DocumentStore:
    """What visitors wish to read, and what was made of it.

    - A wish is for one commit's file and is kept once, however many have it; a commit has at most `MOST`.
    - The key of a document is a hash: whoever knows it knew the repository, the commit and the path.
    """

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups

    async def wish(self, repo_url: str, ref: str, path: str, now: float) -> None:
        """Ask for a file of a commit to be rendered when its build has fetched it."""
        if not path or len(path) > LONGEST_PATH:
            return
        row = {"key": key(repo_url, ref, path), "owner": _owner(repo_url, ref), "path": path, "created_at": now}
        async with self._database.write() as connection:
            await _forget(connection, now)
            of_commit = select(func.count()).select_from(documents).where(documents.c.owner == row["owner"])
            if int(await connection.scalar(of_commit) or 0) < MOST:
                await connection.execute(upsert(connection, documents).values(**row).on_conflict_do_nothing())
        self._wakeups.notify(topic(repo_url, ref))

    async def wishes(self, repo_url: str, ref: str) -> list[str]:
        """The paths that were asked for and are not rendered yet."""
        query = select(documents.c.path).where(documents.c.owner == _owner(repo_url, ref), documents.c.html.is_(None))
        async with self._database.read() as connection:
            return [path for (path,) in await connection.execute(query.order_by(documents.c.created_at))]

    async def put(self, repo_url: str, ref: str, path: str, html: str) -> str:
        """Keep what was rendered of a wish, an empty text if it cannot be shown; returns its key."""
        made = key(repo_url, ref, path)
        async with self._database.write() as connection:
            await connection.execute(update(documents).where(documents.c.key == made).values(html=html))
        return made

    async def get(self, document: str) -> Document | None:
        """The document of this key, once it is rendered."""
        query = select(documents.c.key, documents.c.path, documents.c.html)
        query = query.where(documents.c.key == document, documents.c.html != "")
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else Document(*row)

    async def rendered(self, repo_url: str, ref: str) -> dict[str, str]:
        """The keys of a commit's documents that can be shown, by their paths."""
        query = select(documents.c.path, documents.c.key)
        query = query.where(documents.c.owner == _owner(repo_url, ref), documents.c.html != "")
        async with self._database.read() as connection:
            return {row.path: row.key for row in await connection.execute(query)}


async def _forget(connection: AsyncConnection, now: float) -> None:
    kept = select(documents.c.key).order_by(documents.c.created_at.desc())
    too_many = documents.c.key.in_(kept.offset(MOST_OF_ALL - 1))
    await connection.execute(delete(documents).where((documents.c.created_at < now - KEEP_SECONDS) | too_many))


def key(repo_url: str, ref: str, path: str) -> str:
    """The name of a document."""
    return _hash(repo_url, ref, path)


def topic(repo_url: str, ref: str) -> str:
    """The wake-up topic of wishes for a commit."""
    return f"documents:{_owner(repo_url, ref)}"


def _owner(repo_url: str, ref: str) -> str:
    return _hash(repo_url, ref)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]
