"""Our planner and the repo2docker library, on the same trees."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from bindery.errors import BinderyError
from builder.buildpacks.repo2docker import Verdict, ask, ask_all
from builder.plan import Kind, Source
from tests.support.trees import plan_of, tree_of

DOCS = Path(__file__).parents[2] / "docs" / "dependency-files.md"
PYTHONS = ("3.14", "3.13", "3.12", "3.11", "3.10", "3.9", "3.8")
KINDS = {
    "PythonBuildPack": Kind.PYTHON,
    "PipfileBuildPack": Kind.PIPFILE,
    "CondaBuildPack": Kind.CONDA,
    "RBuildPack": Kind.R,
    "JuliaProjectTomlBuildPack": Kind.JULIA,
    "NixBuildPack": Kind.NIX,
    "DockerBuildPack": Kind.DOCKERFILE,
}
REFUSED = "refused"

Files = Mapping[str, str | bytes]


@dataclass(frozen=True)
class Choice:
    """What the two are compared by."""

    kind: str
    python: str = ""
    apt: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    post_build: str = ""
    start: str = ""


PACKAGE = '[project]\nname = "x"\nversion = "1"\n[build-system]\nrequires = ["setuptools"]\n'
TOOLS_ONLY = "[tool.black]\nline-length = 100\n"


def requires(python: str, rest: str = "") -> str:
    return f'[project]\nname = "x"\nversion = "1"\nrequires-python = "{python}"\n{rest}'


#: Trees on which both choose the same.
AGREED: dict[str, Files] = {
    "nothing": {"index.ipynb": "{}"},
    "requirements": {"requirements.txt": "numpy==2.1\n"},
    "empty requirements": {"requirements.txt": ""},
    "requirements with a mark": {"requirements.txt": b"\xef\xbb\xbfnumpy\r\nscipy\r\n"},
    "requirements in UTF-16": {"requirements.txt": "numpy\nscipy\n".encode("utf-16")},
    "requirements with includes": {"requirements.txt": "-r more.txt\n-c held.txt\n", "more.txt": "a", "held.txt": "b"},
    "requirements and a package": {"requirements.txt": "numpy", "setup.py": ""},
    "setup.py": {"setup.py": ""},
    "package": {"pyproject.toml": PACKAGE},
    "package and setup.py": {"pyproject.toml": PACKAGE, "setup.py": ""},
    "pyproject for tools": {"pyproject.toml": TOOLS_ONLY},
    "pyproject for tools, requirements": {"pyproject.toml": TOOLS_ONLY, "requirements.txt": "numpy"},
    "broken pyproject": {"pyproject.toml": "[project\n"},
    "broken pyproject, conda": {"pyproject.toml": "[project\n", "environment.yml": ""},
    "setup.cfg alone": {"setup.cfg": ""},
    "requires-python, the default fits": {"pyproject.toml": requires(">=3.9"), "requirements.txt": ""},
    "requires-python, too new for the default": {"pyproject.toml": requires(">=3.11"), "requirements.txt": ""},
    "requires-python between": {"pyproject.toml": requires(">=3.11,<3.13"), "requirements.txt": ""},
    "requires-python below the default": {"pyproject.toml": requires("<3.10"), "requirements.txt": ""},
    "requires-python without a package": {"pyproject.toml": requires(">=3.12")},
    "requires-python impossible": {"pyproject.toml": requires(">=3.99"), "requirements.txt": ""},
    "requires-python broken": {"pyproject.toml": requires("new"), "requirements.txt": ""},
    "requires-python against runtime": {"pyproject.toml": requires(">=3.11"), "runtime.txt": "python-3.9"},
    "requires-python with runtime": {"pyproject.toml": requires(">=3.11"), "runtime.txt": "python-3.12"},
    "requires-python hidden by binder": {"pyproject.toml": requires(">=3.12"), "binder/requirements.txt": ""},
    "runtime": {"runtime.txt": "python-3.12\n"},
    "runtime, major": {"runtime.txt": "python-3"},
    "runtime, Python 2": {"runtime.txt": "python-2", "requirements.txt": ""},
    "runtime with a date": {"runtime.txt": "python-3.9-2021-01-02"},
    "runtime with only a date": {"runtime.txt": "python-2021-01-02"},
    "runtime of Python 4": {"runtime.txt": "python-4"},
    "runtime empty": {"runtime.txt": ""},
    "runtime of one word": {"runtime.txt": "python"},
    "runtime of three words": {"runtime.txt": "python-3.9-rc1"},
    "runtime with no version": {"runtime.txt": "python-"},
    "runtime, bad version": {"runtime.txt": "python-x.y"},
    "runtime, bad date": {"runtime.txt": "r-2021-02-31"},
    "runtime, unknown language": {"runtime.txt": "foo-1", "requirements.txt": "numpy"},
    "runtime, unknown language, package": {"runtime.txt": "foo-1", "setup.py": ""},
    "R": {"runtime.txt": "r-4.3-2024-01-02", "install.R": "1"},
    "R without version": {"runtime.txt": "r-2024-01-02"},
    "R without date": {"runtime.txt": "r-4.3", "install.R": "1"},
    "R without date, requirements": {"runtime.txt": "r-4.3", "requirements.txt": "numpy"},
    "R without date, Pipfile": {"runtime.txt": "r-4.3", "Pipfile": ""},
    "R without date, conda": {"runtime.txt": "r-4.3", "environment.yml": "dependencies: [python=3.9]"},
    "R and requirements": {"runtime.txt": "r-4.3-2024-01-02", "requirements.txt": "numpy"},
    "DESCRIPTION": {"DESCRIPTION": "Package: x"},
    "DESCRIPTION and Python": {"DESCRIPTION": "Package: x", "runtime.txt": "python-3.11"},
    "DESCRIPTION and conda": {"DESCRIPTION": "Package: x", "environment.yml": ""},
    "DESCRIPTION hidden by binder": {"DESCRIPTION": "Package: x", "binder/environment.yml": ""},
    "install.R alone": {"install.R": "1"},
    "conda": {"environment.yml": "dependencies:\n  - python=3.9\n  - numpy\n"},
    "conda, yaml": {"environment.yaml": "dependencies:\n  - python=3.8.5\n"},
    "conda, both names": {"environment.yml": "dependencies: [python=3.9]", "environment.yaml": "x: [python=3.8]"},
    "conda, empty": {"environment.yml": ""},
    "conda, list": {"environment.yml": "- python=3.9\n"},
    "conda, broken": {"environment.yml": "dependencies: [python\n"},
    "conda, two equal signs": {"environment.yml": "dependencies: [python==3.11.2]"},
    "conda, range": {"environment.yml": "dependencies: ['python>=3.11']"},
    "conda, major": {"environment.yml": "dependencies: [python=3]"},
    "conda, any": {"environment.yml": "dependencies: [python=*]"},
    "conda, Python 2": {"environment.yml": "dependencies: [python=2]"},
    "conda, Python 4": {"environment.yml": "dependencies: [python=4]"},
    "conda, another name": {"environment.yml": "dependencies: [python-dateutil=2.8, numpy]"},
    "conda, pip": {"environment.yml": "dependencies:\n  - python=3.12\n  - pip:\n    - -e .\n"},
    "conda, requirements": {"environment.yml": "dependencies: [python=3.9]", "requirements.txt": "numpy"},
    "conda, Pipfile, runtime": {"environment.yml": "", "Pipfile": "", "runtime.txt": "python-3.12"},
    "Pipfile": {"Pipfile": '[packages]\nnumpy = "*"\n[requires]\npython_version = "3.9"\n'},
    "Pipfile, full version": {"Pipfile": '[requires]\npython_full_version = "3.11.4"\npython_version = "3.9"\n'},
    "Pipfile, any version": {"Pipfile": '[requires]\npython_version = "*"\n'},
    "Pipfile, major": {"Pipfile": '[requires]\npython_version = "3"\n'},
    "Pipfile, runtime": {"Pipfile": "", "runtime.txt": "python-3.12"},
    "Pipfile, requirements": {"Pipfile": "", "requirements.txt": "numpy"},
    "Pipfile broken": {"Pipfile": "[packages\n"},
    "Pipfile.lock": {"Pipfile.lock": '{"_meta": {"requires": {"python_version": "3.8"}}, "default": {}}'},
    "Pipfile.lock and Pipfile": {
        "Pipfile.lock": '{"_meta": {"requires": {"python_version": "3.8"}}, "default": {}}',
        "Pipfile": '[requires]\npython_version = "3.9"\n',
    },
    "Pipfile.lock silent": {"Pipfile.lock": "{}", "Pipfile": '[requires]\npython_version = "3.9"\n'},
    "Pipfile.lock broken": {"Pipfile.lock": "{"},
    "Pipfile in binder": {"binder/Pipfile": "", "requirements.txt": "numpy"},
    "Julia": {"Project.toml": '[deps]\nX = "1"\n'},
    "Julia, other name": {"JuliaProject.toml": "", "environment.yml": "dependencies: [python=3.9]"},
    "Julia, requirements": {"Project.toml": "", "requirements.txt": "numpy", "runtime.txt": "python-3.11"},
    "Julia, Nix": {"Project.toml": "", "default.nix": "{}"},
    "REQUIRE": {"REQUIRE": "IJulia"},
    "REQUIRE and Project.toml": {"REQUIRE": "IJulia", "Project.toml": ""},
    "Nix": {"default.nix": "{}", "apt.txt": "tree", "postBuild": "", "start": ""},
    "Nix, conda": {"default.nix": "{}", "environment.yml": ""},
    "flake": {"flake.nix": "{}"},
    "Dockerfile": {"Dockerfile": "FROM x\n", "apt.txt": "tree", "postBuild": "", "environment.yml": ""},
    "Dockerfile in binder": {".binder/Dockerfile": "FROM x\n", "environment.yml": ""},
    "Dockerfile hidden": {"Dockerfile": "FROM x\n", "binder/requirements.txt": ""},
    "Dockerfile of the first Binder": {"Dockerfile": "FROM andrewosh/binder-base\n"},
    "Dockerfile of the first Binder, hidden": {"Dockerfile": "FROM andrewosh/binder-base", "binder/start": ""},
    "Dockerfile, first Binder in a comment": {"Dockerfile": "FROM x # andrewosh/binder-base\n"},
    "Containerfile": {"Containerfile": "FROM x"},
    "binder and .binder": {"binder/requirements.txt": "", ".binder/requirements.txt": ""},
    "binder empty": {"binder/README": "", "environment.yml": "", "setup.py": ""},
    "binder is a file": {"binder": "", "environment.yml": ""},
    "binder with side files": {"binder/apt.txt": "tree", "binder/postBuild": "", "binder/start": "", "setup.py": ""},
    "side files alone": {"apt.txt": "vim\ntree # why\n\n# no\n", "postBuild": "", "start": ""},
    "side files with conda": {"apt.txt": "g++\nlibstdc++6", "postBuild": "", "environment.yml": ""},
    "apt, several on a line": {"apt.txt": "vim tree\n"},
    "apt, capitals": {"apt.txt": "Tree\n"},
    "apt, with Pipfile": {"apt.txt": "tree\n", "Pipfile": ""},
    "deeper files": {"env/environment.yml": "", "src/requirements.txt": "numpy"},
    "wrong spelling": {"Requirements.txt": "numpy", "environment.YML": ""},
}  # fmt: skip

#: Trees on which we differ on purpose: the name, which docs/dependency-files.md has too; the tree; ours; theirs.
DIFFERENCES: dict[str, tuple[Files, Choice, Choice]] = {
    "uv.lock": (
        {"pyproject.toml": requires(">=3.10"), "uv.lock": 'version = 1\nrequires-python = ">=3.10"\n'},
        Choice("python", "3.10", pip=("uv.lock",)),
        Choice("python", "3.10"),
    ),
    "pylock.toml": (
        {"pylock.toml": 'lock-version = "1.0"\npackages = []\n'},
        Choice("python", "3.10", pip=("pylock.toml",)),
        Choice("python", "3.10"),
    ),
    "poetry.lock": (
        {"poetry.lock": '[metadata]\npython-versions = "^3.12"\n', "pyproject.toml": '[tool.poetry]\nname = "x"\n'},
        Choice("python", "3.14", pip=("text",)),
        Choice("python", "3.10"),
    ),
    "only `[project]`": (
        {"pyproject.toml": requires(">=3.10", 'dependencies = ["numpy"]\n')},
        Choice("python", "3.10", pip=("text",)),
        Choice("python", "3.10"),
    ),
    "`package-mode = false`": (
        {"pyproject.toml": f"{PACKAGE}[tool.poetry]\npackage-mode = false\n"},
        Choice("python", "3.10"),
        Choice("python", "3.10", pip=(".",)),
    ),
    "`.python-version`": ({".python-version": "3.12\n"}, Choice("python", "3.12"), Choice("python", "3.10")),
    "patch version in `runtime.txt`": (
        {"runtime.txt": "python-3.11.4"}, Choice("python", "3.11"), Choice(REFUSED),
    ),
    "Pythons that repo2docker does not have": (
        {"runtime.txt": "python-3.15"}, Choice("python", "3.15"), Choice(REFUSED),
    ),
    "patch version in `requires-python`": (
        {"pyproject.toml": requires(">=3.10.2"), "requirements.txt": ""},
        Choice("python", "3.10", pip=("requirements.txt",)),
        Choice("python", "3.14", pip=("requirements.txt",)),
    ),
    "`requires-python` beside another language's `runtime.txt`": (
        {"pyproject.toml": requires(">=3.12,<3.13"), "runtime.txt": "r-4.3"},
        Choice("python", "3.12"),
        Choice("python", "3.10"),
    ),
    "byte order mark": (
        {"runtime.txt": b"\xef\xbb\xbfpython-3.12\r\n"}, Choice("python", "3.12"), Choice("python", "3.10"),
    ),
    "other encodings": (
        {"requirements.txt": "numpy  # für später\n".encode("latin-1")},
        Choice(REFUSED),
        Choice("python", "3.10", pip=("requirements.txt",)),
    ),
    "syntax errors before the build": (
        {"requirements.txt": "numpy=1.2\n"}, Choice(REFUSED), Choice("python", "3.10", pip=("requirements.txt",)),
    ),
    "missing includes before the build": (
        {"requirements.txt": "-r more.txt\n"}, Choice(REFUSED), Choice("python", "3.10", pip=("requirements.txt",)),
    ),
    "old snapshots before the build": (
        {"runtime.txt": "r-3.4-2017-01-02"}, Choice(REFUSED), Choice("r", "3.10"),
    ),
    "whole names in `apt.txt`": (
        {"apt.txt": "tree;id\n"}, Choice(REFUSED), Choice("python", "3.10", apt=("tree;id",)),
    ),
}  # fmt: skip


def ours(files: Files) -> Choice:
    try:
        plan = plan_of(files, default="3.10", available=PYTHONS)
    except BinderyError:
        return Choice(REFUSED)
    pip = []
    for step in plan.installs if plan.kind is Kind.PYTHON else ():
        pip.append(step.paths[0] if step.source is not Source.TEXT else "text")
    return Choice(plan.kind, plan.python, plan.apt, tuple(pip), plan.post_build or "", plan.start or "")


def theirs(verdict: Verdict) -> Choice:
    # The library accepts REQUIRE when it detects, and refuses when it builds.
    if verdict.error or verdict.buildpack == "JuliaRequireBuildPack":
        return Choice(REFUSED)
    pip = verdict.pip if verdict.buildpack == "PythonBuildPack" else ()
    kind = KINDS[verdict.buildpack]
    return Choice(kind, verdict.python, tuple(sorted(verdict.apt)), pip, verdict.post_build, verdict.start)


async def test_same_choice_as_repo2docker() -> None:
    assert len(AGREED) >= 50
    verdicts = await ask_all([tree_of(files) for files in AGREED.values()])
    chosen = {name: ours(files) for name, files in AGREED.items()}
    assert chosen == {name: theirs(verdict) for name, verdict in zip(AGREED, verdicts, strict=True)}


async def test_same_choice_on_random_trees() -> None:
    source = random.Random(2026)
    variants: dict[str, tuple[str, ...]] = {
        "requirements.txt": ("numpy==2.1\n", "numpy\n"),
        "environment.yml": ("", "dependencies: [python=3.11]\n", "dependencies: [numpy]\n"),
        "runtime.txt": ("python-3.11", "r-4.3-2024-01-02", "r-4.3", "foo-1", "junk"),
        "Pipfile": ("", '[requires]\npython_version = "3.9"\n'),
        "Pipfile.lock": ("{}",),
        "setup.py": ("",),
        "pyproject.toml": (PACKAGE, TOOLS_ONLY),
        "DESCRIPTION": ("Package: x",),
        "install.R": ("1",),
        "Project.toml": ("",),
        "default.nix": ("",),
        "Dockerfile": ("FROM x\n",),
        "apt.txt": ("tree\nvim\n",),
        "postBuild": ("",),
        "start": ("",),
    }
    trees: list[dict[str, str]] = []
    for _ in range(200):
        names = source.sample(sorted(variants), source.randint(1, 6))
        folder = source.choice(["", "", "binder/", ".binder/"])
        trees.append({source.choice(["", folder]) + name: source.choice(variants[name]) for name in names})
    verdicts = await ask_all([tree_of(files) for files in trees])
    differing = [
        (files, ours(files), theirs(verdict))
        for files, verdict in zip(trees, verdicts, strict=True)
        if ours(files) != theirs(verdict)
    ]
    assert differing == []


async def test_differences_are_as_described() -> None:
    verdicts = await ask_all([tree_of(files) for files, _, _ in DIFFERENCES.values()])
    for (name, (files, our_choice, their_choice)), verdict in zip(DIFFERENCES.items(), verdicts, strict=True):
        assert (name, ours(files)) == (name, our_choice)
        assert (name, theirs(verdict)) == (name, their_choice)
        assert our_choice != their_choice


@pytest.mark.parametrize("name", DIFFERENCES)
def test_difference_is_documented(name: str) -> None:
    section = DOCS.read_text(encoding="utf-8").partition("## Differences from repo2docker")[2]
    assert f"**{name}**" in section


async def test_refusal_of_the_library_is_an_error_for_people() -> None:
    with pytest.raises(BinderyError, match=r"Invalid runtime\.txt"):
        await ask(tree_of({"runtime.txt": "python"}))


async def test_modules_of_the_repository_are_not_imported() -> None:
    verdict = await ask(tree_of({"setup.py": "raise SystemExit(3)", "json.py": "raise SystemExit(3)"}))
    assert verdict.buildpack == "PythonBuildPack"
