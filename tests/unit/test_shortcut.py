"""Short ways to folders with long paths: there while somebody uses them, gone afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bindery.errors import SessionFailed
from launcher.spawners.shortcut import Shortcut

HOLDER = """
import sys
from pathlib import Path
from launcher.spawners.shortcut import Shortcut
Shortcut(Path(sys.argv[1]), Path(sys.argv[2])).open()
print("held", flush=True)
sys.stdin.read()
"""


def shortcut(folder: Path, digit: str = "0") -> Shortcut:
    return Shortcut(folder / f"bindery-0-{digit * 12}", folder / "target")


def test_it_leads_to_the_target_until_the_last_user_closes(tmp_path: Path) -> None:
    first, second = shortcut(tmp_path), shortcut(tmp_path)
    for one in (first, second):
        one.open()
    assert first.way.readlink() == tmp_path / "target"
    first.close()
    assert second.way.is_symlink()
    second.close()
    assert not second.path.exists()


def test_what_a_dead_service_left_is_removed_and_what_a_live_one_uses_is_kept(tmp_path: Path) -> None:
    dead, live, new = (shortcut(tmp_path, digit) for digit in "abc")
    other = tmp_path / "bindery-0-notes"
    other.mkdir()
    argv = [sys.executable, "-c", HOLDER, str(dead.path), str(tmp_path / "target")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == b"held\n"
        live.open()
        assert dead.way.is_symlink()
        service.kill()
    new.open()
    assert not dead.path.exists()
    assert live.way.is_symlink()
    assert other.is_dir()


def test_a_place_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    taken = shortcut(tmp_path)
    taken.path.mkdir()
    taken.path.chmod(0o777)
    (taken.path / "theirs").touch()
    with pytest.raises(SessionFailed, match="somebody else"):
        taken.open()
    assert (taken.path / "theirs").exists()
