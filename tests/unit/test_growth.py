"""Which environment another one is built on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builder.engines.environment import versions
from builder.engines.layered.growth import MAX_DEPTH, Ground, Grounds, wanted_ground
from tests.support.trees import plan_of, tree_of

SMALL = Ground("small", "runtime", (), ("numpy",))
LARGE = Ground("large", "runtime", (), ("numpy", "pandas"))
WANTED = Ground("wanted", "runtime", (), ("numpy", "pandas", "scipy"))


@pytest.fixture
def grounds(tmp_path: Path) -> Grounds:
    return Grounds(tmp_path / "grounds")


def test_the_one_that_has_most_is_taken(grounds: Grounds) -> None:
    for ground in (SMALL, LARGE):
        grounds.add(ground)
    assert grounds.best(WANTED) == LARGE
    grounds.drop(LARGE)
    grounds.drop(LARGE)
    assert grounds.best(WANTED) == SMALL


@pytest.mark.parametrize(
    "unfit",
    [
        replace(LARGE, runtime="another"),
        replace(LARGE, apt=("tree",)),
        replace(LARGE, asked=("numpy", "xarray")),
        replace(LARGE, depth=MAX_DEPTH),
        replace(LARGE, key="wanted"),
    ],
)
def test_what_does_not_fit_is_not_taken(grounds: Grounds, unfit: Ground) -> None:
    grounds.add(unfit)
    assert grounds.best(WANTED) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": 1}', "\x00"])
def test_a_file_that_is_none_of_ours_is_passed_over(grounds: Grounds, content: str) -> None:
    grounds.add(SMALL)
    (grounds.folder / "x.json").write_text(content)
    assert grounds.best(WANTED) == SMALL


def test_comments_and_order_say_nothing() -> None:
    files = {"requirements.txt": "pandas\n\n# why\nnumpy\n", "apt.txt": "tree\n"}
    found = wanted_ground(plan_of(files), tree_of(files), "runtime")
    assert found.asked == ("numpy", "pandas", "tree")
    assert found.apt == ("tree",)


def test_versions_are_compared_as_indexes_do() -> None:
    assert versions("Foo_Bar==1.0\n--index-url x\n# c\n") == {("foo-bar", "1.0")}
    assert versions("a @ https://e.org/a.whl\n") == {("a", "https://e.org/a.whl")}
    assert not versions("a==1\n") <= versions("a==2\nb==1\n")
    assert versions("a==1\n") <= versions("b==1\nA==1\n")
