"""Conda and Nix in images: our stages have the repo2docker library's own scripts, in its order.

Their servers are not reached here: what the scripts do is the library's matter, where they stand is ours.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from bindery.settings import BuildSettings, Settings
from builder.buildpacks.repo2docker_steps import LibrarySteps, library_steps
from builder.engines.base import BuildJob
from builder.engines.docker_cli import Docker
from builder.engines.layered.context import Site
from builder.engines.layered.library import content_dockerfile, environment_dockerfile, pack_dockerfile
from builder.engines.layered.making import Image
from builder.engines.layered.runtime import Runtimes
from builder.engines.layered.workshop import Locks, Workshop
from tests.support.trees import Files, plan_of, tree_of

with warnings.catch_warnings():
    # Of a library's library.
    warnings.simplefilter("ignore", DeprecationWarning)
    from repo2docker.buildpacks.conda import CondaBuildPack
    from repo2docker.buildpacks.nix import NixBuildPack
    from repo2docker.utils import get_platform

REPOSITORIES: dict[str, tuple[type, Files]] = {
    "conda": (CondaBuildPack, {"environment.yml": "dependencies:\n- python=3.11\n- numpy\n", "apt.txt": "tree\n"}),
    "conda with the repository's files": (
        CondaBuildPack,
        {"environment.yml": "dependencies:\n- pip:\n  - -e .\n", "setup.py": "", "postBuild": "true\n"},
    ),
    "conda in binder/": (CondaBuildPack, {"binder/environment.yml": "dependencies: [numpy]\n", "binder/start": ""}),
    "nix": (NixBuildPack, {"default.nix": "{}", "start": "exec $@"}),
}


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    settings = Settings(data_dir=tmp_path, build=BuildSettings(os_image="debian:12"))

    async def say(line: str) -> None:
        raise AssertionError(line)

    docker = Docker(Path("docker"), "", "", False, {})
    return Workshop("b", docker, "draft:1", Site(settings.build), tmp_path, tmp_path, tmp_path, say, settings, Locks())


@pytest.mark.parametrize("name", REPOSITORIES)
async def test_the_stages_have_the_librarys_scripts(
    name: str, shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, files = REPOSITORIES[name]
    plan = plan_of(files)
    steps = await library_steps(tree_of(files))
    assert steps.buildpack == plan.buildpack == kind.__name__
    text = "".join(_stages(shop, steps, BuildJob("b", "a:b", plan, tmp_path, "1" * 40, "https://example.org/a", "")))
    folder = tmp_path / "repository"
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(str(content))
    monkeypatch.chdir(folder)
    pack = kind(base_image="debian:12")
    pack.platform = get_platform()
    scripts = [*pack.get_build_scripts(), *pack.get_preassemble_scripts(), *pack.get_assemble_scripts()]
    position = -1
    for _, script in scripts:
        if "apt-get install --yes --no-install-recommends" not in script:
            found = _words(text).find(_words(script), position + 1)
            assert found > position, script
            position = found
    assert ("apt.sh tree\n" in text) == ("apt.txt" in files)
    assert all(f"ENV {key}=" in text for key, _ in [*pack.get_build_env(), *pack.get_env()])


@pytest.mark.parametrize("name", REPOSITORIES)
async def test_stages_are_short_and_literal(name: str, shop: Workshop, tmp_path: Path) -> None:
    _, files = REPOSITORIES[name]
    steps = await library_steps(tree_of(files))
    job = BuildJob("b", "a:b", plan_of(files), tmp_path, "1" * 40, "https://example.org/a", "")
    for stage in _stages(shop, steps, job):
        words = [line.split(maxsplit=1)[0] for line in stage.splitlines() if line and not line.startswith(" ")]
        assert sum(word in ("FROM", "RUN", "COPY", "WORKDIR") for word in words) <= 6
        assert "ARG" not in words
        assert "# syntax" not in stage
        # Scripts' own users last only as long as they do.
        assert [line for line in stage.splitlines() if line.startswith("USER")][-1:] in (["USER 1000"], [])


def _stages(shop: Workshop, steps: LibrarySteps, job: BuildJob) -> list[str]:
    image = Image("sha256:" + "0" * 64, (), {}, 0, 0, "amd64")
    runtimes = Runtimes(shop.maker, shop.settings.build, image, "3.11", (), "key")
    return [
        pack_dockerfile(shop, runtimes, steps),
        environment_dockerfile(job, shop, runtimes, steps, "bindery/pack:key"),
        content_dockerfile(job, shop, steps, "bindery/environment:key", same=False),
    ]


def _words(text: str) -> str:
    return " ".join(text.replace("\\\n", " ").split())
