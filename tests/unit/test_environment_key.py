from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from builder.detect import plan
from builder.plan import Plan, PlanContext
from tests.support.trees import CONTEXT, Executable, plan_of, tree_of

Files = Mapping[str, str | bytes]

BASE = {"requirements.txt": "-r more.txt\n", "more.txt": "numpy==2.1\n", "apt.txt": "tree\n", "a.ipynb": "{}"}


def key(files: Files, context: PlanContext = CONTEXT) -> str:
    return plan(tree_of(files), context).environment_key


def test_form() -> None:
    assert len(key(BASE)) == 32
    assert set(key(BASE)) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "change",
    [
        {"a.ipynb": '{"cells": []}'},
        {"data/new.csv": "1"},
        {"postBuild": Executable("#!/bin/sh"), "start": "x"},
        {"apt.txt": "# why\ntree"},
        {"runtime.txt": "python-3.11"},
        {"pyproject.toml": "[tool.black]\nline-length = 100"},
        {"README.md": "x", "src/requirements.txt": "scipy"},
    ],
)
def test_same_for_commits_that_ask_for_the_same(change: Files) -> None:
    assert key({**BASE, **change}) == key(BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"requirements.txt": "-r more.txt\nscipy==1.14\n"},
        {"more.txt": "numpy==2.2\n"},
        {"apt.txt": "tree\nvim"},
        {"apt.txt": ""},
        {"runtime.txt": "python-3.12"},
        {"pyproject.toml": "[project]\nrequires-python = '>=3.12'"},
        {"setup.py": ""},
        {"environment.yml": ""},
    ],
)
def test_another_for_another_wish(change: Files) -> None:
    assert key({**BASE, **change}) != key(BASE)


@pytest.mark.parametrize(
    "context",
    [
        replace(CONTEXT, builder_version="2"),
        replace(CONTEXT, runtime="cpython-3.11-macos"),
        replace(CONTEXT, default_python="3.13"),
    ],
)
def test_another_for_another_engine(context: PlanContext) -> None:
    assert key(BASE, context) != key(BASE)


def test_what_can_be_had_makes_no_difference() -> None:
    assert key(BASE, replace(CONTEXT, available_pythons=("3.11", "3.12"))) == key(BASE)


@pytest.mark.parametrize(
    "files",
    [
        {"setup.py": ""},
        {"requirements.txt": "-e .", "setup.py": ""},
        {"Dockerfile": "FROM x"},
        {"runtime.txt": "r-2024-01-02", "install.R": "1"},
    ],
)
def test_the_whole_tree_counts_where_it_is_needed(files: Files) -> None:
    assert plan_of(files).needs_tree
    assert key({**files, "src/x.py": "1"}) != key({**files, "src/x.py": "2"})


@pytest.mark.parametrize(
    ("files", "name", "changed"),
    [
        ({"environment.yml": "dependencies: [numpy]"}, "environment.yml", "dependencies: [scipy]"),
        ({"runtime.txt": "r-2024-01-02"}, "runtime.txt", "r-2024-01-03"),
        ({"runtime.txt": "r-4.3-2024-01-02"}, "runtime.txt", "r-4.4-2024-01-02"),
        ({"Project.toml": "", "Manifest.toml": ""}, "Manifest.toml", "# other"),
        ({"Pipfile": "[packages]\na = '*'"}, "Pipfile", "[packages]\nb = '*'"),
        ({"pyproject.toml": "[project]\ndependencies=['a']"}, "pyproject.toml", "[project]\ndependencies=['b']"),
        ({"pyproject.toml": "[project]\nname='x'", "uv.lock": "version = 1"}, "uv.lock", "version = 1\nrevision = 1"),
        ({"pylock.toml": 'lock-version = "1.0"'}, "pylock.toml", 'lock-version = "1.1"'),
    ],
)
def test_dependency_files_of_every_kind_count(files: dict[str, str], name: str, changed: str) -> None:
    before: Plan = plan_of(files)
    assert not before.needs_tree
    assert plan_of({**files, name: changed}).environment_key != before.environment_key
    assert plan_of({**files, "a.ipynb": "{}"}).environment_key == before.environment_key


def test_rendered_files_count_by_what_they_say() -> None:
    one = plan_of({"Pipfile": "[packages]\na = '==1'\n"})
    two = plan_of({"Pipfile": "# ours\n[packages]\na = {version = '==1'}\n"})
    assert one.environment_key == two.environment_key
