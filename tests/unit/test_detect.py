from __future__ import annotations

from collections.abc import Mapping

import pytest

from bindery.errors import ConflictingFiles, InvalidDependencyFile
from builder.plan import Kind, Plan
from tests.support.trees import Link, Submodule, plan_of

Files = Mapping[str, str | bytes]
NOTHING_FOUND = "No dependency file was found, so the environment has only what notebooks need."


@pytest.mark.parametrize(
    ("files", "kind", "buildpack"),
    [
        ({}, Kind.PYTHON, "uv"),
        ({"requirements.txt": ""}, Kind.PYTHON, "uv"),
        ({"Pipfile": "", "requirements.txt": ""}, Kind.PIPFILE, "uv"),
        ({"environment.yml": "", "Pipfile": ""}, Kind.CONDA, "CondaBuildPack"),
        ({"environment.yaml": ""}, Kind.CONDA, "CondaBuildPack"),
        ({"DESCRIPTION": "", "environment.yml": ""}, Kind.R, "RBuildPack"),
        ({"runtime.txt": "r-2024-01-02", "environment.yml": ""}, Kind.R, "RBuildPack"),
        ({"default.nix": "", "DESCRIPTION": ""}, Kind.NIX, "NixBuildPack"),
        ({"Project.toml": "", "default.nix": ""}, Kind.JULIA, "JuliaProjectTomlBuildPack"),
        ({"JuliaProject.toml": ""}, Kind.JULIA, "JuliaProjectTomlBuildPack"),
        ({"Dockerfile": "", "Project.toml": ""}, Kind.DOCKERFILE, "DockerBuildPack"),
    ],
)
def test_first_kind_in_order_wins(files: Files, kind: Kind, buildpack: str) -> None:
    plan = plan_of(files)
    assert (plan.kind, plan.buildpack) == (kind, buildpack)


@pytest.mark.parametrize("folder", ["binder", ".binder"])
def test_config_folder_replaces_the_root(folder: str) -> None:
    plan = plan_of({f"{folder}/environment.yml": "", "Dockerfile": "FROM x", "setup.py": "", "apt.txt": "tree"})
    assert plan.kind is Kind.CONDA
    assert plan.config_folder == folder
    assert plan.files == (f"{folder}/environment.yml",)
    assert plan.apt == ()


def test_two_config_folders_conflict() -> None:
    with pytest.raises(ConflictingFiles, match=r"both a binder/ and a \.binder/"):
        plan_of({"binder/requirements.txt": "", ".binder/requirements.txt": ""})


def test_linked_config_folder_counts() -> None:
    plan = plan_of({"binder": Link("conf"), "conf/requirements.txt": "numpy==2", "environment.yml": ""})
    assert plan.files == ("binder/requirements.txt",)


def test_config_folder_without_configuration_hides_the_root_and_is_warned_of() -> None:
    plan = plan_of({"binder/README.md": "", "requirements.txt": "numpy", "apt.txt": "tree"})
    assert plan.files == ()
    assert plan.warnings == (
        "binder/ has no dependency file, and hides those of the root (requirements.txt, apt.txt).",
        NOTHING_FOUND,
    )


def test_config_folder_in_a_submodule_is_warned_of() -> None:
    plan = plan_of({"binder": Submodule("0" * 40), "requirements.txt": "numpy"})
    assert "binder is a submodule: what is in it is not read, and it hides the root's files." in plan.warnings


@pytest.mark.parametrize("name", ["setup.py", "pyproject.toml", "uv.lock", "poetry.lock", "DESCRIPTION"])
def test_root_only_files_do_not_count_in_a_config_folder(name: str) -> None:
    assert plan_of({f"binder/{name}": "broken ["}).installs == ()
    assert plan_of({"binder/requirements.txt": "", name: "broken ["}).files == ("binder/requirements.txt",)


def test_links_are_followed_within_the_tree_only() -> None:
    plan = plan_of({"requirements.txt": Link("deps/all.txt"), "deps/all.txt": "numpy==2"})
    assert plan.files == ("requirements.txt",)
    assert plan_of({"requirements.txt": Link("/etc/passwd")}).installs == ()
    assert plan_of({"requirements.txt": Link("../x")}).installs == ()


def test_side_files() -> None:
    plan = plan_of({"binder/apt.txt": "vim\ntree\nvim", "binder/postBuild": "", "binder/start": "", "start": ""})
    assert plan.apt == ("tree", "vim")
    assert plan.post_build == "binder/postBuild"
    assert plan.start == "binder/start"
    assert not plan.needs_tree


