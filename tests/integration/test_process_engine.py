"""The process engine builds environments and images: real uv, real git, real packages."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from bindery.errors import (
    BinderyError,
    DiskFull,
    EngineCannotServe,
    InstallFailed,
    InvalidDependencyFile,
    PostBuildFailed,
    PythonUnavailable,
    ToolMissing,
    Unsatisfiable,
)
from bindery.settings import BuildSettings, Settings
from builder.engines.base import BuildJob
from builder.engines.installer import Installer, folders
from builder.engines.interpreters import own_interpreter
from builder.engines.leftovers import BUILD_VARIABLE, ROOT_VARIABLE
from builder.engines.process import ProcessEngine
from builder.engines.uv import Bench as EngineBench
from builder.engines.uv import SourceNeeded, Uv, find_uv
from builder.plan import Install, Kind, Plan, Source
from db.events import Event
from registry.directory import DirectoryStore, StoredImage
from registry.overlay import create_overlay, site_packages
from tests.support.builds import builds_running
from tests.support.wait import until

REQUIREMENTS = Install(Source.FILES, ("requirements.txt",))
PROJECT = """
[project]
name = "thing"
version = "1.2"
requires-python = ">=3.9"
dependencies = ["six"]
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
"""
ENGINE = """
import asyncio, pickle, sys
from pathlib import Path
from bindery.settings import Settings
from builder.engines.process import ProcessEngine

