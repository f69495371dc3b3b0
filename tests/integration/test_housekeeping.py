"""Making room in a real directory store with real rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bindery.housekeeping import Housekeeping
from bindery.settings import RetentionSettings
from db.builds import BuildStore
from db.engine import Database
from db.images import ImageRecord, ImageStore
from db.sessions import SessionStore, SessionWanted
from db.wakeups import Wakeups
from registry.directory import DirectoryStore, StoredEnvironment, StoredImage
from registry.stock import DirectoryStock

MARKS = RetentionSettings(high_bytes=1, low_bytes=0)


def stored_image(store: DirectoryStore, reference: str, key: str) -> None:
    """A finished image on a finished environment, as far as a store can tell."""
    environment = store.environment_path(key)
    (environment / "bin").mkdir(parents=True, exist_ok=True)
    (environment / "bin" / "python").touch()
    store.finish_environment(StoredEnvironment(key, environment, "3.11", "", True, 100, 1.0))
    content = store.image_path(reference) / "content"
    content.mkdir(parents=True)
    (content / "file").write_text("x")
    image = StoredImage(reference, content, environment, None, environment, None, key, {}, 10, 1.0)
    store.finish_image(image)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "data")


@pytest.fixture
async def keeper(store: DirectoryStore, tmp_path: Path) -> AsyncIterator[Housekeeping]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/bindery.db")
    await database.open()
    wakeups = Wakeups()
    stores = ImageStore(database), SessionStore(database, wakeups), BuildStore(database, wakeups)
    yield Housekeeping(DirectoryStock(store), *stores, MARKS)
    await database.close()


async def test_what_nobody_runs_goes_with_its_record_and_what_runs_stays(
    keeper: Housekeeping, store: DirectoryStore
) -> None:
    for reference, key in (("old:1", "aaa"), ("running:1", "bbb")):
        stored_image(store, reference, key)
        await keeper.images.add(ImageRecord(reference, key, "https://example.org", "1", 1.0, 1.0))
    await keeper.sessions.create(SessionWanted("s", "running:1", None, "http://127.0.0.1/", {}), 1.0)
    plan = await keeper.plan()
    assert (plan.images, plan.environments) == (("old:1",), ("aaa",))
    await keeper.carry_out(plan)
    assert store.find("old:1") is None
    assert store.environment("aaa") is None
    assert store.find("running:1") is not None
    assert [record.reference for record in await keeper.images.all()] == ["running:1"]


async def test_an_image_that_is_launched_meanwhile_is_spared(keeper: Housekeeping, store: DirectoryStore) -> None:
    stored_image(store, "old:1", "aaa")
    plan = await keeper.plan()
    await keeper.sessions.create(SessionWanted("s", "old:1", None, "http://127.0.0.1/", {}), 1.0)
    removed = await keeper.carry_out(plan)
    assert (removed.images, removed.environments) == ((), ())
    assert store.find("old:1") is not None


async def test_the_last_use_decides(keeper: Housekeeping, store: DirectoryStore) -> None:
    for reference, used in (("a:1", 5.0), ("b:1", 3.0), ("c:1", 9.0)):
        stored_image(store, reference, "aaa")
        await keeper.images.add(ImageRecord(reference, "aaa", "https://example.org", "1", 1.0, used))
    assert (await keeper.plan()).images == ("b:1", "a:1", "c:1")
