"""A directory store with real environments and images, as the process engine's builder leaves them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import uv

from registry.directory import DirectoryStore, StoredEnvironment, StoredImage
from registry.overlay import create_overlay, site_packages

#: What the server environment leaves out: it costs most of a server's start, and nothing in it needs it.
OVERRIDE = "rfc3987-syntax ; sys_platform == 'never'\n"
#: What an image's content tells Git to overlook: the home folder is the work tree.
HOME_FILES = "/.cache/\n/.config/\n/.ipython/\n/.jupyter/\n/.local/\n/.npm/\n/.bash_history\n"


@dataclass(frozen=True)
class StoredImages:
    """A store with one image per way of starting a server."""

    store: DirectoryStore
    server: Path
    #: The server is forked.
    shared: str
    #: The repository's environment runs the server.
    joined: str
    #: Starts under the repository's start script.
    scripted: str
    #: Its start script ends with an error.
    broken: str


def add_classic_image(images: StoredImages) -> str:
    """An image from before JupyterLab: its environment has nothing but the classic notebook."""
    _environment(images.store, "classic", "notebook<7", "ipykernel", "pip", "setuptools<80", joined=True)
    return _image(images.store, "example/classic:1", "classic", images.store.environment_path("classic"))


def make_stored_images(root: Path) -> StoredImages:
    """Install the environments and make the images."""
    store = DirectoryStore(root)
    server = store.server_path("server")
    _install(server, root, "jupyterlab", "ipykernel")
    store.finish_server("server", {"created_at": time.time()})
    _environment(store, "shared", "ipykernel", "pip", joined=False)
    _environment(store, "joined", "jupyterlab", "ipykernel", "pip", joined=True)
    script = 'export FROM_START=yes\nexec "$@"\n'
    return StoredImages(
        store,
        server,
        shared=_image(store, "example/shared:1", "shared", server),
        joined=_image(store, "example/joined:1", "joined", store.environment_path("joined")),
        scripted=_image(store, "example/scripted:1", "shared", server, start=script),
        broken=_image(store, "example/broken:1", "shared", server, start="#!/bin/sh\necho cannot go on\nexit 3\n"),
    )


def add_overlaid_image(images: StoredImages, module: str) -> str:
    """An image with an overlay, as postBuild leaves one: it has a module and a command of this name."""
    reference = "example/overlaid:1"
    store = images.store
    overlay = create_overlay(store.image_path(reference) / "overlay", [store.environment_path("shared")])
    (site_packages(overlay.path) / f"{module}.py").write_text("")
    program = overlay.path / "bin" / module
    program.write_text("#!/bin/sh\necho from the overlay\n")
    program.chmod(0o755)
    extension = overlay.path / "share" / "jupyter" / "labextensions" / module
    extension.mkdir(parents=True)
    build = {"load": "static/entry.js", "extension": "./extension"}
    described = {"name": module, "version": "1", "jupyterlab": {"_build": build}}
    (extension / "package.json").write_text(json.dumps(described))
    return _image(store, reference, "shared", images.server, overlay=overlay.path)


def _environment(store: DirectoryStore, key: str, *packages: str, joined: bool) -> None:
    path = store.environment_path(key)
    _install(path, store.root, *packages)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    store.finish_environment(StoredEnvironment(key, path, version, "", joined, 0, time.time()))


def _install(path: Path, scratch: Path, *packages: str) -> None:
    scratch.mkdir(parents=True, exist_ok=True)
    override = scratch / "override.txt"
    override.write_text(OVERRIDE)
    _uv("venv", "--python", sys.executable, str(path))
    python = str(path / "bin" / "python")
    _uv("pip", "install", "--python", python, "--override", str(override), "--compile-bytecode", *packages)


def _uv(*arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([uv.find_uv_bin(), "--quiet", *arguments], env=environment, check=True, timeout=300)


def _image(
    store: DirectoryStore,
    reference: str,
    key: str,
    server: Path,
    *,
    start: str | None = None,
    overlay: Path | None = None,
) -> str:
    content = store.image_path(reference) / "content"
    content.mkdir(parents=True)
    (content / "README.md").write_text(f"# {reference}\n")
    if start is not None:
        (content / "start").write_text(start)
        (content / "start").chmod(0o755)
    _git(content, "init", "--quiet", "--initial-branch=main")
    (content / ".git" / "info" / "exclude").write_text(HOME_FILES)
    _git(content, "add", "--all")
    _git(content, "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "--message=The first")
    store.finish_image(
        StoredImage(
            reference=reference,
            content=content,
            environment=store.environment_path(key),
            overlay=overlay,
            server=server,
            start="start" if start is not None else None,
            environment_key=key,
            labels={},
            size_bytes=0,
            created_at=time.time(),
        )
    )
    return reference


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, timeout=30)
