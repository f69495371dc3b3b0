"""The command line, as a newcomer types it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from bindery.data_dir import announced
from bindery.process import Finished, run
from tests.support.git_server import GitServer, Repository, git
from tests.support.service import Service, environment, processes_of, sessions_that_run
from tests.support.terminal import Terminal
from tests.support.wait import until

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
    return await run(argv, env={"COLUMNS": "200"} | environment(**variables), timeout_seconds=seconds)


async def plan_of(data_dir: Path, repository: str | Path) -> dict[str, Any]:
    ended = await bindery("detect", repository, "--json", "--data-dir", data_dir)
    assert ended.returncode == 0, ended.stderr
    facts: dict[str, Any] = json.loads(ended.stdout)
    return facts


#: What `bindery launch` says once it has nothing more to do.
READY = "until you press Ctrl-C"


async def heard(output: asyncio.StreamReader, words: str) -> str:
    """What a program has said once it says the words."""
    said = ""
    async with asyncio.timeout(120):
        while words not in said:
            line = await output.readline()
            assert line, said
            said += line.decode()
    return said


async def started(launch: list[str], git_server: GitServer) -> tuple[asyncio.subprocess.Process, str]:
    """A launch whose session is ready, and what it has said."""
    process = await asyncio.create_subprocess_exec(
        *launch, env=environment(git_server), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    return process, await heard(process.stdout, READY)


async def ended(process: asyncio.subprocess.Process) -> int:
    """The exit code of a program that is about to end."""
    async with asyncio.timeout(30):
        return await process.wait()


NOTHING: tuple[list[psutil.Process], int, bool] = ([], 0, False)


def left_over(data_dir: Path) -> tuple[list[psutil.Process], int, bool]:
    """Processes, sessions by the rows, and whether a service is said to run."""
    return processes_of(data_dir), sessions_that_run(data_dir), announced(data_dir) is not None


def awaited_by(process: psutil.Process) -> set[signal.Signals]:
    """The signals that wait until a process that is suspended goes on."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("ShdPnd:"))
    return {number for number in signal.Signals if mask >> (number - 1) & 1}


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
        words = ("launch", folder.folder, "--path", "a.ipynb", "--no-browser", "--data-dir", service.data_dir)
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


class TestServiceOfItsOwn:
    @pytest_asyncio.fixture(loop_scope="session")
    async def launch(self, service: Service, folder: Repository) -> list[str]:
        """The words of a launch that finds no service."""
        await service.stop()
        folder.commit({"requirements.txt": "six\n"})
        words = ["launch", str(folder.folder), "--no-browser", "--data-dir", str(service.data_dir)]
        return [sys.executable, "-m", "bindery", *words]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    async def test_runs_until_the_command_is_ended(
        self, git_server: GitServer, data_dir: Path, launch: list[str], number: signal.Signals
    ) -> None:
        process, said = await started(launch, git_server)
        assert "Ready: http://127.0.0.1:" in said
        process.send_signal(number)
        assert await ended(process) == 128 + number
        assert left_over(data_dir) == NOTHING

    async def test_ends_in_peace_whatever_signals_follow(
        self, git_server: GitServer, data_dir: Path, launch: list[str]
    ) -> None:
        process, _ = await started(launch, git_server)
        known = announced(data_dir)
        assert known is not None
        served = psutil.Process(known.pid)
        served.suspend()
        # Before it stands still, what comes after may still be taken.
        await until(lambda: served.status() == psutil.STATUS_STOPPED, what="the service stands still")
        process.send_signal(signal.SIGINT)
        await until(lambda: signal.SIGTERM in awaited_by(served), what="the service is asked to end")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        served.resume()
        assert await ended(process) == 128 + signal.SIGINT
        assert left_over(data_dir) == NOTHING

    async def test_ends_with_the_terminal(self, git_server: GitServer, data_dir: Path, launch: list[str]) -> None:
        async with Terminal() as terminal:
            process = await terminal.run(launch, environment(git_server))
            # The service's log is not for who launches.
            assert "[info" not in re.sub(r"\x1b\[[0-9;]*m", "", await heard(terminal.output, READY))
        assert await ended(process) == 128 + signal.SIGHUP
        assert left_over(data_dir) == NOTHING

    async def test_goes_on_without_the_terminal_under_nohup(
        self, git_server: GitServer, data_dir: Path, launch: list[str]
    ) -> None:
        process, _ = await started(["nohup", *launch], git_server)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 128 + signal.SIGTERM
        assert left_over(data_dir) == NOTHING


class TestAnswers:
    @pytest.mark.parametrize("words", [["images"], ["gc", "--dry-run"], ["doctor"]])
    async def test_are_all_that_is_said_on_a_new_data_directory(self, tmp_path: Path, words: list[str]) -> None:
        ended = await bindery(*words, "--data-dir", tmp_path / "data")
        assert ended.stdout
        assert b"database.migrating" not in ended.stdout + ended.stderr

    async def test_a_schema_is_no_more_than_checked(self, tmp_path: Path) -> None:
        ended = await bindery("db", "check", "--data-dir", tmp_path / "data")
        assert ended.returncode == 1
        assert b"There is no database" in ended.stderr
        assert b"bindery db upgrade" in ended.stderr
        assert not (tmp_path / "data").exists()
        for words, said in (
            (["upgrade"], b"The schema is up to date now.\n"),
            (["check"], b"The schema is up to date.\n"),
        ):
            assert (await bindery("db", *words, "--data-dir", tmp_path / "data")).stdout == said

    async def test_count_in_words_that_agree(self, folder: Repository, tmp_path: Path) -> None:
        folder.commit({"requirements.txt": "six\n"})
        ended = await bindery("gc", "--dry-run", "--data-dir", tmp_path / "data")
        assert ended.stdout == b"Would remove 0 images and 0 environments, 0 MiB\n"
        built = await bindery("build", folder.folder, "--data-dir", tmp_path / "data")
        assert built.returncode == 0, built.stderr
        assert built.stderr == b""
        ended = await bindery("images", "--data-dir", tmp_path / "data", COLUMNS="80")
        assert b"\n1 image, 1 environment, " in ended.stdout
        assert folder.folder.as_uri().encode() in ended.stdout


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
    async def test_ends_its_sessions_with_the_terminal(
        self, service: Service, git_server: GitServer, data_dir: Path, folder: Repository
    ) -> None:
        await service.stop()
        folder.commit({"requirements.txt": "six\n"})
        words = [sys.executable, "-m", "bindery", "serve", "--port", "0", "--data-dir", str(data_dir)]
        async with Terminal() as terminal:
            process = await terminal.run(words, environment(git_server))
            await heard(terminal.output, "Ctrl-C stops it")
            launched = await bindery("launch", folder.folder, "--no-browser", "--data-dir", data_dir)
            assert launched.returncode == 0, launched.stderr
        assert await ended(process) == 0
        assert left_over(data_dir) == NOTHING

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
