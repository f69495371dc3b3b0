from __future__ import annotations

from collections.abc import Mapping

import pytest

from bindery.errors import ConflictingFiles, InvalidDependencyFile, PythonUnavailable
from builder.plan import Install, Source
from builder.pythons import poetry_bounds
from tests.support.trees import plan_of

Files = Mapping[str, str | bytes]

BUILD = '[build-system]\nrequires = ["hatchling"]\n'
PROJECT = (
    '[project]\nname = "x"\nversion = "1"\ndependencies = ["numpy==2.1", "scipy[x] >= 1 ; os_name == \'posix\'"]\n'
)
UV_LOCK = 'version = 1\nrequires-python = ">=3.10"\n'
PYLOCK = 'lock-version = "1.0"\ncreated-by = "uv"\npackages = []\n'

REQUIREMENTS = Install(Source.FILES, ("requirements.txt",))
PACKAGE = Install(Source.PROJECT, (".",))
LOCKED_PACKAGE = Install(Source.PROJECT, (".",), locked=True)
LOCK = Install(Source.UV_LOCK, ("uv.lock",), locked=True)


def uv_source(source: str, name: str = "x") -> str:
    return f'{UV_LOCK}[[package]]\nname = "{name}"\nversion = "1"\nsource = {{ {source} }}\n'


@pytest.mark.parametrize(
    ("files", "installs", "needs_tree"),
    [
        ({}, (), False),
        ({"requirements.txt": "a==1"}, (REQUIREMENTS,), False),
        ({"setup.py": ""}, (PACKAGE,), True),
        ({"pyproject.toml": PROJECT + BUILD}, (PACKAGE,), True),
        ({"requirements.txt": "a==1", "setup.py": ""}, (REQUIREMENTS, PACKAGE), True),
        ({"requirements.txt": "a==1", "pyproject.toml": PROJECT + BUILD}, (REQUIREMENTS, PACKAGE), True),
        ({"requirements.txt": "a==1", "pyproject.toml": PROJECT}, (REQUIREMENTS,), False),
        ({"requirements.txt": "a==1", "pyproject.toml": PROJECT, "uv.lock": UV_LOCK}, (REQUIREMENTS,), False),
        ({"requirements.txt": "a==1", "pylock.toml": PYLOCK, "poetry.lock": ""}, (REQUIREMENTS,), False),
        (
            {"pyproject.toml": PROJECT},
            (Install(Source.TEXT, text="numpy==2.1\nscipy[x] >= 1 ; os_name == 'posix'\n"),),
            False,
        ),
        ({"pyproject.toml": BUILD}, (), False),
        ({"pyproject.toml": "[project]\nname = 'x'\n"}, (), False),
        ({"pyproject.toml": "[project]\nname='x'\ndependencies=['p @ file:./p']\n", "p/setup.py": ""},
         (Install(Source.TEXT, text="p @ file:./p\n"),), True),
        ({"pyproject.toml": PROJECT, "uv.lock": uv_source('virtual = "."')}, (LOCK,), False),
        ({"pyproject.toml": PROJECT + BUILD, "uv.lock": uv_source('editable = "."')}, (LOCK, LOCKED_PACKAGE), True),
        ({"pyproject.toml": PROJECT + BUILD, "uv.lock": uv_source('virtual = "."')}, (LOCK,), False),
        ({"pyproject.toml": PROJECT, "uv.lock": uv_source('registry = "https://example.org/simple"')}, (LOCK,), False),
        ({"pyproject.toml": PROJECT, "uv.lock": uv_source('registry = "wheels"')}, (LOCK,), True),
        ({"pyproject.toml": PROJECT, "uv.lock": uv_source('editable = "packages/y"')}, (LOCK,), True),
        ({"pyproject.toml": PROJECT, "uv.lock": uv_source('path = "wheels/y.whl"')}, (LOCK,), True),
        ({"pyproject.toml": PROJECT, "uv.lock": uv_source('git = "https://example.org/y"')}, (LOCK,), False),
        ({"pylock.toml": PYLOCK}, (Install(Source.PYLOCK, ("pylock.toml",), locked=True),), False),
        ({"binder/pylock.toml": PYLOCK, "setup.py": ""},
         (Install(Source.PYLOCK, ("binder/pylock.toml",), locked=True),), False),
        ({"pylock.toml": PYLOCK, "setup.py": ""},
         (Install(Source.PYLOCK, ("pylock.toml",), locked=True), LOCKED_PACKAGE), True),
        ({"pylock.toml": 'lock-version = "1.0"\n[[packages]]\nname = "y"\ndirectory = { path = "y" }\n'},
         (Install(Source.PYLOCK, ("pylock.toml",), locked=True),), True),
        ({"pyproject.toml": PROJECT, "uv.lock": UV_LOCK, "pylock.toml": PYLOCK, "poetry.lock": ""}, (LOCK,), False),
        ({"uv.lock": UV_LOCK}, (), False),
        ({"setup.py": "", "pyproject.toml": "[tool.poetry]\npackage-mode = false"}, (PACKAGE,), True),
        ({"pyproject.toml": PROJECT + BUILD + "[tool.poetry]\npackage-mode = false"},
         (Install(Source.TEXT, text="numpy==2.1\nscipy[x] >= 1 ; os_name == 'posix'\n"),), False),
        ({"runtime.txt": "foo-1", "requirements.txt": "a==1", "setup.py": ""}, (REQUIREMENTS, PACKAGE), True),
    ],
)  # fmt: skip
def test_installs(files: Files, installs: tuple[Install, ...], needs_tree: bool) -> None:
    plan = plan_of(files)
    assert plan.installs == installs
    assert plan.needs_tree is needs_tree