async def main():
    job = pickle.loads(Path(sys.argv[2]).read_bytes())
    engine = await ProcessEngine.open(Settings(data_dir=Path(sys.argv[1])))
    for work in (engine.environment, engine.image):
        async for event in work(job):
            print(event.message, end="", flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine") / "data"


@pytest.fixture
async def engine(data_dir: Path) -> ProcessEngine:
    """An engine on a data directory that all tests here share: its cache is warm after the first."""
    return await ProcessEngine.open(Settings(data_dir=data_dir))


@pytest.fixture
def store(data_dir: Path) -> DirectoryStore:
    return DirectoryStore(data_dir)


@dataclass
class Repository:
    """A repository with one commit of `files`; a value that is a `Path` becomes a link to it."""

    folder: Path
    files: dict[str, str | Path]
    executable: tuple[str, ...] = ()
    commit: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        for name, content in self.files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                path.symlink_to(content)
            else:
                path.write_text(content)
        for name in self.executable:
            (self.folder / name).chmod(0o755)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "first commit")
        self.commit = self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        return git(self.folder, *arguments)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    argv = ["git", *identity, *arguments]
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Bench:
    """Makes jobs: each repository, plan and key is the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def job(
        self,
        contents: dict[str, str | Path] | None = None,
        /,
        *installs: Install,
        python: str = "",
        executable: tuple[str, ...] = (),
        key: str = "",
        **plan: Any,
    ) -> BuildJob:
        self.count += 1
        name = f"{self.folder.name.replace('_', '-').lower()}-{self.count}"
        repository = Repository(self.folder / f"repository-{self.count}", contents or {"README.md": "x\n"}, executable)
        usual = Plan(
            kind=Kind.PYTHON,
            buildpack="uv",
            python=python or f"{sys.version_info.major}.{sys.version_info.minor}",
            python_reason="the default",
            config_folder="",
            files=tuple(path for step in installs for path in step.paths if step.source is not Source.PROJECT),
            apt=(),
            installs=installs,
            needs_tree=False,
            post_build=None,
            start=None,
            warnings=(),
            environment_key=key or f"key-{name}",
        )
        return BuildJob(
            build_id=f"build-{name}",
            image=f"image-{name}:{repository.commit}",
            plan=replace(usual, **plan),
            repository=repository.folder / ".git",
            commit=repository.commit,
            repo_url="https://user:password@example.org/a/b",
            ref_url="https://example.org/a/b/tree/main",
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def _all(events: AsyncGenerator[Event, None]) -> str:
    return "".join([event.message async for event in events])


async def _build(engine: ProcessEngine, store: DirectoryStore, job: BuildJob) -> tuple[StoredImage, str]:
    log = await _all(engine.environment(job)) + await _all(engine.image(job))
    image = store.find(job.image)
    assert image is not None
    return image, log


def _python(image: StoredImage, script: str) -> str:
    python = (image.overlay or image.environment) / "bin" / "python"
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    return done.stdout.strip()


def _leftovers(store: DirectoryStore, job: BuildJob) -> list[Path]:
    path = store.environment_path(job.plan.environment_key)
    places = [path, store.draft_path(path), store.root / "builds" / job.build_id, store.image_path(job.image)]
    return [place for place in places if place.exists() or place.is_symlink()]


# --- environments --------------------------------------------------------------------------------------------


async def test_requirements_become_an_environment(engine: ProcessEngine, store: DirectoryStore, bench: Bench) -> None:
    job = bench.job(
        {"requirements.txt": "-r more.txt\n", "more.txt": "six==1.16.0\n"},
        REQUIREMENTS,
        files=("requirements.txt", "more.txt"),
    )
    image, log = await _build(engine, store, job)
    assert "Building environment" in log
    assert "Resolved" in log
    assert _python(image, "import six, ipykernel, pip; print(six.__version__)") == "1.16.0"
    info = await engine.find(job.plan.environment_key)
    assert info is not None
    assert "six==1.16.0" in info.lock.splitlines()
    assert (image.environment / "lock.txt").read_text() == info.lock
    assert not info.joined
    assert image.server == await engine.server_environment()
    assert list(site_packages(image.environment).glob("__pycache__/six.*.pyc"))
    assert not [path for path in _leftovers(store, job) if "builds" in path.parts]


async def test_a_known_environment_is_reused(engine: ProcessEngine, store: DirectoryStore, bench: Bench) -> None:
    await _build(engine, store, bench.job(key="shared-key"))
    job = bench.job({"other": "commit"}, key="shared-key")
    log = await _all(engine.environment(job))
    assert log == "Environment shared-key is known, built just now: reused\n"
    _, log = await _build(engine, store, job)
    assert "Building" not in log
    assert "is there: reused" in (await _build(engine, store, job))[1]


async def test_environments_share_files_with_the_cache(
    engine: ProcessEngine, store: DirectoryStore, bench: Bench
) -> None:
    first, _ = await _build(engine, store, bench.job())
    second, _ = await _build(engine, store, bench.job())
    for name in ("ipykernel/kernelapp.py", f"ipykernel/__pycache__/kernelapp.{sys.implementation.cache_tag}.pyc"):
        assert (site_packages(first.environment) / name).samefile(site_packages(second.environment) / name)


async def test_two_builds_of_one_environment_make_it_once(engine: ProcessEngine, bench: Bench) -> None:
    jobs = [bench.job(key="twice"), bench.job(key="twice")]
    logs = sorted(await asyncio.gather(*(_all(engine.environment(job)) for job in jobs)), key=len)
    assert "is being built already: waiting" in logs[0]
    assert "was built meanwhile: reused" in logs[0]
    assert "is ready" in logs[1]


async def test_the_server_environment_is_made_once(tmp_path: Path, data_dir: Path) -> None:
    engine = await ProcessEngine.open(Settings(data_dir=tmp_path / "data"))
    said: list[str] = []

    async def say(line: str) -> None:
        said.append(line)

    paths = await asyncio.gather(*(engine.server_environment(say) for _ in range(3)))
    assert len(set(paths)) == 1
    assert "".join(said).count("Making the server environment") == 1
    packages = {path.name.split("-")[0] for path in site_packages(paths[0]).glob("*.dist-info")}
    assert {"jupyterlab", "jupyter_server", "terminado", "ptyprocess"} <= packages
    assert not {"rfc3987_syntax", "ipykernel"} & packages
    assert not [path for path in site_packages(paths[0]).rglob("*.py") if path.stat().st_nlink > 1]
    done = subprocess.run([paths[0] / "bin" / "jupyter-lab", "--version"], capture_output=True, check=True)  # noqa: ASYNC221
    assert done.stdout


@pytest.mark.parametrize("requirement", ["jupyterlab==4.4.3", "nbgitpuller"])
async def test_a_server_or_its_extension_joins_the_environments(
    engine: ProcessEngine, store: DirectoryStore, bench: Bench, requirement: str
) -> None:
    image, log = await _build(engine, store, bench.job({"requirements.txt": f"{requirement}\n"}, REQUIREMENTS))
    assert image.joined
    assert image.server == image.environment
    assert "it runs from this environment" in log
    lock = (image.environment / "lock.txt").read_text()
    assert requirement in lock
    assert "jupyterlab==4." in lock
    assert "rfc3987-syntax" not in lock


async def test_locked_text_is_installed_as_it_is(engine: ProcessEngine, store: DirectoryStore, bench: Bench) -> None:
    step = Install(Source.TEXT, text="python-dateutil==2.8.2\nsix==1.16.0\n", locked=True)
    image, _ = await _build(engine, store, bench.job(None, step))
    assert {"python-dateutil==2.8.2", "six==1.16.0"} <= set((image.environment / "lock.txt").read_text().splitlines())


async def test_rendered_text_keeps_its_constraints(engine: ProcessEngine, store: DirectoryStore, bench: Bench) -> None:
    files: dict[str, str | Path] = {"bounds/constraints.txt": "six<1.17\n"}
    step = Install(Source.TEXT, ("bounds/constraints.txt",), text="six\n")
    image, log = await _build(engine, store, bench.job(files, step))
    assert _python(image, "import six; print(six.__version__)") == "1.16.0"
    assert "reused" not in log
    against = Install(Source.TEXT, ("bounds/constraints.txt",), text="six==1.17.0\n", locked=True)
    with pytest.raises(Unsatisfiable):
        await _build(engine, store, bench.job(files, against))


async def test_uv_lock_and_pylock_are_installed(
    engine: ProcessEngine, store: DirectoryStore, bench: Bench, tmp_path: Path
) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    project = PROJECT.partition("[build-system]")[0].replace('"six"', '"six==1.16.0"')
    (folder / "pyproject.toml").write_text(project)
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    assert uv is not None
    _uv = [uv, "--no-config", "--quiet"]
    subprocess.run([*_uv, "lock"], cwd=folder, check=True)  # noqa: ASYNC221
    export = ["export", "--no-emit-project", "--format", "pylock.toml", "-o", "pylock.toml"]
    subprocess.run([*_uv, *export], cwd=folder, check=True)  # noqa: ASYNC221
    files: dict[str, str | Path] = {"pyproject.toml": project, "uv.lock": (folder / "uv.lock").read_text()}
    step = Install(Source.UV_LOCK, ("uv.lock",), locked=True)
    image, _ = await _build(engine, store, bench.job(files, step, files=("uv.lock", "pyproject.toml")))
    assert _python(image, "import six; print(six.__version__)") == "1.16.0"
    pylock = {"pylock.toml": (folder / "pylock.toml").read_text()}
    image, log = await _build(
        engine, store, bench.job(dict(pylock), Install(Source.PYLOCK, ("pylock.toml",), locked=True))
    )
    assert _python(image, "import six; print(six.__version__)") == "1.16.0"
    assert "experimental" not in log


async def test_the_repository_itself_is_installed(engine: ProcessEngine, store: DirectoryStore, bench: Bench) -> None:
    job = bench.job(
        {"pyproject.toml": PROJECT, "thing.py": "x = 'installed'\n"}, Install(Source.PROJECT, (".",)), needs_tree=True
    )
    image, log = await _build(engine, store, job)
    assert _python(image, "import six, thing; print(thing.x)") == "installed"
    assert not (image.environment / "source").exists()
    assert str(store.root) not in log


async def test_an_editable_install_points_to_files_that_stay(
    engine: ProcessEngine, store: DirectoryStore, bench: Bench
) -> None:
    files: dict[str, str | Path] = {
        "requirements.txt": "-e .\n",
        "pyproject.toml": PROJECT,
        "src/thing/__init__.py": "x = 'editable'\n",
    }
    image, _ = await _build(engine, store, bench.job(files, REQUIREMENTS, needs_tree=True))
    source = image.environment / "source"
    assert _python(image, "import thing; print(thing.__file__)") == str(source / "src/thing/__init__.py")
    assert "-e ." in (image.environment / "lock.txt").read_text().splitlines()
    edited = image.content.parent.parent / "edited"
    overlay = create_overlay(edited / "overlay", [image.environment], moved={source: image.content})
    argv = (overlay.python, "-c", "import thing; print(thing.__file__)")
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd="/")  # noqa: ASYNC221
    assert done.stdout.strip() == str(image.content / "src/thing/__init__.py")


async def test_setup_py_and_source_distributions_are_built_in_the_box(
    engine: ProcessEngine, store: DirectoryStore, bench: Bench, tmp_path: Path
) -> None:
    secret = store.root / "secret"
    secret.write_text("x")
    spy = tmp_path / "written-by-setup"
    setup = (
        "import pathlib\nfrom setuptools import setup\n"
        f"assert not pathlib.Path({str(secret)!r}).exists()\n"
        f"try:\n    pathlib.Path({str(spy)!r}).write_text('x')\nexcept OSError:\n    pass\n"
        "setup(name='thing', version='1', py_modules=['thing'], install_requires=['docopt'])\n"
    )
    if not engine.sandbox.active:
        pytest.skip(f"no sandbox here: {engine.sandbox.reason}")
    job = bench.job({"setup.py": setup, "thing.py": "x = 1\n"}, Install(Source.PROJECT, (".",)), needs_tree=True)
    image, _ = await _build(engine, store, job)
    assert _python(image, "import docopt, thing; print(thing.x)") == "1"
    assert not spy.exists()


async def test_links_that_a_build_plants_are_not_followed(
    engine: ProcessEngine, store: DirectoryStore, bench: Bench, tmp_path: Path
) -> None:
    treasure = tmp_path / "treasure"
    treasure.write_text("gold")
    setup = (
        "import os, pathlib\nfrom setuptools import setup\n"
        "target = pathlib.Path.cwd().parent\n"
        "for name in ('lock.txt', 'environment.json', '.environment.json.draft'):\n"
        "    if not (target / name).is_symlink():\n"
        f"        (target / name).symlink_to({str(treasure)!r})\n"
        "(target.parent / '..+beside').mkdir(exist_ok=True)\n"
        "setup(name='thing', version='1', py_modules=['thing'])\n"
    )
    beside = store.root.parent / "beside"
    beside.mkdir()
    job = bench.job({"setup.py": setup, "thing.py": "x = 1\n"}, Install(Source.PROJECT, (".",)), needs_tree=True)
    image, _ = await _build(engine, store, job)
    planted = store.root / "cache" / "making" / "..+beside"
    assert not planted.exists()
    assert treasure.read_text() == "gold"
    for name in ("lock.txt", "environment.json"):
        assert (image.environment / name).is_file()
        assert not (image.environment / name).is_symlink()
    planted.mkdir()
    await engine.reap(builds_running())
    assert beside.is_dir()
    assert not planted.exists()


async def test_code_that_runs_in_a_build_cannot_write_to_what_others_run(
    engine: ProcessEngine, store: DirectoryStore, bench: Bench
) -> None:
    if not engine.sandbox.active:
        pytest.skip(f"no sandbox here: {engine.sandbox.reason}")
    other, _ = await _build(engine, store, bench.job({"requirements.txt": "six==1.16.0\n"}, REQUIREMENTS))
    cache = store.root / "cache"
    foreign = cache / "making" / "environments+other"
    foreign.mkdir()
    (foreign / "other.py").write_text("x = 1\n")
    attack = (
        "import pathlib\nfrom setuptools import setup\n"
        f"for place in {[str(cache), str(other.environment)]!r}:\n"
        "    for path in pathlib.Path(place).rglob('*.py*'):\n"
        "        try:\n"
        "            if path.name.startswith(('six', 'other')):\n"
        "                path.write_bytes(b'raise SystemExit')\n"
        "        except OSError:\n"
        "            pass\n"
        "setup(name='thing', version='1', py_modules=['thing'], install_requires=['six==1.16.0'])\n"
    )
    installs = [Install(Source.FILES, ("requirements.txt",)), Install(Source.PROJECT, (".",))]
    files: dict[str, str | Path] = {"setup.py": attack, "thing.py": "x = 1\n", "requirements.txt": "six==1.16.0\n"}
    image, _ = await _build(engine, store, bench.job(files, *installs, needs_tree=True))
    assert _python(image, "import six, thing; print(six.__version__)") == "1.16.0"
    assert _python(other, "import six; print(six.__version__)") == "1.16.0"
    assert (foreign / "other.py").read_text() == "x = 1\n"
    shared = {(path.stat().st_dev, path.stat().st_ino) for path in cache.rglob("*") if path.is_file()}
    own = [path for path in image.environment.rglob("*.py*") if path.is_file() and not path.is_symlink()]
    assert own
    assert not [path for path in own if (path.stat().st_dev, path.stat().st_ino) in shared]
    await engine.reap(builds_running())


async def test_a_package_without_a_wheel_is_built_apart_from_the_cache(
    engine: ProcessEngine, store: DirectoryStore, bench: Bench
) -> None:
    image, log = await _build(engine, store, bench.job({"requirements.txt": "docopt\nsix\n"}, REQUIREMENTS))
    assert "has to be built from its source" in log
    assert "error" not in log.lower()
    assert _python(image, "import docopt; print(docopt.__version__)") == "0.6.2"
    assert (site_packages(image.environment) / "six.py").stat().st_nlink == 1
    assert not list((store.root / "cache" / "uv").glob("archive-v*/**/docopt.py"))


async def test_a_wheel_that_brings_its_own_python_does_not_get_the_cache(
    engine: ProcessEngine, store: DirectoryStore, bench: Bench
) -> None:
    """What it puts in Python's place is run where it harms only itself."""
    wheel = bench.folder / "odd-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("odd-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
        archive.writestr("odd-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("odd-1.dist-info/RECORD", "")
        archive.writestr("odd-1.data/data/pyvenv.cfg", "home = /nowhere\n")
    async with _installing(engine, store, bench.folder, private=False) as installer:
        with pytest.raises(SourceNeeded):
            await installer.install("--no-deps", wheel, readable=[wheel])


async def test_what_keeps_python_from_starting_is_named(
    engine: ProcessEngine, store: DirectoryStore, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.engines.installer._INSPECT_SECONDS", 2.0)
    async with _installing(engine, store, bench.folder, private=True) as installer:
        await installer.install("--no-deps", "six")
        shutil.rmtree(installer.bench.home / "uv-cache")
        os.mkfifo(site_packages(installer.target) / "x.pth")
        os.mkfifo(site_packages(installer.target) / "x.py")
        await installer.compile_bytecode()
        with pytest.raises(InstallFailed, match="did not start within 2 seconds"):
            await installer.install("--no-deps", "pip")


@asynccontextmanager
async def _installing(
    engine: ProcessEngine, store: DirectoryStore, folder: Path, *, private: bool
) -> AsyncGenerator[Installer, None]:
    """Hands that make an environment in the engine's data directory, which is thrown away."""

    async def say(line: str) -> None:
        return None

    target, home, sources = store.environment_path(folder.name), folder / "home", folder / "sources"
    box = EngineBench("build", store.root, home, engine.sandbox, say, 60)
    uv = Uv(find_uv(), store.root / "cache" / "uv")
    async with folders(folder / "scratch", home / "tmp", sources, remove=home):
        store.begin(target)
        installer = Installer(uv, box, own_interpreter(), folder / "scratch", sources, target, private)
        await installer.create()
        try:
            yield installer
        finally:
            store.discard(target)


async def test_another_python_is_used_where_there_is_one(
    data_dir: Path, store: DirectoryStore, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3.*"))
    mine = f"3.{sys.version_info.minor}"
    found = [
        path for path in others if path.name in ("python3.10", "python3.12", "python3.13") and mine not in path.name
    ]
    if not found:
        pytest.skip("no other Python is installed here")
    monkeypatch.setenv("PATH", f"{found[0].parent}{os.pathsep}{os.environ['PATH']}")
    engine = await ProcessEngine.open(Settings(data_dir=data_dir))
    version = found[0].name.removeprefix("python")
    assert version in engine.context.available_pythons
    assert engine.context.available_pythons[0] == mine
    image, _ = await _build(engine, store, bench.job({"requirements.txt": "six\n"}, REQUIREMENTS, python=version))
    assert _python(image, "import six, sys; print('%d.%d' % sys.version_info[:2])") == version


async def test_a_python_that_is_not_to_be_had_is_refused(engine: ProcessEngine, bench: Bench) -> None:
    with pytest.raises(PythonUnavailable) as caught:
        engine.check(bench.job(python="3.5").plan)
    assert engine.context.default_python in caught.value.hint
    with pytest.raises(PythonUnavailable):
        await _all(engine.environment(bench.job(python="3.5")))


# --- what cannot be built ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        (Kind.CONDA, "environment.yml"),
        (Kind.R, "install.R"),
        (Kind.JULIA, "Project.toml"),
        (Kind.NIX, "default.nix"),
        (Kind.DOCKERFILE, "Dockerfile"),
    ],
)
async def test_other_kinds_are_refused_by_name(engine: ProcessEngine, bench: Bench, kind: Kind, file: str) -> None:
    with pytest.raises(EngineCannotServe, match=f"{file}.*docker or kubernetes"):
        engine.check(bench.job(kind=kind, files=(file,)).plan)


async def test_apt_packages_are_refused_unless_allowed(engine: ProcessEngine, data_dir: Path, bench: Bench) -> None:
    plan = bench.job(apt=("tree", "graphviz")).plan
    with pytest.raises(EngineCannotServe, match=r"apt\.txt.*tree, graphviz"):
        engine.check(plan)
    lenient = await ProcessEngine.open(Settings(data_dir=data_dir, build=BuildSettings(allow_missing_apt=True)))
    assert "tree, graphviz" in lenient.check(plan)[0]


@pytest.mark.parametrize(
    ("requirements", "error", "words"),
    [
        ("six==1.16.0\nsix==1.17.0\n", Unsatisfiable, r"six==1\.16\.0"),
        ("surely-no-such-package-of-bindery\n", Unsatisfiable, "surely-no-such-package-of-bindery"),
        ("six\n!!! what is this\n", InvalidDependencyFile, r"requirements\.txt:2"),
        ("six\n\x00\x01\x02binary\n", InvalidDependencyFile, "requirements.txt"),
        ("six==1.16.0 --hash=sha256:" + "0" * 64 + "\n", InstallFailed, "Hash mismatch"),
    ],
)
async def test_bad_requirements_are_named(
    engine: ProcessEngine,
    store: DirectoryStore,
    bench: Bench,
    requirements: str,
    error: type[BinderyError],
    words: str,
) -> None:
    job = bench.job({"requirements.txt": requirements}, REQUIREMENTS)
    with pytest.raises(error, match=words) as caught:
        await _all(engine.environment(job))
    assert caught.value.hint
    assert str(store.root) not in caught.value.message
    assert _leftovers(store, job) == []


async def test_without_uv_the_cure_is_named(tmp_path: Path, bench: Bench) -> None:
    engine = await ProcessEngine.open(Settings(data_dir=tmp_path / "data"), uv=tmp_path / "no-uv")
    with pytest.raises(ToolMissing, match="uv is not installed"):
        await _all(engine.environment(bench.job()))


async def test_a_full_disk_is_named(tmp_path: Path, bench: Bench) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], capture_output=True, check=False)  # noqa: ASYNC221
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        engine = await ProcessEngine.open(Settings(data_dir=disk / "data"))
        with pytest.raises(DiskFull):
            await _all(engine.environment(bench.job({"requirements.txt": "numpy\n"}, REQUIREMENTS)))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)  # noqa: ASYNC221


