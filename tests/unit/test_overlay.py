"""Overlays: what lies below is there and stays as it is; what is installed lands on top and wins."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from registry.overlay import Overlay, create_overlay, site_packages


def _write_wheel(folder: Path, name: str, version: str, *, command: bool = False) -> Path:
    """A wheel of one module that knows its version."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"import sys\nversion = {version!r}\ndef main(): print(version, sys.prefix)\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        if command:
            wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name}-run = {name}:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def _run(overlay: Overlay, *argv: str | Path) -> str:
    environment = {**os.environ, **overlay.variables("/usr/bin:/bin")}
    for name in ("PIP_FIND_LINKS", "PYTHONPATH"):
        environment.pop(name, None)
    ended = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in folder.rglob("*"):
        if "__pycache__" not in path.parts and path.is_file():
            found[str(path)] = (path.stat().st_mtime_ns, path.stat().st_size)
    return found


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real environment with pip, a package with a command, a `.pth` file and a kernel's logo."""
    path = tmp_path_factory.mktemp("lower") / "environment"
    venv.create(path, with_pip=True, symlinks=True)
    wheels = tmp_path_factory.mktemp("wheels")
    below = _write_wheel(wheels, "below", "1.0", command=True)
    subprocess.run([path / "bin" / "pip", "install", "-q", "--no-index", below], check=True, timeout=60)
    extra = tmp_path_factory.mktemp("extra")
    (extra / "by_pth.py").write_text("place = __file__\n")
    (site_packages(path) / "extra.pth").write_text(f"{extra}\n")
    kernel = path / "share" / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "logo-64x64.png").write_bytes(b"png")
    return path


@pytest.fixture
def overlay(lower: Path, tmp_path: Path) -> Overlay:
    return create_overlay(tmp_path / "over lay", [lower])


def test_packages_of_the_lower_environment_are_there(overlay: Overlay, lower: Path) -> None:
    out = _run(overlay, overlay.python, "-c", "import below, sys; print(below.__file__); print(sys.prefix)")
    file, prefix = out.splitlines()
    assert Path(file).is_relative_to(lower)
    assert Path(prefix) == overlay.path


def test_pth_files_of_the_lower_environment_are_honoured(overlay: Overlay) -> None:
    assert "extra" in _run(overlay, overlay.python, "-c", "import by_pth; print(by_pth.place)")


@pytest.mark.parametrize("pip", [["pip"], ["pip3"], ["python", "-m", "pip"]])
def test_what_pip_installs_lands_in_the_overlay_and_wins(
    overlay: Overlay, lower: Path, tmp_path: Path, pip: list[str]
) -> None:
    before = _listing(lower)
    newer = _write_wheel(tmp_path, "below", "2.0")
    _run(overlay, *pip, "install", "-q", "--no-index", newer)
    assert _run(overlay, "python", "-c", "import below; print(below.version)").strip() == "2.0"
    assert (site_packages(overlay.path) / "below.py").exists()
    assert _listing(lower) == before


def test_pip_lists_both(overlay: Overlay, tmp_path: Path) -> None:
    _run(overlay, "pip", "install", "-q", "--no-index", _write_wheel(tmp_path, "ontop", "3.0"))
    listed = {item["name"]: item["version"] for item in json.loads(_run(overlay, "pip", "list", "--format=json"))}
    assert listed["below"] == "1.0"
    assert listed["ontop"] == "3.0"


def test_pip_cannot_remove_what_lies_below(overlay: Overlay, lower: Path) -> None:
    before = _listing(lower)
    _run(overlay, "pip", "uninstall", "-y", "below")
    assert _listing(lower) == before


def test_commands_of_the_lower_environment_run_in_the_overlay(overlay: Overlay, tmp_path: Path) -> None:
    _run(overlay, "pip", "install", "-q", "--no-index", _write_wheel(tmp_path, "below", "2.0"))
    assert _run(overlay, "below-run").split(maxsplit=1) == ["2.0", f"{overlay.path}\n"]


def test_an_overlay_over_an_overlay_sees_both(overlay: Overlay, lower: Path, tmp_path: Path) -> None:
    _run(overlay, "pip", "install", "-q", "--no-index", _write_wheel(tmp_path, "below", "2.0"))
    session = create_overlay(tmp_path / "session", [overlay.path, lower])
    assert _run(session, "python", "-c", "import below; print(below.version)").strip() == "2.0"
    paths = json.loads(_run(session, "python", "-c", "import json, sys; print(json.dumps(sys.path))"))
    wanted = [str(site_packages(path)) for path in (session.path, overlay.path, lower)]
    assert [path for path in paths if path in wanted] == wanted


def test_the_kernel_runs_the_overlay_and_keeps_the_logo(overlay: Overlay) -> None:
    folder = overlay.path / "share" / "jupyter" / "kernels" / "python3"
    kernel = json.loads((folder / "kernel.json").read_text())
    assert kernel["argv"][0] == str(overlay.python)
    assert kernel["display_name"] == "Python 3 (ipykernel)"
    assert (folder / "logo-64x64.png").read_bytes() == b"png"


def test_sources_that_moved_come_first(lower: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old" / "src", tmp_path / "new" / "src"
    for folder, text in ((old, "old"), (new, "new")):
        folder.mkdir(parents=True)
        (folder / "edited.py").write_text(f"text = {text!r}\n")
    pth = site_packages(lower) / "edited.pth"
    pth.write_text(f"{old}\n")
    try:
        plain = create_overlay(tmp_path / "plain", [lower])
        moved = create_overlay(tmp_path / "moved", [lower], moved={tmp_path / "old": tmp_path / "new"})
        command = "import edited; print(edited.text)"
        assert _run(plain, "python", "-c", command) == "old\n"
        assert _run(moved, "python", "-c", command) == "new\n"
    finally:
        pth.unlink()


def test_its_interpreter_is_the_one_below_all(overlay: Overlay) -> None:
    assert overlay.python.resolve() == Path(sys.executable).resolve()


def test_what_strangers_planted_below_is_not_followed(lower: Path, tmp_path: Path) -> None:
    """Whoever builds an environment can put anything into it."""
    secret = tmp_path / "secret"
    secret.write_text("#!/bin/sh\nsecret\n")
    hostile = tmp_path / "hostile"
    shutil.copytree(lower, hostile, symlinks=True)
    logos = hostile / "share" / "jupyter" / "kernels" / "python3"
    logos.mkdir(parents=True, exist_ok=True)
    for name in ("logo-32x32.png", "logo-64x64.png"):
        (logos / name).unlink(missing_ok=True)
    (logos / "logo-32x32.png").symlink_to(secret)
    os.mkfifo(logos / "logo-64x64.png")
    os.mkfifo(site_packages(hostile) / "pipe.pth")
    made = create_overlay(tmp_path / "overlay", [hostile], moved={tmp_path / "a": tmp_path / "b"})
    assert not list(made.path.rglob("logo-32x32.png"))
    assert not list(made.path.rglob("logo-64x64.png"))
    (hostile / "pyvenv.cfg").unlink()
    (hostile / "pyvenv.cfg").symlink_to(secret)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        create_overlay(tmp_path / "other", [hostile])
