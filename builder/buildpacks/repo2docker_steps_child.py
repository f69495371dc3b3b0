"""The program that asks the repo2docker library how it would build one folder, in a process of its own.

The argument is a folder with a repository's configuration files; the answer is one JSON object on standard output.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import repo2docker.buildpacks.base as base
from repo2docker.app import Repo2Docker
from repo2docker.utils import get_platform

_ENTRY = {"repo2docker-entrypoint": "/usr/local/bin", "python3-login": "/usr/local/bin"}


def main(folder: str) -> int:
    """Print how the library would build the folder."""
    logging.disable(logging.CRITICAL)
    application = Repo2Docker()
    with contextlib.chdir(folder):
        try:
            answer = _answer(application)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer))
    return 0


def _answer(application: Any) -> dict[str, Any]:
    packs = (pack_class(base_image=application.base_image) for pack_class in application.buildpacks)
    pack = next(pack for pack in packs if pack.detect())
    pack.platform = get_platform()
    # The planner has read apt.txt, more strictly: its step is left out.
    known = set(base.BaseImage.get_preassemble_scripts(pack))
    early = [step for step in pack.get_preassemble_scripts() if step not in known]
    return {
        "buildpack": type(pack).__name__,
        "packages": sorted({*pack.get_base_packages(), *pack.get_packages()}),
        "build_env": pack.get_build_env(),
        "path": pack.get_path(),
        "files": _files(pack),
        "build": pack.get_build_scripts(),
        "env": pack.get_env(),
        "early_files": pack.get_preassemble_script_files(),
        "early": early,
        "late": pack.get_assemble_scripts(),
        "start": pack.get_start_script(),
        "error": "",
    }


def _files(pack: Any) -> dict[str, str]:
    """The library's own files, by their place in the image."""
    found = {}
    for source, place in pack.get_build_script_files().items():
        _, path = pack.generate_build_context_filename(source)
        found[place] = base64.b64encode(Path(path).read_bytes()).decode()
    for name, folder in _ENTRY.items():
        found[f"{folder}/{name}"] = base64.b64encode((Path(base.HERE) / name).read_bytes()).decode()
    return found


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(str(Path(sys.argv[1]).resolve())))