# --- images --------------------------------------------------------------------------------------------------


async def test_content_is_a_clean_work_tree(
    engine: ProcessEngine, store: DirectoryStore, bench: Bench, tmp_path: Path
) -> None:
    files: dict[str, str | Path] = {
        "n.ipynb": "{}",
        "data/inside": Path("../n.ipynb"),
        "out": Path("../../../etc/passwd"),
        "absolute": Path("/etc/passwd"),
        "step": Path("data"),
        "step-out": Path("step/../../x"),
        "run.sh": "#!/bin/sh\n",
        ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
        "big.bin": "version https://git-lfs.github.com/spec/v1\n",
    }
    job = bench.job(files, start="run.sh")
    image, log = await _build(engine, store, job)
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", image.content, copy], check=True)  # noqa: ASYNC221
    for folder in (image.content, copy):
        for name in (".bash_history", ".ipython", ".config", ".cache"):
            (folder / name).mkdir()
            (folder / name / "x").write_text("x")
        assert git(folder, "status", "--porcelain") == ""
        assert git(folder, "log", "-1", "--format=%H %s") == f"{job.commit} first commit"
        assert git(folder, "remote", "get-url", "origin") == "https://example.org/a/b"
        assert (folder / "data/inside").read_text() == "{}"
    assert not any((image.content / name).is_symlink() for name in ("out", "absolute", "step-out"))
    assert (image.content / "step").is_symlink()
    assert "absolute, out, step-out" in log
    assert "Git LFS" in log
    assert os.access(image.content / "run.sh", os.X_OK)
    assert image.start == "run.sh"
    assert image.labels["org.opencontainers.image.source"] == "https://example.org/a/b"
    assert image.labels["org.opencontainers.image.revision"] == job.commit
    assert "password" not in (image.content / ".git/config").read_text()


