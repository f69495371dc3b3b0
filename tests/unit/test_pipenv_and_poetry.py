from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from bindery.errors import InvalidDependencyFile
from builder.plan import Install, Kind, Plan, Source
from tests.support.trees import plan_of

Files = Mapping[str, str | bytes]

#: What every Pipfile names that names no other.
DEFAULT_INDEX = "https://{}.org/simple".format("pypi")
HASH = "sha256:" + "0" * 64
OTHER_HASH = "sha256:" + "1" * 64


def text_of(plan: Plan) -> list[str]:
    step = plan.installs[0]
    assert step.source is Source.TEXT
    return step.text.splitlines()


def pipfile_lock(**content: Any) -> dict[str, str]:
    return {"Pipfile.lock": json.dumps(content)}


# --- Pipfile.lock ---


def test_pipfile_lock_is_rendered_with_markers_extras_and_hashes() -> None:
    plan = plan_of(
        pipfile_lock(
            default={
                "requests": {"version": "==2.32.3", "extras": ["socks"], "hashes": [HASH, OTHER_HASH], "index": "pypi"},
                "pywin32": {"version": "==306", "markers": "sys_platform == 'win32'"},
                "tool": {"git": "https://example.org/tool.git", "ref": "abc", "subdirectory": "py"},
                "wheel-of-web": {"file": "https://example.org/w-1.0-py3-none-any.whl"},
                "old": {"version": "==1", "os_name": "== 'nt'"},
            },
            develop={"pytest": "==8.3", "requests": {"version": "==1.0"}},
        )
    )
    assert plan.kind is Kind.PIPFILE
    assert plan.installs[0].locked
    assert not plan.needs_tree
    assert plan.warnings == ()
    assert text_of(plan) == [
        "old==1 ; os_name == 'nt'",
        "pytest==8.3",
        "pywin32==306 ; (sys_platform == 'win32')",
        f"requests[socks]==2.32.3 --hash={HASH} --hash={OTHER_HASH}",
        "tool @ git+https://example.org/tool.git@abc#subdirectory=py",
        "wheel-of-web @ https://example.org/w-1.0-py3-none-any.whl",
    ]


def test_other_indexes_are_used_and_warned_of_without_their_login() -> None:
    sources = [
        {"url": DEFAULT_INDEX, "name": "pypi"},
        {"url": "https://me:secret@example.org/simple"},
        {"url": "https://${TOKEN}@example.org/simple"},
    ]
    plan = plan_of(pipfile_lock(_meta={"sources": sources}, default={}))
    assert text_of(plan) == ["--extra-index-url https://me:secret@example.org/simple"]
    assert plan.warnings == (
        "Pipfile.lock: packages also come from the index https://…@example.org/simple.",
        "Pipfile.lock: the package index https://…@example.org/simple is not used; its address cannot be read.",
    )


def test_nothing_is_added_to_a_lock_with_an_open_version() -> None:
    plan = plan_of(pipfile_lock(default={"numpy": "*"}))
    assert plan.installs[0].locked
    assert "1 of 1 requirements name no exact version (numpy)" in plan.warnings[0]


@pytest.mark.parametrize("name", ["path", "file"])
def test_paths_in_pipfiles_are_relative_to_the_pipfile(name: str) -> None:
    plan = plan_of(
        {
            "binder/Pipfile": f'[packages]\nx = {{{name} = "../lib", editable = true, extras = ["a"]}}\n',
            "lib/setup.py": "",
        }
    )
    assert text_of(plan) == ["-e ./lib[a]"]
    assert plan.needs_tree


def test_the_repository_itself_in_a_pipfile() -> None:
    plan = plan_of({"Pipfile": '[packages]\nx = {path = ".", editable = true}\n', "setup.py": ""})
    assert text_of(plan) == ["-e ./"]
    assert plan.needs_tree


