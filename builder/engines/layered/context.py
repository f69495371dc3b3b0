"""What a build in an image is given: our program, its step, and files of the repository."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shlex
import shutil
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from yarl import URL

from bindery.errors import ToolMissing
from bindery.process import run
from bindery.settings import BuildSettings
from builder.engines.uv import find_uv

#: Our modules that run inside of a build. They need nothing but each other and the standard library.
MODULES = {
    "bindery": ("__init__.py", "errors.py"),
    "builder": ("__init__.py", "plan.py", "tree.py"),
    "builder.engines": (
        *("__init__.py", "commands.py", "environment.py", "hands.py", "joining.py", "server.py"),
        "server-requirements.txt",
    ),
    "builder.inside": ("__init__.py", "compiled.py", "hands.py", "program.py"),
}
SCRIPTS = (
    *("apt.sh", "entrypoint.sh", "facts.sh", "place.sh", "post.sh", "python.sh", "server.sh", "settings.sh"),
    *("system.sh", "user.sh"),
)
_MAIN = "from builder.inside.program import main\n\nmain()\n"
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ftp_proxy")
_UV_SECONDS = 300.0
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def tool_files() -> dict[str, bytes]:
    """Our program, `tools`, which Python can run as a folder, and our scripts."""
    files = {"tools/__main__.py": _MAIN.encode()}
    for package, names in MODULES.items():
        for name in names:
            files[f"tools/{package.replace('.', '/')}/{name}"] = (resources.files(package) / name).read_bytes()
    for name in SCRIPTS:
        files[f"scripts/{name}"] = (resources.files("builder.inside") / name).read_bytes()
    return files


def tools_digest() -> str:
    """Equal exactly where builds do the same."""
    digest = hashlib.sha256()
    for name, data in sorted(tool_files().items()):
        digest.update(f"{name}\n{len(data)}\n".encode() + data)
    for template in sorted(resources.files("builder").joinpath("templates").iterdir(), key=lambda item: item.name):
        digest.update(template.read_bytes())
    return digest.hexdigest()


def write_context(folder: Path, step: Mapping[str, Any]) -> None:
    """Put our program and one step into a build's context."""
    for name, data in tool_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "step").mkdir(parents=True, exist_ok=True)
    (folder / "step" / "step.json").write_text(json.dumps(step, sort_keys=True), encoding="utf-8")


async def linux_uv(cache: Path, architecture: str) -> Path:
    """A uv for images of this architecture: our own where it fits, else its package for Linux."""
    program = find_uv()
    if program is None:
        raise ToolMissing("uv is not installed on the server.")
    machine = _MACHINES.get(architecture, architecture)
    if os.uname().sysname == "Linux" and os.uname().machine == machine:
        return program
    said = await run([program, "--version"], env=os.environ, timeout_seconds=_UV_SECONDS)
    version = said.stdout.decode().split()[1]
    folder = cache / f"uv-{version}-{machine}"
    found = folder / "bin" / "uv"
    if not found.exists():
        words = ["pip", "install", "--quiet", "--no-deps", "--target", str(folder), f"uv=={version}"]
        words += ["--python-platform", f"{machine}-manylinux_2_28", "--only-binary", ":all:"]
        ended = await run([program, *words], env=os.environ, timeout_seconds=_UV_SECONDS)
        if ended.returncode != 0:
            raise ToolMissing(f"uv for {machine} cannot be had: {ended.stderr.decode(errors='replace')[-300:]}")
    return found


@dataclass(frozen=True)
class Site:
    """What this site needs to reach the world: builds get it as secrets and proxy settings, images never."""

    settings: BuildSettings

    async def secrets(self, folder: Path, *, login: bool = True) -> dict[str, Path]:
        """Write the secrets of a build into a folder; without `login` the index's address comes without its login."""
        return await asyncio.to_thread(self._secrets, folder, login)

    def proxies(self) -> dict[str, str]:
        """Build arguments that every builder knows and keeps out of images."""
        names = [name for low in _PROXIES for name in (low, low.upper())]
        return {name: os.environ[name] for name in names if os.environ.get(name)}

    def _secrets(self, folder: Path, login: bool) -> dict[str, Path]:
        found: dict[str, Path] = {}
        if self.settings.ca_bundle is not None:
            found["bindery-ca"] = _private(folder / "ca", _bundle(self.settings.ca_bundle))
        if index := self.settings.index_url.get_secret_value():
            address = index if login else str(URL(index).with_user(None))
            lines = [f"{name}={shlex.quote(address)}\n" for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL")]
            found["bindery-settings"] = _private(folder / f"settings-{login}", "".join(lines).encode())
        return found


def _bundle(extra: Path) -> bytes:
    """The site's authorities and those that everybody trusts."""
    try:
        own = extra.read_bytes()
    except OSError as error:
        hint = "Correct BINDERY_BUILD__CA_BUNDLE."
        raise ToolMissing(f"The file of certificate authorities cannot be read: {error}", hint=hint) from error
    common = ssl.get_default_verify_paths().cafile
    return own + b"\n" + (Path(common).read_bytes() if common and Path(common) != extra else b"")


def _private(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path


def copy_program(program: Path, folder: Path) -> None:
    """Put uv into a build's context."""
    shutil.copyfile(program, folder / "scripts" / "uv")