@pytest.mark.parametrize(
    ("files", "python", "reason"),
    [
        ({}, "3.11", "default"),
        ({"runtime.txt": "python-3.9"}, "3.9", "runtime.txt"),
        ({"binder/runtime.txt": "python-3.12.4"}, "3.12", "binder/runtime.txt"),
        ({"runtime.txt": "python-3"}, "3.11", "runtime.txt"),
        ({"runtime.txt": "python-2024-01-02"}, "3.11", "default"),
        ({"runtime.txt": "python-3.15"}, "3.15", "runtime.txt"),
        ({".python-version": "3.10\n"}, "3.10", ".python-version"),
        ({".python-version": "# ours\n\n3.12.1  # this\n3.9\n"}, "3.12", ".python-version"),
        ({".python-version": "cpython-3.13.1-linux-x86_64-gnu"}, "3.13", ".python-version"),
        ({".python-version": "python3.13"}, "3.13", ".python-version"),
        ({".python-version": "3.14.0rc1"}, "3.14", ".python-version"),
        ({".python-version": "3"}, "3.11", ".python-version"),
        ({".python-version": "3.12", "runtime.txt": "python-3.9"}, "3.9", "runtime.txt"),
        ({".python-version": "3.12", "binder/requirements.txt": ""}, "3.11", "default"),
        ({"binder/.python-version": "3.12", "binder/requirements.txt": ""}, "3.12", "binder/.python-version"),
        ({"pyproject.toml": "[project]\nrequires-python = '>=3.10'"}, "3.11", "default; pyproject.toml accepts it"),
        ({"pyproject.toml": "[project]\nrequires-python = '>=3.11.5'"}, "3.11", "default; pyproject.toml accepts it"),
        ({"pyproject.toml": "[project]\nrequires-python = '==3.11.*'"}, "3.11", "default; pyproject.toml accepts it"),
        ({"pyproject.toml": "[project]\nrequires-python = '>=3.12'"}, "3.13", "pyproject.toml"),
        ({"pyproject.toml": "[project]\nrequires-python = '<3.11'"}, "3.10", "pyproject.toml"),
        ({"pyproject.toml": "[project]\nrequires-python = '>=3.12,<3.13'"}, "3.12", "pyproject.toml"),
        ({"pyproject.toml": "[project]\nrequires-python = '==3.12.3'"}, "3.12", "pyproject.toml"),
        ({"pyproject.toml": "[project]\nrequires-python = '>=3.12'", "runtime.txt": "r-4.3"}, "3.13", "pyproject.toml"),
        ({"pyproject.toml": PROJECT, "uv.lock": 'version = 1\nrequires-python = ">=3.12"'}, "3.13", "uv.lock"),
        ({"pylock.toml": PYLOCK + 'requires-python = "<3.11"'}, "3.10", "pylock.toml"),
        ({"poetry.lock": '[metadata]\npython-versions = "^3.12"'}, "3.13", "poetry.lock"),
        ({"poetry.lock": '[metadata]\npython-versions = "~3.10 || ~3.12"'}, "3.11", "default"),
    ],
)
def test_python(files: Files, python: str, reason: str) -> None:
    plan = plan_of(files, available=("3.11", "3.10", "3.12", "3.13"))
    assert (plan.python, plan.python_reason) == (python, reason)


def test_python_of_an_engine_that_does_not_say_what_it_has() -> None:
    assert plan_of({"pyproject.toml": "[project]\nrequires-python = '>=3.12'"}).python == "3.14"


