"""What a cluster has of one kind, known at any moment without asking: one list, then one watch."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import structlog

from bindery.cluster import Cluster, Object, refusal
from bindery.errors import BinderyError, ClusterRefused

log = structlog.get_logger(__name__)

#: Objects in one page of a list.
PAGE = 500
#: How long, in seconds, one watch lasts, so that those of several replicas do not end together; and how much longer
#: nothing may come before its connection counts as dead.
WATCH_SECONDS = (60, 120)
SILENT_SECONDS = 15
#: Seconds between attempts while the API does not answer: the first wait, and the longest.
WAIT_SECONDS = (0.1, 5.0)

_GONE = 410

T = TypeVar("T")


@dataclass(frozen=True)
class Change:
    """What became of one object: it was made or changed, or (`gone`) removed. `listed` ends a whole list."""

    item: Object
    gone: bool = False
    listed: bool = False


class Watch:
    """Follows one kind of things for ever: all there are, then every change.

    - A connection that ends is opened again where it ended; when the API has forgotten that place, all are listed anew.
    - `broken` is true from the moment at which the API stopped to answer until it answers again.
    """

    def __init__(self, cluster: Cluster, path: str, query: Mapping[str, str], *, listing: bool = True) -> None:
        self._cluster = cluster
        self._path = path
        self._query = dict(query)
        self._listing = listing
        self._version = ""
        self.broken = True

    def restart(self) -> None:
        """Begin with a list again."""
        self.broken = True
        self._version = ""

    async def changes(self) -> AsyncGenerator[Change | None, None]:
        """What happens; None begins a list, after which comes all there is, and a change with `listed`."""
        wait = WAIT_SECONDS[0]
        while True:
            try:
                if not self._version:
                    yield None
                    async with aclosing(self._all()) as found:
                        async for change in found:
                            yield change
                async with aclosing(self._watched()) as happening:
                    async for change in happening:
                        wait = WAIT_SECONDS[0]
                        yield change
            except ClusterRefused as refused:
                if refused.answer == _GONE:
                    self._version = ""
                    continue
                await self._rest(refused, wait)
                wait = min(wait * 2, WAIT_SECONDS[1])
            except BinderyError as error:
                await self._rest(error, wait)
                wait = min(wait * 2, WAIT_SECONDS[1])

    def _answered(self) -> None:
        self.broken = False

    async def _rest(self, error: BinderyError, seconds: float) -> None:
        if not self.broken:
            log.warning("cluster.watch_broken", path=self._path, message=error.message)
        self.broken = True
        await asyncio.sleep(seconds * random.uniform(0.5, 1.0))  # noqa: S311

    async def _all(self) -> AsyncGenerator[Change, None]:
        query = {**self._query, "limit": str(PAGE if self._listing else 1)}
        while True:
            page = await self._cluster.ask("GET", self._path, query=query)
            for item in page["items"] if self._listing else ():
                yield Change(item)
            further = page["metadata"].get("continue")
            if not further or not self._listing:
                break
            query = {**query, "continue": further}
        self._version = page["metadata"]["resourceVersion"]
        self._answered()
        yield Change({}, listed=True)

    async def _watched(self) -> AsyncGenerator[Change, None]:
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311
        query = {
            **self._query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(seconds),
        }
        silent = seconds + SILENT_SECONDS
        lines = self._cluster.lines(self._path, query=query, silent_seconds=silent, on_open=self._answered)
        async with aclosing(lines):
            async for line in lines:
                event = json.loads(line)
                item = event["object"]
                if event["type"] == "ERROR":
                    raise refusal(int(item.get("code", 500)), json.dumps(item).encode())
                self._version = item["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    yield Change(item, gone=event["type"] == "DELETED")


class Informer(Generic[T]):
    """Things of one kind by name, as `read` sees them, kept up to date while the block runs.

    - Opening it waits for the first list, and raises what keeps it from that.
    - `fresh` tells whether the API answers: otherwise what is known may be old, and what is not known may be there.
    - What was just made is told with `note`, ahead of the watch.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: str,
        query: Mapping[str, str],
        read: Callable[[Object], T],
        on_change: Callable[[str, T | None], None] = lambda name, thing: None,
    ) -> None:
        self._cluster = cluster
        self._kind = kind
        self._query = query
        self._read = read
        self._on_change = on_change
        self._watch: Watch | None = None
        self._task: asyncio.Task[None] | None = None
        self._known: dict[str, T] = {}
        self._listed: set[str] | None = None
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._first = asyncio.Event()

    async def __aenter__(self) -> Self:
        path = self._cluster.path(self._kind)
        # What the service may not do should be told when it starts.
        await self._cluster.ask("GET", path, query={**self._query, "limit": "1"})
        self._watch = Watch(self._cluster, path, self._query)
        self._task = asyncio.create_task(self._follow_for_ever(self._watch), name=f"informer-{self._kind}")
        await self._first.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def known(self) -> Mapping[str, T]:
        """All things of this kind, by name."""
        return self._known

    @property
    def fresh(self) -> bool:
        """Whether a name that is not known is not there."""
        return self._watch is not None and not self._watch.broken and self._listed is None

    def note(self, item: Object) -> None:
        """Something was made by us; what the watch has said of it already is newer."""
        if item["metadata"]["name"] not in self._known:
            self._set(item)

    async def until(self, name: str, condition: Callable[[T | None], bool], seconds: float) -> bool:
        """Wait for a condition of one thing, None when it is not there; whether it came about in time."""
        changed = asyncio.Event()
        self._waiting[name].add(changed)
        try:
            async with asyncio.timeout(seconds):
                while not condition(self._known.get(name)):
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            return False
        finally:
            self._waiting[name].discard(changed)
            if not self._waiting[name]:
                del self._waiting[name]
        return True

    async def _follow_for_ever(self, watch: Watch) -> None:
        while True:
            try:
                await self._follow(watch)
            except Exception:
                log.exception("cluster.informer_failed", kind=self._kind)
            watch.restart()
            await asyncio.sleep(WAIT_SECONDS[1])

    async def _follow(self, watch: Watch) -> None:
        async with aclosing(watch.changes()) as changes:
            async for change in changes:
                if change is None:
                    self._listed = set()
                elif change.listed:
                    self._forget_the_rest()
                    self._first.set()
                elif change.gone:
                    self._drop(change.item["metadata"]["name"])
                else:
                    self._set(change.item)

    def _set(self, item: Object) -> None:
        name: str = item["metadata"]["name"]
        if self._listed is not None:
            self._listed.add(name)
        self._known[name] = self._read(item)
        self._tell(name)

    def _forget_the_rest(self) -> None:
        """A list has ended: what was neither in it nor made since it began is gone."""
        listed, self._listed = self._listed or set(), None
        for name in [name for name in self._known if name not in listed]:
            self._drop(name)

    def _drop(self, name: str) -> None:
        if self._known.pop(name, None) is not None:
            self._tell(name)

    def _tell(self, name: str) -> None:
        for changed in self._waiting.get(name, ()):
            changed.set()
        self._on_change(name, self._known.get(name))


@contextlib.asynccontextmanager
async def following(watch: Watch, tell: Callable[[Object], Any]) -> AsyncGenerator[None, None]:
    """Tell of every new object while the block runs, of none that is there already."""

    async def follow() -> None:
        async with aclosing(watch.changes()) as changes:
            async for change in changes:
                if change is not None and not change.listed and not change.gone:
                    tell(change.item)

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
