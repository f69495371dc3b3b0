"""The docker engine builds environments and images: real Docker, real uv, real packages."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bindery.errors import (
    BinderyError,
    BuildTimedOut,
    InstallFailed,
    PostBuildFailed,
    PythonUnavailable,
    ToolMissing,
    Unsatisfiable,
)
from bindery.settings import BuildSettings, Settings
from builder import detect
from builder.engines.base import BuildJob
from builder.engines.docker import DockerEngine
from builder.engines.docker_images import environment_name
from builder.engines.layered.images import DRAFTS
from builder.engines.uv import find_uv
from builder.fetch import read_tree
from db.events import Event
from tests.support import docker
from tests.support.builds import builds_running
from tests.support.wait import until

BUILD_SECONDS = 300.0
URL = "https://example.org/people/thing"
NUMBERS = itertools.count()
SETUPTOOLS_HASH = "062d34222ad13e0cc312a4c02d73f059e86a4acbfbdea8f8f76b28c99f306922"
SETUP = "from setuptools import setup\nsetup(name='thing', version='1.2', py_modules=['thing'])\n"
ENGINE = """
import asyncio, os, pickle, sys
from pathlib import Path
from builder.engines.docker import DockerEngine

async def main():
    settings, job = pickle.loads(Path(sys.argv[1]).read_bytes())
    engine = await DockerEngine.open(settings)
    for work in (engine.environment, engine.image):
        async for event in work(job):
            print(event.message, end="", flush=True)