async def test_an_older_commit_and_submodules(engine: ProcessEngine, store: DirectoryStore, bench: Bench) -> None:
    job = bench.job({"a": "1\n"})
    folder = job.repository.parent
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{job.commit},module")
    git(folder, "commit", "-q", "-m", "with a submodule")
    git(folder, "rm", "-q", "--cached", "module")
    git(folder, "commit", "-q", "--allow-empty", "-m", "later")
    commit = git(folder, "rev-parse", "HEAD~1")
    older = BuildJob("build-older", f"older:{commit}", job.plan, job.repository, commit, job.repo_url, job.ref_url)
    image, log = await _build(engine, store, older)
    assert git(image.content, "rev-parse", "HEAD") == commit
    assert git(image.content, "rev-list", "--count", "HEAD") == "1"
    assert "Submodules are not fetched; their folders are empty: module" in log


async def test_post_build_works_in_an_overlay(engine: ProcessEngine, store: DirectoryStore, bench: Bench) -> None:
    script = (
        "pip install -q six==1.16.0\necho in $PWD as home $HOME\npython -c 'import sys; print(sys.prefix)' > made\n"
    )
    job = bench.job({"binder/postBuild": script}, post_build="binder/postBuild")
    image, log = await _build(engine, store, job)
    assert image.overlay is not None
    assert "in /images/" in log
    assert (image.content / "made").read_text().strip() == str(image.overlay)
    assert (site_packages(image.overlay) / "six.py").exists()
    assert _python(image, "import six; print(six.__version__)") == "1.16.0"
    assert "six==1.16.0" not in (image.environment / "lock.txt").read_text()
    assert git(image.content, "status", "--porcelain") == "?? made"
    assert not image.joined