def test_dockerfile_is_all_that_counts() -> None:
    plan = plan_of({"Dockerfile": "FROM x", "apt.txt": "Bad Name!", "postBuild": "", "start": "", "runtime.txt": "?"})
    assert plan.files == ("Dockerfile",)
    assert (plan.apt, plan.post_build, plan.start, plan.python) == ((), None, None, "")
    assert plan.needs_tree
    assert plan.warnings == (
        "runtime.txt is not read beside Dockerfile.",
        "apt.txt is not read beside Dockerfile.",
        "postBuild is not read beside Dockerfile.",
        "start is not read beside Dockerfile.",
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"Dockerfile": "# x\nFROM andrewosh/binder-base"}, "Dockerfile, line 2: the base image of the first Binder"),
        ({"Dockerfile": "FROM Andrewosh/Binder-Base", "binder/environment.yml": ""}, "Dockerfile, line 1"),
        ({"REQUIRE": "IJulia"}, "REQUIRE: Julia packages can no longer"),
        ({"Project.toml": "[deps"}, "Project.toml, line 1: not valid TOML"),
        ({"runtime.txt": "r-3.4-2017-01-02"}, "R packages of so early a date"),
        ({"runtime.txt": "r-four-2024-01-02"}, "not a version of R"),
        ({"environment.yml": "- numpy"}, "environment.yml: its content must be a table"),
        ({"environment.yml": "dependencies: numpy"}, "dependencies must be a list, not str"),
        ({"environment.yml": "a: b\ndependencies: [numpy\n"}, "environment.yml, line 3: not valid YAML"),
        ({"environment.yml": "a: b\n\tc: d\n"}, "environment.yml, line 2: not valid YAML"),
        ({"environment.yml": "dependencies: [python=4]"}, "not a Python version: python=4"),
        ({"environment.yml": "dependencies: " + "[" * 5000}, "environment.yml"),
        ({"environment.yml": "!!python/object/apply:os.system [id]"}, "environment.yml, line 1: not valid YAML"),
        ({"environment.yml": "x" * 300_000}, "too large to be read"),
    ],
)
def test_refuses(files: Files, message: str) -> None:
    with pytest.raises(InvalidDependencyFile) as caught:
        plan_of(files)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("dependencies", "python"),
    [
        ("[python=3.9]", "3.9"),
        ("[numpy, python==3.12.1]", "3.12"),
        ("['python = 3.8']", "3.8"),
        ("[python=3]", "3.11"),
        ("[python=3.*]", "3.11"),
        ("['python>=3.12']", "3.11"),
        ("[python-dateutil=2.9]", "3.11"),
        ("[{pip: [python=3.9]}]", "3.11"),
        ("null", "3.11"),
        ("[python=2]", "2.7"),
    ],
)
def test_python_of_conda(dependencies: str, python: str) -> None:
    assert plan_of({"environment.yml": f"dependencies: {dependencies}"}).python == python


@pytest.mark.parametrize(
    ("line", "local"),
    [("-e .", True), ("./x", True), ("-r more.txt", True), ("--constraint x", True), ("file:///x", True),
     ("x @ file://y", True), ("numpy", False), ("-e git+https://example.org/x.git", False), ("--pre", False)],
)  # fmt: skip
def test_conda_needs_the_tree_for_local_pip_lines(line: str, local: bool) -> None:
    assert plan_of({"environment.yml": f"dependencies:\n- pip:\n  - '{line}'\n"}).needs_tree is local


@pytest.mark.parametrize(
    ("files", "local"),
    [
        ({"Project.toml": "[deps]"}, False),
        ({"Project.toml": 'name = "X"\nuuid = "1"'}, True),
        ({"Project.toml": "", "Manifest.toml": '[[deps.X]]\npath = "X"\n'}, True),
        ({"Project.toml": "", "Manifest.toml": '[[deps.X]]\nversion = "1"\n'}, False),
        ({"Project.toml": "", "requirements.txt": "./x", "x/setup.py": ""}, True),
        ({"Project.toml": "", "environment.yml": "dependencies: [{pip: [-e .]}]"}, True),
        ({"runtime.txt": "r-2024-01-02"}, False),
        ({"runtime.txt": "r-2024-01-02", "install.R": "1"}, True),
        ({"DESCRIPTION": ""}, True),
        ({"default.nix": ""}, True),
    ],
)
def test_other_kinds_that_need_the_tree(files: Files, local: bool) -> None:
    assert plan_of(files).needs_tree is local