asyncio.run(main())
"""


@dataclass
class Repository:
    """A Git repository on this machine."""

    folder: Path
    executable: tuple[str, ...] = ()
    commits: list[str] = field(default_factory=list)

    def commit(self, files: Mapping[str, str]) -> str:
        """Commit files, those of earlier commits as well."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if name in self.executable else 0o644)
        if not self.commits:
            self._git("init", "--quiet")
        self._git("add", "--all")
        self._git("-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "-m", "a commit")
        self.commits.append(self._git("rev-parse", "HEAD"))
        return self.commits[-1]

    def _git(self, *words: str) -> str:
        environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(["git", *words], cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@dataclass
class Built:
    """A build that ended well. `seconds` are those of the environment and of the image."""

    job: BuildJob
    lines: str
    seconds: tuple[float, float]

    def run(self, script: str) -> str:
        """What a shell line in a container of the image prints."""
        return docker.engine().run("run", "--rm", "--network", "none", self.job.image, "bash", "-c", script)

    @property
    def labels(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(
            docker.engine().run("image", "inspect", "--format", "{{json .Config.Labels}}", self.job.image)
        )
        return found


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings on a data directory of this module, whose builds use the caches of earlier test runs."""
    folder = tmp_path_factory.mktemp("engine") / "data"
    kept = docker.cache_folder() / "docker-caches"
    if not kept.exists():
        kept.write_text("bindery-tests")
    (folder / "cache").mkdir(parents=True)
    (folder / "cache" / "docker-caches").write_text(kept.read_text())
    return Settings(data_dir=folder, build=BuildSettings(os_image=docker.os_image(), timeout_seconds=BUILD_SECONDS))


@pytest.fixture(scope="module")
def engine(settings: Settings) -> DockerEngine:
    return asyncio.run(DockerEngine.open(settings, docker.engine().environment))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "repository"
    folder.mkdir()
    return Repository(folder, executable=("postBuild", "binder/postBuild"))


async def planned(engine: DockerEngine, repository: Repository, commit: str = "") -> BuildJob:
    """The job of a commit, with an image name that no other test has."""
    commit = commit or repository.commits[-1]
    bare = repository.folder / ".git"
    tree = await read_tree(bare, commit, Settings().fetch)
    plan = detect.plan(tree, engine.context)
    engine.check(plan)
    number = f"{os.getpid()}-{next(NUMBERS)}"
    return BuildJob(f"build-{number}", f"bindery-test-build:{number}", plan, bare, commit, URL, f"{URL}/tree/{commit}")


async def build(engine: DockerEngine, repository: Repository, files: Mapping[str, str]) -> Built:
    repository.commit(files)
    return await carry_out(engine, await planned(engine, repository))


async def carry_out(engine: DockerEngine, job: BuildJob) -> Built:
    lines, seconds = [], []
    for events in (engine.environment(job), engine.image(job)):
        begun = time.monotonic()
        lines += [event.message async for event in events]
        seconds.append(time.monotonic() - begun)
    return Built(job, "".join(lines), (seconds[0], seconds[1]))


async def refused(engine: DockerEngine, repository: Repository, files: Mapping[str, str]) -> BinderyError:
    """The error of a build, which leaves nothing that looks finished."""
    repository.commit(files)
    job = await planned(engine, repository)
    with pytest.raises(BinderyError) as caught:
        await carry_out(engine, job)
    assert not docker.engine().has_image(job.image)
    assert no_drafts()
    return caught.value


def no_drafts() -> bool:
    """Whether no draft is left of builds of this test run."""
    names = docker.engine().run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", DRAFTS).split()
    return not any(f"build-{os.getpid()}-" in name for name in names)


@pytest.fixture(autouse=True, scope="module")
def tidy() -> Iterator[None]:
    """Remove the images of this test run."""
    yield
    names = docker.engine().run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "bindery-test-build").split()
    ours = [name for name in names if f":{os.getpid()}-" in name]
    if ours:
        docker.engine().run("image", "rm", *ours)


def never_seen() -> str:
    """A comment that makes an environment a new one: an engine keeps those of earlier runs."""
    return f"# {time.time_ns()}\n"


async def test_requirements_become_an_environment(engine: DockerEngine, repository: Repository) -> None:
    files = {"requirements.txt": f"six==1.17.0\n{never_seen()}", "a.ipynb": notebook("import six")}
    built = await build(engine, repository, files)
    info = await engine.find(built.job.plan.environment_key)
    assert info is not None
    assert "six==1.17.0\n" in info.lock
    assert not info.joined
    assert "Installed" in built.lines
    assert "#" not in built.lines
    said = built.run(
        "id -u; pwd; which python pip jupyter jupyter-lab; git status --porcelain; stat -c %u:%g a.ipynb .git"
    )
    assert said.splitlines() == [
        *("1000", "/home/jovyan", "/srv/env/bin/python", "/srv/env/bin/pip", "/srv/env/bin/jupyter"),
        *("/opt/bindery/server/bin/jupyter-lab", "1000:1000", "1000:1000"),
    ]
    assert "7" in built.run("jupyter-execute --inplace a.ipynb && cat a.ipynb")
    assert built.run("bash -lc 'which python'") == "/srv/env/bin/python"


async def test_labels_say_where_an_image_comes_from(engine: DockerEngine, repository: Repository) -> None:
    repository.commit({"requirements.txt": "six==1.17.0\n"})
    job = replace(await planned(engine, repository), repo_url='https://me:secret@example.org/a"\nRUN $HOME/b')
    built = await carry_out(engine, job)
    assert built.labels["org.opencontainers.image.revision"] == job.commit
    assert built.labels["bindery.environment"] == job.plan.environment_key
    assert built.labels["org.opencontainers.image.source"].startswith("https://example.org/a")
    assert "secret" not in json.dumps(built.labels)
    assert "six==1.17.0" in json.loads(built.labels["bindery.lock"])


async def test_a_changed_notebook_reuses_the_environment(engine: DockerEngine, repository: Repository) -> None:
    first = await build(engine, repository, {"requirements.txt": "six==1.17.0\n", "a.ipynb": notebook("1")})
    second = await build(engine, repository, {"a.ipynb": notebook("2")})
    assert second.job.plan.environment_key == first.job.plan.environment_key
    assert "reused" in second.lines
    assert "Installed" not in second.lines
    assert layers(second.job.image)[:-1] == layers(environment_name(first.job.plan.environment_key))
    print(f"notebook only: {sum(second.seconds):.2f} s")


async def test_an_environment_grows_from_one_with_fewer_packages(engine: DockerEngine, repository: Repository) -> None:
    mark = never_seen()
    first = await build(engine, repository, {"requirements.txt": f"six==1.17.0\ntoolz\n{mark}"})
    second = await build(engine, repository, {"requirements.txt": f"six==1.17.0\ntabulate\ntoolz\n{mark}"})
    lower, grown = (built.job.plan.environment_key for built in (first, second))
    assert f"Growing it from environment {lower[:12]}" in second.lines
    assert "six" not in second.lines
    assert layers(environment_name(grown))[:-1] == layers(environment_name(lower))
    info = await engine.find(grown)
    assert info is not None
    assert {"six==1.17.0", "pip"} <= {line.partition("==")[0] if "pip" in line else line for line in info.lock.split()}
    assert "tabulate" in info.lock
    assert built_runs(second, "import six, tabulate, toolz; print(six.__version__)") == "1.17.0"


async def test_an_environment_does_not_grow_where_other_versions_are_due(
    engine: DockerEngine, repository: Repository
) -> None:
    mark = never_seen()
    await build(engine, repository, {"requirements.txt": f"six\nwebencodings\n{mark}"})
    second = await build(engine, repository, {"requirements.txt": f"six\nwebencodings\nsix<1.17\n{mark}"})
    assert "Growing it from environment" in second.lines
    assert "making it from nothing" in second.lines
    assert built_runs(second, "import six; print(six.__version__)") == "1.16.0"


def built_runs(built: Built, code: str) -> str:
    return built.run(f"python -c '{code}'")


async def test_an_image_that_is_there_is_not_made_again(engine: DockerEngine, repository: Repository) -> None:
    first = await build(engine, repository, {"requirements.txt": "six==1.17.0\n"})
    again = await carry_out(engine, first.job)
    assert f"Image {first.job.image} is there: reused\n" in again.lines


async def test_uv_lock_is_installed_as_it_is(engine: DockerEngine, repository: Repository) -> None:
    project = '[project]\nname = "thing"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["six<1.17"]\n'
    (repository.folder / "pyproject.toml").write_text(project)
    uv = find_uv()
    assert uv is not None
    command = (uv, "lock", "--quiet", "--no-config")
    await asyncio.to_thread(subprocess.run, command, cwd=repository.folder, check=True, timeout=BUILD_SECONDS)
    built = await build(engine, repository, {})
    assert built.run("python -c 'import six; print(six.__version__)'") == "1.16.0"


async def test_system_packages_and_post_build(engine: DockerEngine, repository: Repository) -> None:
    script = (
        "#!/bin/bash\nset -e\ntree --version > made.txt\npip install --quiet tomli\nwhich python jupyter id\nid -un\n"
    )
    built = await build(engine, repository, {"apt.txt": "tree # small\n", "postBuild": script})
    assert built.run("cat made.txt; python -c 'import tomli'").startswith("tree v")
    assert "/srv/env/bin/python\n/srv/env/bin/jupyter\n" in built.lines
    assert "jovyan\n" in built.lines
    assert "Unpacking" not in built.lines
    assert built.run(
        "ls -A /home/jovyan /var/lib/apt/lists | grep -v git; ls /srv/env/lib/python3*/site-packages/tomli/__pycache__"
    )
    assert json.loads(built.labels["bindery.apt"])[0].startswith("tree=")


async def test_post_build_that_changes_the_server_gets_one(engine: DockerEngine, repository: Repository) -> None:
    built = await build(engine, repository, {"postBuild": "jupyter server extension list\n"})
    assert built.run("which jupyter-lab") == "/srv/env/bin/jupyter-lab"
    assert built.run("jupyter-lab --version")[0].isdigit()


async def test_an_extension_of_the_server_is_joined_with_it(engine: DockerEngine, repository: Repository) -> None:
    built = await build(engine, repository, {"requirements.txt": "nbgitpuller\n"})
    info = await engine.find(built.job.plan.environment_key)
    assert info is not None
    assert info.joined
    assert built.run("which jupyter-lab") == "/srv/env/bin/jupyter-lab"
    assert "nbgitpuller" in built.run("jupyter server extension list 2>&1")


async def test_a_package_is_installed_from_the_repository(engine: DockerEngine, repository: Repository) -> None:
    files = {"setup.py": SETUP, "thing.py": "print('thing of', __file__)\n", "requirements.txt": "-e .\n"}
    built = await build(engine, repository, files)
    assert built.job.plan.needs_tree
    assert built.run("cd /; python -c 'import thing'") == "thing of /home/jovyan/thing.py"
    assert built.run("git log --format=%H") == built.job.commit


async def test_the_same_files_at_another_commit_have_its_history(engine: DockerEngine, repository: Repository) -> None:
    files = {"setup.py": SETUP, "thing.py": f"TREE = {time.time_ns()}\n"}
    first = await build(engine, repository, files)
    second_commit = repository._git(
        *("-c", "user.name=A", "-c", "user.email=a@example.org", "commit-tree", "-m", "other", "HEAD^{tree}")
    )
    repository._git("update-ref", "refs/heads/other", second_commit)
    second = await carry_out(engine, await planned(engine, repository, second_commit))
    assert second.job.plan.environment_key == first.job.plan.environment_key
    assert second.run("git log --format=%H") == second_commit


async def test_a_package_without_wheel_is_built_from_source(engine: DockerEngine, repository: Repository) -> None:
    built = await build(engine, repository, {"requirements.txt": f"docopt==0.6.2\n{never_seen()}"})
    assert "run code of their own" in built.lines
    assert built.run("python -c 'import docopt; print(docopt.__version__)'") == "0.6.2"


async def test_code_that_packages_leave_for_every_start_of_python_reaches_no_shared_cache(
    engine: DockerEngine, repository: Repository
) -> None:
    # setuptools has such code; a lock with hashes makes two installs of it and the kernel.
    files = {"requirements.txt": f"setuptools==80.9.0 --hash=sha256:{SETUPTOOLS_HASH}\n{never_seen()}"}
    built = await build(engine, repository, files)
    assert "run code of their own" in built.lines
    assert built.run("python -c 'import setuptools; print(setuptools.__version__)'") == "80.9.0"


async def test_a_dockerfile_is_built_as_it_is(engine: DockerEngine, repository: Repository) -> None:
    steps = "ARG NB_USER\nCOPY data.txt /data.txt\nRUN echo made by $NB_USER > /made\n"
    text = f"{never_seen()}FROM {docker.os_image()}\n{steps}"
    built = await build(
        engine, repository, {"binder/Dockerfile": text, "data.txt": "data", "requirements.txt": "no-such"}
    )
    assert "Step 3/3: RUN echo made by " in built.lines
    assert built.run("cat /made /data.txt") == "made by jovyan\ndata"
    assert built.labels["org.opencontainers.image.revision"] == built.job.commit
    error = await refused(engine, repository, {"binder/Dockerfile": f"FROM {docker.os_image()}\nRUN exit 3\n"})
    assert isinstance(error, InstallFailed)
    assert "exit code: 3" in error.message


async def test_binder_folder_and_start_script(engine: DockerEngine, repository: Repository) -> None:
    files = {
        "requirements.txt": "no-such-package-anywhere\n",
        "binder/requirements.txt": "six==1.17.0\n",
        "binder/start": '#!/bin/bash\nexport STARTED=yes\nexec "$@"\n',
    }
    built = await build(engine, repository, files)
    assert built.run("echo $STARTED; python -c 'import six'; stat -c %A binder/start") == "yes\n-rwxr-xr-x"


async def test_failures_say_what_to_mend(engine: DockerEngine, repository: Repository) -> None:
    error = await refused(engine, repository, {"requirements.txt": "six==1.16.0\nsix==1.17.0\n"})
    assert isinstance(error, Unsatisfiable)
    assert "six" in error.message
    error = await refused(engine, repository, {"requirements.txt": "six\n", "apt.txt": "no-such-package-anywhere\n"})
    assert isinstance(error, InstallFailed)
    assert "Unable to locate package no-such-package-anywhere" in error.message
    (repository.folder / "apt.txt").unlink()
    error = await refused(engine, repository, {"requirements.txt": "six==1.17.0\n", "postBuild": "#!/bin/sh\nexit 7\n"})
    assert isinstance(error, PostBuildFailed)
    assert error.message == "postBuild ended with exit code 7."
    repository.commit({"runtime.txt": "python-3.8"})
    with pytest.raises(PythonUnavailable, match=r"3\.8"):
        await planned(engine, repository)


async def test_a_build_that_takes_too_long_is_ended(settings: Settings, repository: Repository) -> None:
    short = settings.model_copy(update={"build": settings.build.model_copy(update={"timeout_seconds": 2.0})})
    engine = await DockerEngine.open(short, docker.engine().environment)
    error = await refused(engine, repository, {"Dockerfile": f"FROM {docker.os_image()}\nRUN sleep 600\n"})
    assert isinstance(error, BuildTimedOut)
    assert "2 seconds" in error.message


async def test_cancelling_ends_the_build_in_the_engine(engine: DockerEngine, repository: Repository) -> None:
    mark = f"sleep 600.{time.time_ns()}"
    repository.commit({"requirements.txt": "six==1.17.0\n", "postBuild": f"{mark}\n"})
    job = await planned(engine, repository)
    await drain(engine.environment(job))
    building = asyncio.create_task(drain(engine.image(job)))
    await until(lambda: sleeping(mark), BUILD_SECONDS)
    building.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await building
    await until(lambda: not sleeping(mark), 20)
    assert not docker.engine().has_image(job.image)
    assert no_drafts()


async def test_a_killed_builder_leaves_nothing_after_reaping(
    engine: DockerEngine, settings: Settings, repository: Repository, tmp_path: Path
) -> None:
    mark = f"sleep 600.{time.time_ns()}"
    repository.commit({"setup.py": f"import subprocess\nsubprocess.run({mark.split()!r})\n"})
    job = await planned(engine, repository)
    (tmp_path / "job").write_bytes(pickle.dumps((settings, job)))
    argv = [sys.executable, "-c", ENGINE, str(tmp_path / "job")]
    process = await asyncio.create_subprocess_exec(
        *argv, env=docker.engine().environment, stdout=asyncio.subprocess.DEVNULL
    )
    await until(lambda: sleeping(mark) or process.returncode is not None, BUILD_SECONDS)
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    await engine.reap(builds_running())
    await until(lambda: not sleeping(mark), 20)
    assert not docker.engine().has_image(environment_name(job.plan.environment_key))
    assert not (settings.data_dir / "builds" / job.build_id).exists()
    assert no_drafts()


async def test_a_bundle_of_authorities_reaches_builds_and_no_image(settings: Settings, repository: Repository) -> None:
    bundle = Path(os.environ.get("SSL_CERT_FILE", docker.BUNDLE))
    strict = settings.build.model_copy(update={"os_image": docker.os_image(trusting=False), "ca_bundle": bundle})
    changed = settings.model_copy(update={"build": strict})
    engine = await DockerEngine.open(changed, docker.engine().environment)
    built = await build(engine, repository, {"requirements.txt": "six==1.17.0\n", "postBuild": "pip install tomli\n"})
    assert built.run("env | grep -i -E 'cert|ca_' || true; find /run/secrets -type f -size +0 2>/dev/null") == ""
    assert built.run("python -c 'import six, tomli'") == ""


async def test_an_engine_that_is_away_is_named(settings: Settings, tmp_path: Path) -> None:
    away = {**docker.engine().environment, "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}
    with pytest.raises(ToolMissing, match="does not answer") as caught:
        await DockerEngine.open(settings, away)
    assert "DOCKER_HOST" in caught.value.hint


async def drain(events: AsyncGenerator[Event, None]) -> None:
    async with contextlib.aclosing(events):
        async for _ in events:
            pass


def sleeping(mark: str) -> bool:
    """Whether a process in a build has this in its command line."""
    found = subprocess.run(["pgrep", "--full", "--", mark], capture_output=True, text=True).stdout.split()
    return any(
        "docker" not in Path(f"/proc/{number}/comm").read_text() for number in found if Path(f"/proc/{number}").exists()
    )


def layers(image: str) -> list[str]:
    found: list[str] = json.loads(docker.engine().run("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))
    return found


def notebook(source: str) -> str:
    cell: dict[str, object] = {
        "cell_type": "code",
        "metadata": {},
        "source": f"{source}\n3 + 4",
        "outputs": [],
        "execution_count": None,
        "id": "a",
    }
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
