"""The command line, as a newcomer types it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from bindery.process import Finished, run
from tests.support.git_server import GitServer, Repository, git
from tests.support.service import Service, environment

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def folder(tmp_path: Path) -> Repository:
    """A repository in a folder of this machine."""
    path = tmp_path / "my work"
    path.mkdir()
    git(path, "init", "-q")
    return Repository(path)


async def bindery(*words: str | Path, seconds: float = 120, **variables: str) -> Finished:
    argv = [sys.executable, "-m", "bindery", *words]
    return await run(argv, env=environment(**variables) | {"COLUMNS": "200"}, timeout_seconds=seconds)


async def plan_of(data_dir: Path, repository: str | Path, **variables: str) -> dict[str, Any]:
    ended = await bindery("detect", repository, "--json", "--data-dir", data_dir, **variables)
    assert ended.returncode == 0, ended.stderr
    facts: dict[str, Any] = json.loads(ended.stdout)
    return facts


class TestDetect:
    async def test_the_plan_of_a_folder(self, data_dir: Path, folder: Repository) -> None:
        folder.commit(
            {"requirements.txt": "six\n", "apt.txt": "tree\n", "postBuild": "#!/bin/sh\n", "start": "#!/bin/sh\n"}
        )
        facts = await plan_of(data_dir, folder.folder)
        assert facts["kind"] == "python"
        assert facts["python"] == f"{sys.version_info[0]}.{sys.version_info[1]}"
        assert facts["apt"] == ["tree"]
        assert facts["files"] == ["requirements.txt", "apt.txt"] or set(facts["files"]) == {
            "requirements.txt",
            "apt.txt",
        }
        assert (facts["post_build"], facts["start"], facts["needs_tree"]) == ("postBuild", "start", False)
        assert len(facts["environment_key"]) == 32
        assert facts["refused"]["code"] == "engine_cannot_serve"

    @pytest.mark.parametrize(
        ("files", "kind"),
        [
            ({"environment.yml": "dependencies: [python=3.11]\n"}, "conda"),
            ({"runtime.txt": "r-4.3-2024-01-01\n"}, "r"),
            ({"Project.toml": "[deps]\n"}, "julia"),
            ({"default.nix": "{}\n"}, "nix"),
            ({"Dockerfile": "FROM scratch\n"}, "dockerfile"),
            ({"Pipfile": "[packages]\nsix = '*'\n"}, "pipfile"),
        ],
    )
    async def test_every_kind_has_a_name(
        self, data_dir: Path, folder: Repository, files: dict[str, str | bytes], kind: str
    ) -> None:
        folder.commit(files)
        assert (await plan_of(data_dir, folder.folder))["kind"] == kind

    async def test_a_folder_without_git_says_what_to_do(self, data_dir: Path, tmp_path: Path) -> None:
        ended = await bindery("detect", tmp_path, "--data-dir", data_dir)
        assert ended.returncode == 1
        assert b"not a Git repository" in ended.stderr
        assert b"git init" in ended.stderr

    async def test_a_folder_that_does_not_exist_is_named(self, data_dir: Path, tmp_path: Path) -> None:
        ended = await bindery("detect", tmp_path / "nowhere", "--data-dir", data_dir)
        assert ended.returncode == 1
        assert b"There is no folder" in ended.stderr

    async def test_a_mistyped_ref_gets_its_neighbours(self, data_dir: Path, folder: Repository) -> None:
        folder.commit({"a": "b"})
        ended = await bindery("detect", folder.folder, "--ref", "mian", "--data-dir", data_dir)
        assert b"Did you mean main?" in ended.stderr
        assert b"Traceback" not in ended.stderr


class TestLaunch:
    async def test_a_folder_on_the_running_service(self, service: Service, folder: Repository) -> None:
        folder.commit({"requirements.txt": "six\n", "a.ipynb": "{}"})
        words = ["launch", folder.folder, "--path", "a.ipynb", "--no-browser", "--data-dir", service.data_dir]
        ended = await bindery(*words)
        assert ended.returncode == 0, ended.stderr
        assert f"Using the service at {service.url}" in ended.stdout.decode()
        assert b"/doc/tree/a.ipynb?token=" in ended.stdout

    async def test_what_fails_says_why(self, service: Service, folder: Repository) -> None:
        folder.commit({"requirements.txt": "numpy==99.99\n"})
        ended = await bindery("launch", folder.folder, "--no-browser", "--data-dir", service.data_dir)
        assert ended.returncode == 1
        assert b"unsatisfiable_requirements" in ended.stderr
        assert b"Hint:" in ended.stderr

    async def test_with_a_service_of_its_own_until_ctrl_c(
        self, service: Service, git_server: GitServer, folder: Repository
    ) -> None:
        await service.stop()
        folder.commit({"requirements.txt": "six\n"})
        argv = [sys.executable, "-m", "bindery", "launch", str(folder.folder), "--no-browser"]
        argv += ["--data-dir", str(service.data_dir)]
        process = await asyncio.create_subprocess_exec(
            *argv, env=environment(git_server), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert process.stdout is not None
        said = ""
        async with asyncio.timeout(120):
            while "until you press Ctrl-C" not in said:
                line = await process.stdout.readline()
                assert line, said
                said += line.decode()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            await process.wait()
        assert "Ready: http://127.0.0.1:" in said
        assert not (service.data_dir / "service.json").exists()
        assert not list((service.data_dir / "sessions").glob("my-work-*"))


class TestBuild:
    async def test_an_image_is_built_without_a_session(self, service: Service, folder: Repository) -> None:
        folder.commit({"requirements.txt": "six\n"})
        ended = await bindery("build", folder.folder, "--data-dir", service.data_dir)
        assert ended.returncode == 0, ended.stderr
        assert b"Built: git-local-" in ended.stdout
        again = await bindery("build", folder.folder, "--data-dir", service.data_dir)
        assert again.returncode == 0, again.stderr
        images = await bindery("images", "--data-dir", service.data_dir)
        assert b"my%20work" in images.stdout

    async def test_only_images_have_names_to_push(self, data_dir: Path, folder: Repository) -> None:
        folder.commit({"requirements.txt": "six\n"})
        ended = await bindery("build", folder.folder, "--tag", "a/b:c", "--data-dir", data_dir)
        assert ended.returncode == 1
        assert b"--engine docker" in ended.stderr


class TestServe:
    async def test_a_port_that_is_taken(self, service: Service, tmp_path: Path) -> None:
        port = service.url.rstrip("/").rpartition(":")[2]
        ended = await bindery("serve", "--port", port, "--data-dir", tmp_path / "other")
        assert ended.returncode == 1
        assert b"(port_taken)" in ended.stderr
        assert b"--port" in ended.stderr

    async def test_a_data_directory_in_use(self, service: Service) -> None:
        ended = await bindery("serve", "--port", "0", "--data-dir", service.data_dir)
        assert ended.returncode == 1
        assert b"(already_running)" in ended.stderr
        assert service.url.encode() in ended.stderr

    async def test_a_public_address_must_be_asked_for_twice(self, tmp_path: Path) -> None:
        ended = await bindery("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", tmp_path / "data")
        assert ended.returncode == 1
        assert b"(unsafe_address)" in ended.stderr
        assert b"--allow-public-address" in ended.stderr

    async def test_a_setting_that_does_not_exist(self, tmp_path: Path) -> None:
        ended = await bindery("doctor", "--data-dir", tmp_path, BINDERY_BUILD__CONCURRENCY="many")
        assert ended.returncode == 2
        assert b"BINDERY_BUILD__CONCURRENCY" in ended.stderr
        other = await bindery("doctor", "--data-dir", tmp_path, BINDERY_BUILD__CONCURENCY="3")
        assert b"BINDERY_BUILD__CONCURENCY is no setting. Did you mean BINDERY_BUILD__CONCURRENCY?" in other.stderr


async def test_doctor_finds_what_this_machine_has(tmp_path: Path) -> None:
    ended = await bindery("doctor", "--data-dir", tmp_path / "data")
    said = ended.stdout.decode()
    for name in ("Python", "Git", "uv", "Sandbox", "Docker", "Database", "Port"):
        assert name in said
    assert ended.returncode == 0, said


async def test_doctor_without_git_says_how_to_get_it(tmp_path: Path) -> None:
    ended = await bindery("doctor", "--data-dir", tmp_path / "data", PATH=str(tmp_path))
    assert ended.returncode == 1
    assert b"Install git" in ended.stdout


class TestLink:
    async def test_the_badge_of_a_page_in_a_browser(self) -> None:
        page = "https://github.com/owner/name/blob/main/a%20b.ipynb"
        ended = await bindery("link", page, "--service", "bindery.example.org", "--format", "markdown")
        assert ended.returncode == 0, ended.stderr
        link = "https://bindery.example.org/v2/gh/owner/name/main?labpath=a%20b.ipynb"
        badge = f"[![Launch in Bindery](https://bindery.example.org/badge_logo.svg)]({link})"
        assert ended.stdout.decode() == f"{badge}\n"

    async def test_what_names_no_repository_is_said_with_a_cure(self) -> None:
        ended = await bindery("link", "nonsense")
        assert (ended.returncode, ended.stdout) == (1, b"")
        assert b"invalid_spec" in ended.stderr
        assert b"Hint: " in ended.stderr
