"""The program: one command for each kind of step of an image's build.

server FOLDER, environment FOLDER, post FOLDER, where FOLDER holds `step.json` and what that names.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.engines.environment import OtherVersions, grow_environment, join, make_environment
from builder.engines.joining import SERVER_COMMANDS, extends_server
from builder.engines.server import make_server
from builder.inside.hands import OTHER_VERSIONS, InsideHands
from builder.plan import Plan

#: What an environment is, beside it in the image.
FACTS = "bindery.json"
#: Ends a build step in which postBuild failed, which has told why.
POST_BUILD_FAILED = 66
_SECRETS = Path("/run/secrets")
_AUTHORITIES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
#: A repository's own settings of uv are not for builds of it.
_UV_SETTINGS = {"UV_NO_PROGRESS": "1", "UV_NO_CONFIG": "1", "NO_COLOR": "1"}
_LOOK_BYTES = 1024 * 1024


def main() -> None:
    """Run the command that the arguments name."""
    command, folder = sys.argv[1], Path(sys.argv[2])
    step = json.loads((folder / "step.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="bindery-") as scratch:
        hands = InsideHands(
            python=_interpreter(step["python"]),
            target=Path(step["target"]),
            sources=Path(step["sources"]),
            scratch=Path(scratch),
            environment={**os.environ, **site_settings(), **_UV_SETTINGS},
            wheels_only="wheels-only" in sys.argv[3:],
        )
        asyncio.run({"server": _server, "environment": _environment, "post": _post}[command](hands, step))


def site_settings(secrets: Path = _SECRETS) -> dict[str, str]:
    """What this site needs to reach package indexes: secrets of the build, of which nothing stays in the image."""
    found: dict[str, str] = {}
    bundle = secrets / "bindery-ca"
    if bundle.exists():
        found |= dict.fromkeys(_AUTHORITIES, str(bundle)) | {"NODE_EXTRA_CA_CERTS": str(bundle)}
    settings = secrets / "bindery-settings"
    if settings.exists():
        words = shlex.split(settings.read_text(encoding="utf-8"))
        found |= dict(word.split("=", 1) for word in words)
    return found


async def _server(hands: InsideHands, step: Mapping[str, Any]) -> None:
    await make_server(hands)


async def _environment(hands: InsideHands, step: Mapping[str, Any]) -> None:
    plan = Plan.from_json(json.dumps(step["plan"]))
    lock, joined = await _grown_or_made(plan, hands, step)
    _name_interpreter(hands.target)
    _write_facts(hands.target, {"lock": lock, "joined": joined, "apt": _apt_versions(plan.apt)})


async def _grown_or_made(plan: Plan, hands: InsideHands, step: Mapping[str, Any]) -> tuple[str, bool]:
    if "lower" not in step:
        return await make_environment(plan, hands, step.get("preferred", ""))
    hands.adopt()
    try:
        return await grow_environment(plan, hands, step["lower"]), False
    except OtherVersions:
        raise SystemExit(OTHER_VERSIONS) from None


async def _post(hands: InsideHands, step: Mapping[str, Any]) -> None:
    """Run postBuild; give the environment a server of its own where the script changes the server."""
    script = Path(step["script"])
    facts = json.loads((hands.target / FACTS).read_text(encoding="utf-8"))
    if not facts["joined"] and SERVER_COMMANDS.search(_text(hands.sources / script)):
        await hands.say("postBuild changes the Jupyter server: it gets one of its own\n")
        await join(hands)
        facts["joined"] = True
    code = _run_script(script, hands.sources)
    if code != 0:
        await hands.say(f"{script} ended with exit code {code}.\n")
        raise SystemExit(POST_BUILD_FAILED)
    if not facts["joined"] and extends_server(hands.target):
        await join(hands)
        facts["joined"] = True
    _name_interpreter(hands.target)
    await hands.compile_bytecode()
    _write_facts(hands.target, {**facts, "lock": await hands.freeze()})


def _run_script(script: Path, folder: Path) -> int:
    """Its exit code. A shell, not exec: it runs scripts without a #! line too."""
    no_caches = {"PIP_NO_CACHE_DIR": "1", "UV_NO_CACHE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment = {**os.environ, **site_settings(), **no_caches}
    return subprocess.run(["/bin/sh", "-c", '"$0"', f"./{script}"], env=environment, cwd=folder).returncode


def _interpreter(asked: str) -> Path:
    """A path as it is; a version is one that uv brought into the image."""
    if "/" in asked:
        return Path(asked)
    words = ["uv", "python", "find", "--managed-python", "--no-python-downloads", asked]
    return Path(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())


def _name_interpreter(target: Path) -> None:
    """Let the kernel name its interpreter: a server takes the bare word "python" for its own."""
    path = target / "share" / "jupyter" / "kernels" / "python3" / "kernel.json"
    if path.exists():
        kernel = json.loads(path.read_text(encoding="utf-8"))
        kernel["argv"][0] = str(target / "bin" / "python")
        path.write_text(json.dumps(kernel, indent=1), encoding="utf-8")


def _apt_versions(packages: tuple[str, ...]) -> list[str]:
    names = [package.partition("=")[0] for package in packages]
    if not names:
        return []
    words = ["dpkg-query", "--show", "--showformat", "${Package}=${Version}\\n", *names]
    said = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return sorted(line for line in said.splitlines() if not line.endswith("="))


def _write_facts(target: Path, facts: Mapping[str, Any]) -> None:
    (target / FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True), encoding="utf-8")


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_LOOK_BYTES).decode(errors="replace")