async def test_post_build_cannot_reach_other_data(engine: ProcessEngine, store: DirectoryStore, bench: Bench) -> None:
    if not engine.sandbox.active:
        pytest.skip(f"no sandbox here: {engine.sandbox.reason}")
    (store.root / "secret").write_text("the secret\n")
    script = f"cat {store.root}/secret\necho x >> $(python -c 'import ipykernel; print(ipykernel.__file__)')\ntrue\n"
    _, log = await _build(engine, store, bench.job({"postBuild": script}, post_build="postBuild"))
    assert "the secret" not in log
    assert "Read-only file system" in log


async def test_post_build_that_changes_the_server_gets_its_own(
    engine: ProcessEngine, store: DirectoryStore, bench: Bench
) -> None:
    script = "#!/bin/sh\nset -e\njupyter labextension list\n"
    image, log = await _build(engine, store, bench.job({"postBuild": script}, post_build="postBuild"))
    assert image.joined
    assert image.server == image.overlay
    assert "JupyterLab v" in log


async def test_a_failing_post_build_leaves_no_image(engine: ProcessEngine, store: DirectoryStore, bench: Bench) -> None:
    job = bench.job({"postBuild": "#!/bin/sh\necho about to fail\nexit 3\n"}, post_build="postBuild")
    lines: list[str] = []

    async def build() -> None:
        async for event in engine.image(job):
            lines.append(event.message)

    with pytest.raises(PostBuildFailed, match="exit code 3"):
        await build()
    assert "about to fail\n" in lines
    assert store.find(job.image) is None
    assert not store.image_path(job.image).exists()
    assert await engine.find(job.plan.environment_key) is not None


