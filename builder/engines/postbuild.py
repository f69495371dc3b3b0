"""postBuild: the repository's own last step, on top of its environment."""

from __future__ import annotations

from pathlib import Path

from bindery.errors import PostBuildFailed
from builder.engines.environment import join
from builder.engines.installer import Installer
from builder.engines.joining import SERVER_COMMANDS, extends_server
from registry.directory import StoredEnvironment
from registry.overlay import create_overlay

#: What is read of a postBuild to see what it is about, in bytes.
_LOOK_BYTES = 1024 * 1024


async def run_post_build(installer: Installer, script: str, *, content: Path, environment: StoredEnvironment) -> bool:
    """Run `script`, a path in `content`, in an overlay of `environment` made in the installer's target.

    Returns whether the overlay runs the server too.
    It does when the script changes the server, which it could not do to the shared one.
    """
    overlay = installer.target
    layer = create_overlay(overlay, [environment.path])
    joined = False
    if not environment.joined and SERVER_COMMANDS.search(_text(content / script)):
        await installer.bench.say("postBuild changes the Jupyter server: it gets one of its own\n")
        await join(installer, environment.lock)
        joined = True
    bench = installer.bench
    code, _ = await bench.run(
        # A shell, not exec: it runs scripts without a #! line too.
        ["/bin/sh", "-c", '"$0"', f"./{script}"],
        environment={
            **bench.environment,
            **layer.variables(bench.environment["PATH"]),
            "HOME": str(content),
            "REPO_DIR": str(content),
            "PIP_NO_CACHE_DIR": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "UV_CACHE_DIR": str(bench.home / "uv-cache"),
        },
        cwd=content,
        writable=[content, overlay],
        readable=[environment.path, installer.interpreter.prefix],
    )
    if code != 0:
        raise PostBuildFailed(f"{script} ended with exit code {code}.")
    if not environment.joined and not joined and extends_server(overlay):
        await join(installer, environment.lock)
        joined = True
    await installer.compile_bytecode()
    return joined


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_LOOK_BYTES).decode(errors="replace")
