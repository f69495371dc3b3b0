"""What the form shows of the launches before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bindery.settings import StatusSettings
from db.engine import Database
from db.launches import LaunchStore, Popular
from tests.support.link_vectors import PROVIDERS
from web.showcase import Showcase, Shown


class Known(LaunchStore):
    """Counts how often it is read."""

    reads = 0

    async def recent(self, *given: Any) -> list[Popular]:
        self.reads += 1
        return [
            Popular("gh", "https://github.com/o/r", "v2/gh/o/r/HEAD", 1),
            Popular("gh", "https://github.com/o/x", "v2/gh/o/x/v%201", 1),
            Popular("gone", "https://gone.example", "v2/gone/o/r", 1),
        ]

    async def popular(self, *given: Any) -> list[Popular]:
        return [Popular("gh", "https://github.com/o/r", "v2/gh/o/r/HEAD", 7), Popular("gh", "u", "v2/gh/o/x/HEAD", 1)]


def _store(tmp_path: Path) -> Known:
    return Known(Database(f"sqlite+aiosqlite:///{tmp_path}/x.db"))


async def test_repositories_are_shown_by_their_names(tmp_path: Path) -> None:
    now = [100.0]
    store = _store(tmp_path)
    showcase = Showcase(store, StatusSettings(), PROVIDERS, lambda: now[0])
    lists = await showcase.lists()
    assert lists.recent == (
        Shown("o/r", "GitHub", "v2/gh/o/r/HEAD", 1),
        Shown("o/x @ v 1", "GitHub", "v2/gh/o/x/v%201", 1),
    )
    assert lists.popular == (Shown("o/r", "GitHub", "v2/gh/o/r/HEAD", 7),)
    await showcase.lists()
    assert store.reads == 1
    now[0] = 200.0
    await showcase.lists()
    assert store.reads == 2


async def test_an_operator_can_switch_the_lists_off(tmp_path: Path) -> None:
    store = _store(tmp_path)
    lists = await Showcase(store, StatusSettings(popular=False), PROVIDERS).lists()
    assert (lists.recent, lists.popular, store.reads) == ((), (), 0)
