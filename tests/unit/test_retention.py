"""What goes when space is short."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.retention import Holding, Inventory, removals


def test_nothing_goes_below_the_high_mark() -> None:
    inventory = Inventory([Holding("a:1", "e", 10, 1.0)], {"e": 100, "unused": 5})
    assert removals(inventory, (), high_bytes=115, low_bytes=0).images == ()


def test_the_oldest_unused_go_first_until_the_low_mark() -> None:
    images = [Holding(f"r:{n}", "e", 10, float(n)) for n in range(5)]
    removal = removals(Inventory(images, {"e": 100}), (), high_bytes=120, low_bytes=130)
    assert removal.images == ("r:0", "r:1")
    assert removal.environments == ()
    assert removal.freed_bytes == 20


def test_an_environment_goes_with_its_last_image() -> None:
    images = [Holding("old:1", "e", 10, 1.0), Holding("old:2", "e", 10, 2.0), Holding("new:1", "f", 10, 3.0)]
    removal = removals(Inventory(images, {"e": 100, "f": 100}), (), high_bytes=1, low_bytes=110)
    assert removal.images == ("old:1", "old:2")
    assert removal.environments == ("e",)


def test_what_runs_stays() -> None:
    images = [Holding("old:1", "e", 10, 1.0), Holding("new:1", "e", 10, 2.0)]
    removal = removals(Inventory(images, {"e": 100}), {"old:1"}, high_bytes=1, low_bytes=1)
    assert removal.images == ("new:1",)
    assert removal.environments == ()


def test_environments_that_a_build_is_about_to_use_stay() -> None:
    inventory = Inventory([Holding("a:1", "e", 10, 1.0)], {"e": 10, "fresh": 50})
    removal = removals(inventory, (), high_bytes=1, low_bytes=1, pinned={"fresh"})
    assert (removal.images, removal.environments) == (("a:1",), ("e",))


def test_environments_without_an_image_go_first() -> None:
    removal = removals(
        Inventory([Holding("a:1", "e", 10, 1.0)], {"e": 10, "gone": 50}), (), high_bytes=60, low_bytes=20
    )
    assert removal == type(removal)((), ("gone",), 50)


BASES = {"old": 100, "old-py": 20, "new": 100}


def test_a_base_goes_with_the_last_environment_on_it() -> None:
    images = [Holding("a:1", "e", 10, 1.0), Holding("b:1", "f", 10, 2.0)]
    below = {"e": "old-py", "old-py": "old", "f": "new"}
    inventory = Inventory(images, {"e": 5, "f": 5}, BASES, below, in_demand=["new"])
    removal = removals(inventory, (), high_bytes=1, low_bytes=120)
    assert (removal.images, removal.environments, removal.bases) == (("a:1",), ("e",), ("old", "old-py"))
    assert removal.freed_bytes == 135


def test_bases_that_nothing_needs_go_first_and_those_in_demand_never() -> None:
    inventory = Inventory([Holding("a:1", "e", 10, 1.0)], {"e": 5}, BASES, {"e": "new", "old-py": "old"}, ["new"])
    removal = removals(inventory, (), high_bytes=1, low_bytes=115)
    assert (removal.images, removal.bases, removal.freed_bytes) == ((), ("old", "old-py"), 120)
    assert "new" not in removals(inventory, (), high_bytes=1, low_bytes=0).bases


_HOLDINGS = st.lists(
    st.builds(Holding, st.uuids().map(str), st.sampled_from("abc"), st.integers(0, 50), st.floats(0, 9)), max_size=12
)


@given(_HOLDINGS, st.integers(0, 500), st.integers(0, 500), st.data())
def test_promises_hold_for_any_inventory(images: list[Holding], high: int, low: int, data: st.DataObject) -> None:
    inventory = Inventory(images, dict.fromkeys("abcd", 40))
    in_use = data.draw(st.sets(st.sampled_from([image.reference for image in images]))) if images else set()
    removal = removals(inventory, in_use, high_bytes=high, low_bytes=low)
    assert not set(removal.images) & in_use
    kept = {image.environment_key for image in images if image.reference not in removal.images}
    assert not kept & set(removal.environments)
    if removal.images:
        assert inventory.total_bytes > high
        youngest = max(image.used_at for image in images if image.reference in removal.images)
        stayed = [image for image in images if image.reference not in {*removal.images, *in_use}]
        assert all(image.used_at >= youngest for image in stayed)