# --- endings -------------------------------------------------------------------------------------------------


def _children_of(build_id: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(BUILD_VARIABLE) == build_id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _endless(bench: Bench) -> BuildJob:
    script = "#!/bin/sh\n(setsid sleep 600 &)\necho started\nsleep 600\n"
    return bench.job({"postBuild": script}, post_build="postBuild")


@pytest.mark.parametrize("boxed", [True, False])
@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_ending_the_generator_ends_all_it_started(
    data_dir: Path, store: DirectoryStore, bench: Bench, way: str, boxed: bool
) -> None:
    engine = await ProcessEngine.open(Settings(data_dir=data_dir, build=BuildSettings(sandbox=boxed)))
    job = _endless(bench)
    started = asyncio.Event()

    async def build() -> None:
        events = engine.image(job)
        try:
            async for event in events:
                if event.message == "started\n":
                    started.set()
                    if way == "close":
                        return
        finally:
            await events.aclose()

    task = asyncio.create_task(build())
    async with asyncio.timeout(60):
        await started.wait()
    if way == "cancel":
        task.cancel()
    await asyncio.wait({task})
    assert _children_of(job.build_id) == []
    assert store.find(job.image) is None
    assert not store.image_path(job.image).exists()
    assert not (store.root / "builds" / job.build_id).exists()


class Tidying:
    """Installers that have done their work, and are held up while they tidy up: for ever, the one of this turn."""

    def __init__(self, turn: int) -> None:
        self.reached = asyncio.Event()
        self._turn = turn

    @asynccontextmanager
    async def folders(self, *made: Path, remove: Path) -> AsyncGenerator[None, None]:
        async with folders(*made, remove=remove):
            yield
        self._turn -= 1
        if self._turn < 0:
            self.reached.set()
            await asyncio.Event().wait()


@pytest.mark.parametrize("turn", range(3), ids=["environment", "server", "image"])
async def test_what_others_can_find_stays_when_its_maker_is_cancelled(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    engine = await ProcessEngine.open(Settings(data_dir=tmp_path / "data"))
    store = DirectoryStore(tmp_path / "data")
    job = bench.job()
    tidying = Tidying(turn)
    monkeypatch.setattr("builder.engines.process.folders", tidying.folders)

    def found() -> list[object]:
        servers = [store.server(each.name) for each in (store.root / "servers").glob("*")]
        return [*store.list_environments(), *store.list_images(), *filter(None, servers)]

    making = asyncio.create_task(_all(engine.image(job)))
    async with asyncio.timeout(120):
        await tidying.reached.wait()
    before = found()
    making.cancel()
    await asyncio.wait({making})
    assert found() == before
    assert len(before) == turn


async def test_without_a_box_what_post_build_leaves_running_ends_too(
    data_dir: Path, store: DirectoryStore, bench: Bench
) -> None:
    engine = await ProcessEngine.open(Settings(data_dir=data_dir, build=BuildSettings(sandbox=False)))
    job = bench.job({"postBuild": "setsid sleep 600 &\npip install -q six\necho done\n"}, post_build="postBuild")
    image, log = await _build(engine, store, job)
    assert log.endswith("done\n")
    assert _python(image, "import six; print(six.__name__)") == "six"
    assert _children_of(job.build_id) == []


@pytest.mark.parametrize("line", ["Building environment", "Installed", "started"])
async def test_a_killed_engine_leaves_nothing_that_looks_finished(
    engine: ProcessEngine, data_dir: Path, store: DirectoryStore, bench: Bench, tmp_path: Path, line: str
) -> None:
    job = _endless(bench)
    (tmp_path / "job").write_bytes(pickle.dumps(job))
    argv = [sys.executable, "-c", ENGINE, str(data_dir), str(tmp_path / "job")]
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while line not in (await process.stdout.readline()).decode():
            pass
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert store.find(job.image) is None
    if line != "started":
        assert await engine.find(job.plan.environment_key) is None
    await engine.reap(builds_running())
    await until(lambda: not _children_of(job.build_id), 10)
    assert not store.image_path(job.image).exists()
    assert not (store.root / "builds" / job.build_id).exists()
    if line != "started":
        assert _leftovers(store, job) == []
    log = await _all(engine.environment(job))
    assert "is ready" in log or "reused" in log


async def test_reap_ends_processes_of_other_builds_only(engine: ProcessEngine, data_dir: Path, tmp_path: Path) -> None:
    async def sleeper(build: str, root: Path) -> asyncio.subprocess.Process:
        environment = {BUILD_VARIABLE: build, ROOT_VARIABLE: str(root)}
        return await asyncio.create_subprocess_exec("/bin/sleep", "600", env=environment)

    gone, kept, foreign = await sleeper("old", data_dir), await sleeper("new", data_dir), await sleeper("old", tmp_path)
    try:
        await engine.reap(builds_running("new"))
        async with asyncio.timeout(10):
            assert await gone.wait() == -signal.SIGKILL
        assert kept.returncode is None
        assert foreign.returncode is None
    finally:
        for process in (kept, foreign):
            process.kill()
            await process.wait()
