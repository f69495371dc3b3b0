"""The directory store: only what was finished is found, nothing leads out of it, leftovers go."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from registry.directory import DirectoryStore, StoredEnvironment, StoredImage, remove_tree, size

MAKER = """
import asyncio, sys
from pathlib import Path
from registry.directory import DirectoryStore

async def main():
    store = DirectoryStore(Path(sys.argv[1]))
    path = store.environment_path("key")
    async with store.making(path):
        store.begin(path)
        (path / "half").write_text("x")
        print("making", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "data")


def _fill(path: Path) -> None:
    (path / "bin").mkdir(parents=True, exist_ok=True)
    (path / "bin" / "python").symlink_to(sys.executable)


def _environment(store: DirectoryStore, key: str = "key") -> StoredEnvironment:
    path = store.environment_path(key)
    store.begin(path)
    _fill(path)
    store.settle(path)
    made = StoredEnvironment(key, path, "3.11.7", "six==1.0\n", False, 10, 5.0)
    store.finish_environment(made)
    return made


def _server(store: DirectoryStore) -> Path:
    path = store.server_path("server")
    _fill(path)
    store.finish_server("server", {})
    return path


def _image(store: DirectoryStore, reference: str = "gh-a-b:commit") -> StoredImage:
    environment, path = _environment(store), store.image_path(reference)
    (path / "content").mkdir(parents=True)
    server = store.server("server") or _server(store)
    image = StoredImage(
        reference, path / "content", environment.path, None, server, "start", "key", {"label": "x"}, 7, 3.0
    )
    store.finish_image(image)
    return image


def test_what_was_finished_is_found_as_it_was(store: DirectoryStore) -> None:
    image = _image(store)
    assert store.find("gh-a-b:commit") == image
    assert store.list_images() == [image]
    assert store.environment("key") == store.list_environments()[0]
    assert not image.joined


def test_names_with_slashes_do_not_collide(store: DirectoryStore) -> None:
    names = ["a/b:c", "a:b", "a-b:c"]
    images = [_image(store, name) for name in names]
    assert [store.find(name) for name in names] == images
    assert sorted(image.reference for image in store.list_images()) == sorted(names)


@pytest.mark.parametrize(
    "reference", ["", "a", "a:", ":b", "../a:b", "a:..", "a/../b:c", "/a:b", "a:b/c", "a\0:b", ".a:b", "a:" + "b" * 200]
)
def test_references_never_lead_out(store: DirectoryStore, reference: str) -> None:
    with pytest.raises(ValueError, match="not"):
        store.find(reference)


@pytest.mark.parametrize("key", ["", "..", "a/b", "a+b", ".hidden", "a\n"])
def test_keys_never_lead_out(store: DirectoryStore, key: str) -> None:
    with pytest.raises(ValueError, match="not fit"):
        store.environment(key)


def test_without_a_marker_nothing_is_found(store: DirectoryStore) -> None:
    image = _image(store)
    (image.content.parent / "image.json").unlink()
    (image.environment / "environment.json").write_text("{half")
    assert store.find(image.reference) is None
    assert store.environment("key") is None


def test_an_image_whose_environment_is_gone_is_not_found(store: DirectoryStore) -> None:
    image = _image(store)
    store.remove_environment("key")
    assert store.find(image.reference) is None
    assert not image.environment.exists()


def test_an_environment_whose_interpreter_is_gone_is_not_found(store: DirectoryStore) -> None:
    made = _environment(store)
    (made.path / "bin" / "python").unlink()
    assert store.environment("key") is None


def test_sweep_removes_leftovers_and_nothing_else(store: DirectoryStore) -> None:
    image = _image(store)
    for path in (store.environment_path("half"), store.image_path("x:y"), store.server_path("half")):
        _fill(path)
    store.begin(store.environment_path("draft"))
    kept = store.environment_path("kept")
    _fill(kept)
    removed = store.sweep(keep=[kept])
    assert {path.name for path in removed} == {"half", "y", "draft"}
    assert store.find(image.reference) == image
    assert kept.exists()
    assert not list((store.root / "cache" / "making").iterdir())