def test_pipfile_is_rendered() -> None:
    text = """
        [[source]]
        url = "DEFAULT_INDEX"
        [packages]
        numpy = "*"
        scipy = ">=1.10,<2"
        pandas = "1.5.3"
        Flask = {version = "==3.0", extras = ["async", "dotenv"], markers = "python_version >= '3.9'"}
        tool = {git = "git+https://example.org/tool.git"}
        [dev-packages]
        pytest = {version = "*", sys_platform = "== 'linux'"}
        [requires]
        python_version = "3.12"
    """.replace("DEFAULT_INDEX", DEFAULT_INDEX)
    plan = plan_of({"Pipfile": text})
    assert plan.python == "3.12"
    assert plan.python_reason == "Pipfile"
    assert not plan.installs[0].locked
    assert text_of(plan) == [
        "Flask[async,dotenv]==3.0 ; (python_version >= '3.9')",
        "numpy",
        "pandas==1.5.3",
        "pytest ; sys_platform == 'linux'",
        "scipy>=1.10,<2",
        "tool @ git+https://example.org/tool.git",
    ]
    assert "3 of 6 requirements name no exact version (numpy, pytest, scipy)" in plan.warnings[0]


@pytest.mark.parametrize(
    ("lock", "pipfile", "python", "reason"),
    [
        ({"python_version": "3.8"}, "", "3.8", "Pipfile.lock"),
        ({"python_version": "3.8"}, "[requires]\npython_version = '3.9'", "3.8", "Pipfile.lock"),
        ({"python_full_version": "3.10.2", "python_version": "3.8"}, "", "3.10", "Pipfile.lock"),
        ({"python_version": "*"}, "[requires]\npython_version = '3.9'", "3.9", "Pipfile"),
        ({}, "[requires]\npython_full_version = '3.9.1'", "3.9", "Pipfile"),
        ({"python_version": "3"}, "", "3.11", "Pipfile.lock"),
        ({"python_version": 3}, "", "3.11", "default"),
        ({}, "", "3.11", "default"),
    ],
)
def test_python_of_pipenv(lock: dict[str, Any], pipfile: str, python: str, reason: str) -> None:
    plan = plan_of({**pipfile_lock(_meta={"requires": lock}), "Pipfile": pipfile, "runtime.txt": "python-3.13"})
    assert (plan.python, plan.python_reason) == (python, reason)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"Pipfile.lock": '{\n"default": }'}, "Pipfile.lock, line 2: not valid JSON"),
        ({"Pipfile.lock": "[" * 100_000}, "Pipfile.lock: not valid JSON (nested too deeply)"),
        ({"Pipfile.lock": "[]"}, "its content must be a table"),
        ({"Pipfile.lock": "{}" + "}"}, "line 1: not valid JSON"),
        (pipfile_lock(default=[]), "default must be a table"),
        (pipfile_lock(default={"x": 1}), "x must be a table"),
        (pipfile_lock(default={"-x": "*"}), "not the name of a package: -x"),
        (pipfile_lock(default={"x": {"extras": 1}}), "extras of x must be a list"),
        (pipfile_lock(default={"x": "== 1 --index-url=y"}), "not a requirement that can be understood"),
        (pipfile_lock(default={"x": {"markers": "os_name == 'a\n-i y'"}}), "not a requirement that can be understood"),
        (pipfile_lock(default={"x": {"git": "https://a b"}}), "the address of x cannot be read"),
        (pipfile_lock(default={"x": {"path": "../x"}}), "x names a file outside of the repository: ../x"),
        (pipfile_lock(default={"x": {"path": "lib"}}), "x names a file that the repository does not have: lib"),
        (pipfile_lock(default={"x": {"path": "."}}), "x names a folder that is no Python project"),
        (pipfile_lock(default={"x": {"path": "a b"}}), "the path of x cannot be read"),
        (pipfile_lock(_meta={"sources": 1}), "source must be a list"),
        (pipfile_lock(_meta={"requires": {"python_version": "4"}}), "not a Python version: 4"),
        ({"Pipfile": "[packages]\nnumpy = *"}, "Pipfile, line 2: not valid TOML"),
    ],
)
def test_pipenv_refuses(files: Files, message: str) -> None:
    with pytest.raises(InvalidDependencyFile) as caught:
        plan_of(files)
    assert message in caught.value.message


# --- poetry.lock ---