def test_unavailable_python_lists_what_there_is() -> None:
    with pytest.raises(
        PythonUnavailable, match=r"pyproject\.toml asks for Python >=3\.13; available here: 3\.9, 3\.11\."
    ):
        plan_of({"pyproject.toml": "[project]\nrequires-python = '>=3.13'"}, available=("3.9",))


def test_runtime_against_requires_python_conflicts() -> None:
    with pytest.raises(ConflictingFiles, match=r"runtime\.txt asks for Python 3\.9, but pyproject\.toml for >=3\.11"):
        plan_of({"pyproject.toml": "[project]\nrequires-python = '>=3.11'", "runtime.txt": "python-3.9"})


def test_python_version_file_against_requires_python_is_warned_of() -> None:
    plan = plan_of({"pyproject.toml": "[project]\nrequires-python = '>=3.11'", ".python-version": "3.9"})
    assert plan.python == "3.11"
    assert ".python-version asks for Python 3.9, which pyproject.toml excludes" in plan.warnings[0]


@pytest.mark.parametrize("text", ["pypy3.10", "myenv", "", "3.x", "system"])
def test_unreadable_python_version_file_is_warned_of(text: str) -> None:
    plan = plan_of({".python-version": text, "requirements.txt": "a==1"})
    assert plan.python == "3.11"
    assert plan.warnings[0].startswith(".python-version names no Python version that can be read")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"pyproject.toml": "[project]\nname = \n"}, "pyproject.toml, line 2: not valid TOML"),
        ({"pyproject.toml": "project = 1"}, "[project] must be a table"),
        ({"pyproject.toml": "[project]\nrequires-python = '^3.9'"}, "not a range of Python versions: ^3.9"),
        ({"pyproject.toml": "[project]\nrequires-python = 3"}, "not a range of Python versions: 3"),
        ({"pyproject.toml": "[project]\ndependencies = 'numpy'"}, "dependencies in [project] must be a list"),
        ({"pyproject.toml": "[project]\ndependencies = ['numpy=1']"}, "not a requirement: numpy=1"),
        ({"pyproject.toml": "[project]\ndependencies = [1]"}, "not a requirement: 1"),
        ({"pyproject.toml": "[project]\ndependencies = ['-r x']"}, "not a requirement: -r x"),
        ({"pyproject.toml": "[project]\ndependencies = ['a @ file:///x']"}, "outside of the repository"),
        ({"pyproject.toml": PROJECT, "uv.lock": ""}, "uv.lock: has no version"),
        ({"pyproject.toml": PROJECT, "uv.lock": "version = 1\npackage = 1"}, "uv.lock: package must be a list"),
        ({"pyproject.toml": PROJECT, "uv.lock": "<<<<<<< HEAD"}, "uv.lock, line 1: not valid TOML"),
        ({"pylock.toml": ""}, "pylock.toml: has no lock-version"),
        ({"runtime.txt": "python-three"}, "runtime.txt, line 1: not a Python version: three"),
        ({"runtime.txt": "python-4"}, "not a Python version: 4"),
        ({"pyproject.toml": "a = " + "[" * 20_000}, "pyproject.toml"),
    ],
)
def test_refuses(files: Files, message: str) -> None:
    with pytest.raises(InvalidDependencyFile) as caught:
        plan_of(files)
    assert message in caught.value.message


def test_dynamic_dependencies_without_a_build_system_are_warned_of() -> None:
    plan = plan_of({"pyproject.toml": "[project]\nname = 'x'\ndynamic = ['dependencies']"})
    assert plan.warnings == (
        "pyproject.toml declares its dependencies dynamic but has no [build-system], so none are known.",
    )


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("^3.9", "3.13", "3.8"),
        ("^3.9,<3.12", "3.11", "3.12"),
        ("~3.10", "3.10", "3.11"),
        ("~3", "3.14", "4.0"),
        (">=3.9 <3.12", "3.11", "3.12"),
        ("3.11", "3.11", "3.12"),
        ("*", "3.14", ""),
        ("!=3.10.*,>=3.9", "3.11", "3.10"),
    ],
)
def test_poetry_notation(text: str, inside: str, outside: str) -> None:
    bounds = poetry_bounds(text, "poetry.lock")
    assert bounds is not None
    assert bounds.accept(inside)
    assert not outside or not bounds.accept(outside)


@pytest.mark.parametrize("text", ["^", "^x", "~", None, 3, ">=3.8 || <4", "!!"])
def test_poetry_notation_that_cannot_be_read(text: object) -> None:
    assert poetry_bounds(text, "poetry.lock") is None