async def test_one_holder_at_a_time_and_the_other_is_told(store: DirectoryStore) -> None:
    path, told, order = store.environment_path("key"), asyncio.Event(), []

    async def on_wait() -> None:
        told.set()

    async def second() -> None:
        async with store.making(path, on_wait):
            order.append("second")

    async with store.making(path):
        waiting = asyncio.create_task(second())
        async with asyncio.timeout(10):
            await told.wait()
        store.begin(path)
        assert store.sweep() == []
        order.append("first")
    async with asyncio.timeout(10):
        await waiting
    assert order == ["first", "second"]


async def test_a_maker_that_is_killed_leaves_nothing_that_looks_finished(store: DirectoryStore) -> None:
    argv = [sys.executable, "-c", MAKER, str(store.root)]
    maker = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    assert maker.stdout is not None
    async with asyncio.timeout(30):
        assert await maker.stdout.readline() == b"making\n"
    path = store.environment_path("key")
    assert store.environment("key") is None
    assert store.sweep() == []
    os.kill(maker.pid, signal.SIGKILL)
    await maker.communicate()
    assert store.environment("key") is None
    assert store.sweep() == [path]
    assert not path.is_symlink()
    async with asyncio.timeout(10), store.making(path):
        _environment(store)
    assert store.environment("key") is not None


def test_write_protected_trees_are_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "file").write_text("x")
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (tree / "link").symlink_to(outside)
    (tree / "inner").chmod(0o500)
    tree.chmod(0o500)
    remove_tree(tree)
    assert not tree.exists()
    assert outside.stat().st_mode & 0o777 == 0o755
    remove_tree(tree)


def test_folders_that_let_nobody_in_are_removed(tmp_path: Path) -> None:
    """By a user without privileges; root is let in everywhere."""
    script = """
import os, sys
from pathlib import Path
from registry.directory import remove_tree
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
tree = Path(sys.argv[1]) / "tree"
(tree / "a" / "b").mkdir(parents=True)
(tree / "a" / "b" / "file").write_text("x")
(tree / "a" / "b").chmod(0)
(tree / "a").chmod(0)
(tree / "c").symlink_to("/")
remove_tree(tree)
print(tree.exists())
"""
    place = tmp_path / "open"
    place.mkdir()
    for folder in (place, *place.parents):
        if folder.owner() == Path.home().owner() and folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o755)
    place.chmod(0o777)
    root = Path(__file__).parents[2]
    argv = (sys.executable, "-c", script, place)
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=root)
    assert done.stdout == "False\n", done.stderr


def test_only_drafts_are_swept_whatever_their_names(store: DirectoryStore) -> None:
    """Whoever makes a draft can put other things beside it."""
    environment, beside = _environment(store), store.root.parent / "beside"
    beside.mkdir()
    making = store.root / "cache" / "making"
    for name in ("..+beside", "..+..", "images", "environments+key"):
        (making / name / "inner").mkdir(parents=True)
    (making / "file").write_text("x")
    (making / "link").symlink_to(beside)
    (store.root / "images").mkdir()
    store.sweep()
    assert beside.is_dir()
    assert (store.root / "images").is_dir()
    assert store.environment("key") == environment
    assert list(making.iterdir()) == []


def test_a_draft_that_was_exchanged_is_refused(store: DirectoryStore, tmp_path: Path) -> None:
    path = store.environment_path("key")
    elsewhere = tmp_path / "elsewhere"
    _fill(elsewhere)
    store.begin(path)
    store.draft_path(path).rmdir()
    store.draft_path(path).symlink_to(elsewhere)
    (elsewhere / "environment.json").write_text('{"surprise": 1}')
    assert store.environment("key") is None
    with pytest.raises(NotADirectoryError):
        store.settle(path)
    store.discard(path)
    assert elsewhere.is_dir()
    making = store.draft_path(path).parent
    making.rmdir()
    making.symlink_to(elsewhere)
    store.begin(path)
    assert not making.is_symlink()


def test_markers_are_not_written_through_links(store: DirectoryStore, tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.write_text("gold")
    path = store.server_path("server")
    _fill(path)
    for name in ("server.json", ".server.json.draft"):
        (path / name).symlink_to(treasure)
    store.finish_server("server", {})
    assert treasure.read_text() == "gold"
    assert store.server("server") == path


def test_size_counts_hard_links_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to("nowhere")
    assert size(tmp_path) == 100 + len("nowhere")