LOCK_2_1 = f"""
[[package]]
name = "numpy"
version = "2.1.0"
optional = false
python-versions = ">=3.10"
groups = ["main"]
files = [{{file = "n.whl", hash = "{HASH}"}}, {{file = "n.tar.gz", hash = "{OTHER_HASH}"}}]

[[package]]
name = "colorama"
version = "0.4.6"
optional = false
groups = ["main", "dev"]
markers = {{main = "platform_system == \\"Windows\\"", dev = "sys_platform == \\"win32\\""}}

[[package]]
name = "pytest"
version = "8.3"
groups = ["dev"]
markers = "python_version >= \\"3.9\\""

[[package]]
name = "sphinx"
version = "8.0"
groups = ["docs"]

[[package]]
name = "extra-only"
version = "1"
optional = true
groups = ["main"]
markers = "extra == \\"all\\""

[[package]]
name = "forked"
version = "1"
groups = ["main"]
[package.source]
type = "git"
url = "git@example.org:me/forked.git"
reference = "main"
resolved_reference = "abc123"
subdirectory = "py"

[[package]]
name = "fetched"
version = "1"
groups = ["main"]
[package.source]
type = "url"
url = "https://example.org/fetched.zip"

[[package]]
name = "private"
version = "3"
groups = ["main"]
[package.source]
type = "legacy"
url = "https://example.org/simple"

[metadata]
lock-version = "2.1"
python-versions = ">=3.10"
"""

POETRY = '[tool.poetry]\nname = "my-work"\n[tool.poetry.group.docs]\noptional = true\n[build-system]\nrequires = []\n'


def test_poetry_lock_2_1_is_rendered() -> None:
    plan = plan_of({"poetry.lock": LOCK_2_1, "pyproject.toml": POETRY})
    assert plan.kind is Kind.PYTHON
    assert len(plan.installs) == 1
    assert plan.installs[0].locked
    assert not plan.needs_tree
    assert text_of(plan) == [
        "--extra-index-url https://example.org/simple",
        'colorama==0.4.6 ; (platform_system == "Windows") or (sys_platform == "win32")',
        "fetched @ https://example.org/fetched.zip",
        "forked @ git+ssh://git@example.org/me/forked.git@abc123#subdirectory=py",
        f"numpy==2.1.0 --hash={HASH} --hash={OTHER_HASH}",
        "private==3",
        'pytest==8.3 ; python_version >= "3.9"',
    ]
    assert plan.warnings == ("poetry.lock: packages also come from the index https://example.org/simple.",)


LOCK_2_0 = f"""
[[package]]
name = "ipython"
version = "8.0"
optional = false
python-versions = ">=3.8"
files = [{{file = "i.whl", hash = "{HASH}"}}]
[package.dependencies]
colorama = {{version = "*", markers = "sys_platform == \\"win32\\""}}
numpy = [{{version = ">=1.20,<2", markers = "python_version < \\"3.10\\""}}, {{version = "^2.1", markers = "python_version >= \\"3.10\\""}}]
[package.extras]
test = ["pytest"]

[[package]]
name = "colorama"
version = "0.4.6"
optional = false
python-versions = "*"

[[package]]
name = "numpy"
version = "1.26"
python-versions = ">=3.9"

[[package]]
name = "numpy"
version = "2.1"
python-versions = ">=3.10"

[[package]]
name = "pandas"
version = "1.5"
python-versions = ">=3.8"

[[package]]
name = "pandas"
version = "2.2"
python-versions = ">=3.9"

[[package]]
name = "test-extra"
version = "1"
optional = true
python-versions = "*"

[metadata]
lock-version = "2.0"
python-versions = "^3.9"
"""  # noqa: E501


def test_older_poetry_locks_take_markers_from_who_asks() -> None:
    plan = plan_of(
        {"poetry.lock": LOCK_2_0, "pyproject.toml": '[tool.poetry]\n[tool.poetry.dependencies]\nipython="*"'}
    )
    assert text_of(plan) == [
        'colorama==0.4.6 ; sys_platform == "win32"',
        f"ipython==8.0 --hash={HASH}",
        'numpy==1.26 ; python_version < "3.10"',
        'numpy==2.1 ; python_version >= "3.10"',
        "pandas==2.2",
    ]
    assert plan.warnings == ("poetry.lock locks several versions of pandas; 2.2 is installed.",)


