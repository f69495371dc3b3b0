"""The box: real bubblewrap, real files."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bindery.sandbox import Sandbox, find_sandbox, inherited, no_sandbox


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a secret, an environment and a folder to work in."""
    path = tmp_path / "data"
    for name in ("environment", "own", "other"):
        (path / name).mkdir(parents=True)
    (path / "secret").write_text("secret\n")
    (path / "environment" / "module.py").write_text("x = 1\n")
    (path / "other" / "theirs").write_text("theirs\n")
    return path


@pytest.fixture
def sandbox(data: Path) -> Sandbox:
    found = asyncio.run(find_sandbox(enabled=True, hidden=[data]))
    if not found.active:
        pytest.skip(found.reason)
    return found


def _shell(sandbox: Sandbox, script: str, data: Path) -> subprocess.CompletedProcess[str]:
    argv = sandbox.wrap(["/bin/sh", "-c", script], writable=[data / "own"], readable=[data / "environment"])
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, cwd="/")


def test_the_data_directory_is_hidden(sandbox: Sandbox, data: Path) -> None:
    assert _shell(sandbox, f"cat {data}/secret", data).returncode != 0
    assert sorted(_shell(sandbox, f"ls {data}", data).stdout.split()) == ["environment", "own"]


def test_what_is_readable_can_be_read_and_not_written(sandbox: Sandbox, data: Path) -> None:
    assert _shell(sandbox, f"cat {data}/environment/module.py", data).stdout == "x = 1\n"
    assert _shell(sandbox, f"echo y > {data}/environment/module.py", data).returncode != 0
    assert _shell(sandbox, f"rm -rf {data}/environment", data).returncode != 0
    assert (data / "environment" / "module.py").read_text() == "x = 1\n"


def test_what_is_writable_can_be_written(sandbox: Sandbox, data: Path) -> None:
    assert _shell(sandbox, f"echo mine > {data}/own/file", data).returncode == 0
    assert (data / "own" / "file").read_text() == "mine\n"


def test_the_system_is_read_only(sandbox: Sandbox, data: Path) -> None:
    assert _shell(sandbox, "touch /usr/bindery-was-here", data).returncode != 0
    assert not Path("/usr/bindery-was-here").exists()


def test_nothing_can_be_added_to_the_system(sandbox: Sandbox, data: Path) -> None:
    assert _shell(sandbox, "touch /bindery-was-here || touch /var/bindery-was-here", data).returncode != 0


def test_the_system_is_complete(sandbox: Sandbox, data: Path) -> None:
    seen = _shell(sandbox, "ls -A / /usr /etc /var", data).stdout.split()
    names = {path.name for folder in ("/usr", "/etc", "/var") for path in Path(folder).iterdir()}
    assert names <= set(seen)
    assert {"bin", "lib", "dev", "proc", "sys", "tmp"} <= set(seen)
    assert _shell(sandbox, "readlink -f /bin", data).stdout.strip() == str(Path("/bin").resolve())


def test_what_is_mounted_in_a_masked_place_is_not_taken_along(sandbox: Sandbox) -> None:
    options = sandbox.wrap(["/bin/true"])
    shown = [words[1] for words in itertools.pairwise(options) if words[0].startswith("--ro-bind")]
    masked = {words[1] for words in itertools.pairwise(options) if words[0] == "--tmpfs"}
    assert "/" not in shown
    assert not masked & set(shown)


def test_nothing_can_be_unhidden(sandbox: Sandbox, data: Path) -> None:
    script = f"umount {data}; mount -o remount,rw /; unshare -Urm umount {data}; cat {data}/secret"
    assert "secret\n" not in _shell(sandbox, script, data).stdout


def test_temporary_files_are_private(sandbox: Sandbox, data: Path) -> None:
    assert _shell(sandbox, "echo x > /tmp/bindery-private-file", data).returncode == 0
    assert not Path("/tmp/bindery-private-file").exists()


def test_homes_are_hidden_and_the_interpreter_is_not(sandbox: Sandbox, data: Path) -> None:
    visible = _shell(sandbox, f"ls -A {Path.home()}", data).stdout.split()
    prefix = Path(sys.base_prefix)
    kept = {prefix.relative_to(Path.home()).parts[0]} if prefix.is_relative_to(Path.home()) else set()
    assert set(visible) <= kept
    assert _shell(sandbox, f"{Path(sys.executable).resolve()} -c 'import json'", data).returncode == 0


def test_other_processes_are_not_to_be_seen(sandbox: Sandbox, data: Path) -> None:
    assert _shell(sandbox, f"test -e /proc/{os.getpid()}/environ", data).returncode != 0


def test_links_lead_into_what_is_writable(sandbox: Sandbox, data: Path) -> None:
    argv = sandbox.wrap(
        ["/bin/sh", "-c", f"echo x > {data}/place/file; ln {data}/own/a {data}/place/b"],
        writable=[data / "own"],
        links={data / "place": data / "own" / "draft"},
    )
    (data / "own" / "draft").mkdir()
    (data / "own" / "a").write_text("a")
    subprocess.run(argv, check=True, timeout=30, cwd="/")
    assert (data / "own" / "draft" / "file").read_text() == "x\n"
    assert (data / "own" / "draft" / "b").samefile(data / "own" / "a")


def test_what_it_leaves_running_ends(sandbox: Sandbox, data: Path) -> None:
    _shell(sandbox, f"(setsid sh -c 'exec 9>{data}/own/lock; flock 9; sleep 1000' &) ; sleep 0.1", data)
    ended = subprocess.run(["flock", "-w", "5", data / "own" / "lock", "true"], check=False, timeout=30)
    assert ended.returncode == 0


def test_switched_off_it_changes_nothing(data: Path) -> None:
    off = asyncio.run(find_sandbox(enabled=False, hidden=[data]))
    assert not off.active
    assert off.reason == "switched off by setting"
    assert off.wrap(["ls", Path("/x")], writable=[data]) == ["ls", "/x"]


def test_a_machine_without_bubblewrap_has_none(tmp_path: Path) -> None:
    found = asyncio.run(find_sandbox(enabled=True, path=str(tmp_path)))
    assert (found.active, found.reason) == (False, "bubblewrap is not installed")


def test_bubblewrap_that_does_not_work_is_not_used(tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    found = asyncio.run(find_sandbox(enabled=True, path=str(tmp_path)))
    assert not found.active
    assert "No permissions to create new namespace" in found.reason


def test_credentials_and_personal_folders_are_not_inherited() -> None:
    home = str(Path.home() / "bin")
    environment = inherited({"AWS_SECRET": "x", "LANG": "C", "PATH": f"{home}:/opt/tool/bin", "SSL_CERT_FILE": "/c"})
    assert environment == {"LANG": "C", "SSL_CERT_FILE": "/c", "PATH": environment["PATH"]}
    assert environment["PATH"].startswith("/opt/tool/bin:")
    assert home not in environment["PATH"]


def test_no_sandbox_says_why() -> None:
    assert no_sandbox("because").reason == "because"


def test_other_disks_are_hidden(sandbox: Sandbox, data: Path) -> None:
    places = [place for place in ("/mnt", "/media", "/srv") if Path(place).is_dir()]
    assert _shell(sandbox, f"ls -A {' '.join(places)} | grep -v ':$' | grep .", data).stdout == ""
    options = sandbox.wrap(["/bin/true"], readable=[data / "environment"])
    assert [options[options.index(place) - 1] for place in places] == ["--tmpfs"] * len(places)
