"""Whatever a repository contains, the planner answers with a plan or with an error for people."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bindery.errors import BinderyError
from builder.apt import parse_apt
from builder.runtime import parse_runtime
from tests.support.trees import Link, plan_of

NAMES = (
    "requirements.txt", "apt.txt", "runtime.txt", ".python-version", "environment.yml", "Pipfile", "Pipfile.lock",
    "pyproject.toml", "pylock.toml", "poetry.lock", "Project.toml", "Dockerfile",
)  # fmt: skip

_pieces = st.sampled_from(
    ["-r ", "-c ", "-e ", "--", "file:", "git+https://", "..", "/", "./", "numpy", "==", "1.0", ";", "python_version",
     "[", "]", "{", "}", '"', "'", "=", ":", "\n", "\\", "\t", "\r", "\0", "\x1b", "#", "@", "$(id)", "${X}", ",", "- ",
     "dependencies", "project", "package", "python", "3.12", "r-2024-01-01", "*", "^", "~", "é", "\ufeff", "\u2028",
     " "]
)  # fmt: skip
texts = st.one_of(st.text(max_size=200), st.lists(_pieces, max_size=40).map("".join))
contents = st.one_of(texts.map(lambda text: text.encode(errors="replace")), st.binary(max_size=200))

_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(
        st.one_of(st.sampled_from(["default", "develop", "_meta", "requires", "sources", "url", "version", "extras",
                                   "markers", "hashes", "git", "ref", "path", "python_version", "numpy"]), texts),
        inner, max_size=5)),
    max_leaves=25,
)  # fmt: skip


@contextlib.contextmanager
def only_errors_for_people() -> Iterator[None]:
    try:
        yield
    except BinderyError as error:
        assert error.message.isprintable()
        assert len(error.message) < 1000
        assert error.hint


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), contents, max_size=5), st.sampled_from(["", "binder/"]))
def test_any_files(files: dict[str, bytes], folder: str) -> None:
    with only_errors_for_people():
        plan_of({folder + name: content for name, content in files.items()})


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(content=contents)
def test_any_content(name: str, content: bytes) -> None:
    with only_errors_for_people():
        plan_of({name: content})


@settings(max_examples=300, deadline=None)
@given(_json)
def test_any_pipfile_lock(content: object) -> None:
    with only_errors_for_people():
        plan = plan_of({"Pipfile.lock": json.dumps(content)})
        assert all(line.isprintable() for step in plan.installs for line in step.text.split("\n"))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"name": texts, "version": texts},
            optional={"markers": texts, "groups": st.lists(texts), "optional": st.booleans(), "source": _json},
        ),
        max_size=3,
    )
)
def test_any_poetry_lock(packages: list[dict[str, object]]) -> None:
    with only_errors_for_people():
        plan = plan_of({"poetry.lock": _toml(packages)})
        assert all(line.isprintable() for step in plan.installs for line in step.text.split("\n"))


def _toml(packages: list[dict[str, object]]) -> str:
    return "".join(
        "[[package]]\n" + "".join(f"{key} = {_toml_value(value)}\n" for key, value in package.items())
        for package in packages
    )


def _toml_value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(map(_toml_value, value))}]"
        case dict():
            return f"{{{', '.join(f'{_toml_value(str(key))} = {_toml_value(item)}' for key, item in value.items())}}}"
        case None:
            return '""'
        case int():
            return str(value)
        case _:
            escaped = "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08X}" for c in str(value))
            return f'"{escaped}"'


@settings(max_examples=300, deadline=None)
@given(texts)
def test_apt_packages_are_harmless_words(text: str) -> None:
    with only_errors_for_people():
        for package in parse_apt(text, "apt.txt"):
            assert re.fullmatch(r"[a-z0-9][a-z0-9+.:=A-Z~-]+", package)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_any_runtime(text: str) -> None:
    with only_errors_for_people():
        parse_runtime(text, "runtime.txt")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abc./", max_size=12), st.text(alphabet="abc./", max_size=12))
def test_any_links(first: str, second: str) -> None:
    with only_errors_for_people():
        plan_of({"requirements.txt": Link(first), "a": Link(second), "b": "numpy", "c/a": "-r ../b"})


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "a" + " " * 1_000_000 + "b"},
        {"requirements.txt": "./[" * 30_000},
        {"requirements.txt": "a" + ".whl[" * 18_000},
        {"requirements.txt": "-e " + "./[" * 30_000},
        {"requirements.txt": "a==1." + "1" * 20_000},
        {"requirements.txt": "a\\\n" * 300_000},
        {"pyproject.toml": f"[project]\nrequires-python = '>1.{'1' * 20_000}'"},
        {"pyproject.toml": f"[project]\ndependencies = ['a{' ' * 200_000}b', 'a==1.{'1' * 20_000}']"},
        {"poetry.lock": f"[metadata]\npython-versions = '{' ' * 100_000}x'"},
        {"poetry.lock": f"[[package]]\nname = 'a'\nversion = '1.{'1' * 20_000}'"},
        {"poetry.lock": f"[[package]]\nname='a'\nversion='1'\nsource={{type='git',url='{'a' * 100_000}'}}"},
        {"Pipfile": f"[packages]\na = '==1.{'1' * 20_000}'\n"},
        {"Pipfile": f"[packages]\na = {{path = '{'[' * 100_000}'}}\n"},
        {".python-version": "3." + "1" * 900_000},
        {"runtime.txt": "python-3." + "1" * 900_000},
        {"environment.yml": f"dependencies: ['python=3.{'1' * 100_000}']"},
        {"apt.txt": "a+" * 500_000},
    ],
)  # fmt: skip
def test_nothing_takes_quadratic_time_or_overflows(files: dict[str, str]) -> None:
    # A matter of milliseconds each; a pattern that backtracks would make minutes of it.
    with only_errors_for_people():
        plan_of(files)