def test_older_poetry_locks_leave_out_what_only_optional_groups_ask_for() -> None:
    names = {"requests": '{PySocks = {version = "*", markers = "extra == \\"socks\\""}}', "pysocks": "{}",
             "sphinx": '{docutils = "*"}', "docutils": "{}", "pytest": "{}"}  # fmt: skip
    lock = "".join(f"[[package]]\nname='{name}'\nversion='1'\ndependencies={wish}\n" for name, wish in names.items())
    settings = """
        [tool.poetry.dependencies]
        requests = {version = "*", extras = ["socks"]}
        [tool.poetry.group.dev.dependencies]
        pytest = "*"
        [tool.poetry.group.docs]
        optional = true
        dependencies = {sphinx = "*"}
    """
    assert text_of(plan_of({"poetry.lock": lock, "pyproject.toml": settings})) == [
        "pysocks==1",
        "pytest==1",
        "requests==1",
    ]


def test_oldest_poetry_locks_have_their_hashes_apart() -> None:
    lock = f"""
[[package]]
name = "numpy"
version = "1.20"
category = "dev"
optional = false
python-versions = "*"
[metadata]
python-versions = "^3.7"
[metadata.files]
numpy = [{{file = "n.whl", hash = "{HASH}"}}]
"""
    assert text_of(plan_of({"poetry.lock": lock})) == [f"numpy==1.20 --hash={HASH}"]


def test_poetry_paths_need_the_tree() -> None:
    lock = (
        '[[package]]\nname = "lib"\nversion = "1"\ndevelop = true\n[package.source]\ntype = "directory"\nurl = "lib"\n'
    )
    plan = plan_of({"poetry.lock": lock, "lib/pyproject.toml": ""})
    assert text_of(plan) == ["-e ./lib"]
    assert plan.needs_tree


@pytest.mark.parametrize(
    ("files", "installs_itself"),
    [
        ({"pyproject.toml": POETRY}, False),
        ({"pyproject.toml": POETRY, "my_work/__init__.py": ""}, True),
        ({"pyproject.toml": POETRY, "src/my_work/__init__.py": ""}, True),
        ({"pyproject.toml": POETRY.replace('"my-work"', '"my-work"\npackages = [{include = "lib"}]')}, True),
        ({"pyproject.toml": POETRY.replace('"my-work"', '"my-work"\npackage-mode = false'), "my_work.py": ""}, False),
        ({"pyproject.toml": '[project]\nname = "x"\n[build-system]\nrequires = []\n'}, True),
    ],
)
def test_a_poetry_project_that_is_a_package_is_installed_too(files: Files, installs_itself: bool) -> None:
    plan = plan_of({"poetry.lock": "package = []", **files})
    assert (plan.installs[1:] == (Install(Source.PROJECT, (".",), locked=True),)) is installs_itself
    assert plan.needs_tree is installs_itself


@pytest.mark.parametrize(
    ("lock", "message"),
    [
        ("package = 1", "package must be a list"),
        ("package = [1]", "a package must be a table"),
        ("[[package]]\nname = '-r x'\nversion = '1'", "a package without a proper name: -r x"),
        ("[[package]]\nname = 'x'\nversion = '1 2'", "x has no proper version: 1 2"),
        ("[[package]]\nname = 'x'\nversion = 1", "x has no proper version: 1"),
        ("[[package]]\nname = 'x'\nversion = '1'\nmarkers = 'x y'\ngroups = ['main']", "not a requirement"),
        ("[[package]]\nname = 'x'\nversion = '1'\nsource = {type = 'legacy', url = 'x'}", "not the address"),
        (
            "[[package]]\nname = 'x'\nversion = '1'\nsource = {type = 'directory', url = '..'}",
            "outside of the repository",
        ),
        ("[[package]]\nname = 'x'\nversion = '1'\nsource = {type = 'file', url = 'x.whl'}", "does not have: x.whl"),
        ("metadata = 1", "[metadata] must be a table"),
    ],
)
def test_poetry_refuses(lock: str, message: str) -> None:
    with pytest.raises(InvalidDependencyFile) as caught:
        plan_of({"poetry.lock": lock})
    assert message in caught.value.message