def test_python_files_count_for_r_and_julia() -> None:
    others = {"requirements.txt": "numpy==2", "environment.yml": "", "pyproject.toml": "[tool.x]"}
    r = plan_of({"runtime.txt": "r-4.4-2024-01-02", "install.R": "1", **others})
    assert r.files[0] == "runtime.txt"
    assert set(r.files) == {"runtime.txt", "install.R", *others}
    julia = plan_of({"Project.toml": "", "Manifest.toml": "", "runtime.txt": "python-3.9", **others})
    assert julia.files[0] == "Project.toml"
    assert set(julia.files) == {"Project.toml", "Manifest.toml", "runtime.txt", *others}
    assert julia.python == "3.9"


@pytest.mark.parametrize(
    ("files", "warning"),
    [
        ({"install.R": ""}, "install.R alone is ignored: R needs a runtime.txt such as r-4.4-2025-06-01 beside it."),
        ({"runtime.txt": "r-4.3"}, "runtime.txt: r-4.3 is ignored without a snapshot date; write r-4.3-2025-06-01."),
        ({"runtime.txt": "foo-1"}, "runtime.txt names an unknown language (foo), so it is ignored."),
        ({"environment.yml": "", "requirements.txt": ""}, "requirements.txt is not read beside environment.yml."),
        ({"Pipfile": "", "Pipfile.lock": "{}", "setup.py": ""}, "setup.py is not read beside Pipfile.lock."),
        ({"requirements.txt": "", "uv.lock": ""}, "uv.lock is not read beside requirements.txt."),
        ({"environment.yml": "", "pyproject.toml": "[project]"}, "pyproject.toml is not read beside environment.yml."),
        ({"environment.yml": "", "Pipfile": ""}, "Pipfile is not read beside environment.yml."),
        ({"uv.lock": ""}, "uv.lock is not read."),
        ({"Containerfile": ""}, "Containerfile is not read; name it Dockerfile."),
        ({"flake.nix": ""}, "flake.nix is not read; only default.nix is."),
        ({"shell.nix": ""}, "shell.nix is not read; only default.nix is."),
        ({"pixi.toml": ""}, "pixi.toml is not read; write an environment.yml."),
        ({"conda-lock.yml": ""}, "conda-lock.yml is not read; write an environment.yml."),
        ({".devcontainer/devcontainer.json": ""},
         ".devcontainer/devcontainer.json is not read; write dependency files of their own."),
        ({"setup.cfg": ""}, "setup.cfg is not read; add a pyproject.toml."),
        ({"Requirements.txt": ""}, "Requirements.txt is not read: its name must be written requirements.txt."),
        ({"binder/postbuild": ""}, "binder/postbuild is not read: its name must be written postBuild."),
        ({"src/requirements.txt": ""},
         "src/requirements.txt is not read: dependency files must be in the root, in binder/ or in .binder/."),
        ({}, NOTHING_FOUND),
        ({"runtime.txt": "python-2"}, "Python 2.7 is no longer maintained; most packages need Python 3."),
        ({"environment.yml": "dependencies: ['python>3.9']"},
         "environment.yml gives a range for python; the environment starts with 3.11 and the solver may change it. "
         "Write python=3.12 (one equal sign) to choose."),
    ],
)  # fmt: skip
def test_warns(files: Files, warning: str) -> None:
    assert warning in plan_of(files).warnings


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "numpy==2.1", "pyproject.toml": "[tool.black]", "README.md": "", "setup.cfg": ""},
        {
            "environment.yml": "dependencies: [python=3.11]",
            "pyproject.toml": "[tool.black]",
            "postBuild": "",
            "start": "",
        },
        {"binder/requirements.txt": "numpy==2.1", "setup.py": "", "requirements.txt": "", "environment.yml": ""},
        {"runtime.txt": "python-3.11", "apt.txt": "tree"},
        {"Dockerfile": "FROM x"},
    ],
)
def test_says_nothing_where_there_is_nothing_to_say(files: Files) -> None:
    assert plan_of(files).warnings == ()


def test_the_deciding_file_comes_first() -> None:
    assert plan_of({"runtime.txt": "python-3.12", "environment.yml": ""}).files == ("environment.yml", "runtime.txt")
    assert plan_of({"DESCRIPTION": "", "requirements.txt": ""}).files == ("DESCRIPTION", "requirements.txt")


def test_plans_are_equal_and_survive_json() -> None:
    files = {"requirements.txt": "numpy\n-e git+https://example.org/x\n", "apt.txt": "tree", "postBuild": ""}
    plan = plan_of(files)
    assert plan == plan_of(files)
    assert hash(plan) == hash(plan_of(files))
    assert Plan.from_json(plan.to_json()) == plan
