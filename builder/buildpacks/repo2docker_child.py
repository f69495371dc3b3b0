"""The program that asks the repo2docker library about folders, in a process of its own.

The library changes directory, keeps global state and may end its process. Arguments are folders with a repository's
configuration files; the answer is one JSON list on standard output, an object for each.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

from repo2docker.app import Repo2Docker
from repo2docker.buildpacks.base import BaseImage
from repo2docker.buildpacks.python import PythonBuildPack
from repo2docker.utils import get_platform

_APT = re.compile(r"apt-get install --yes --no-install-recommends (.*) && \\")
_PIP = re.compile(r'KERNEL_PYTHON_PREFIX}/bin/pip install --no-cache-dir (?:-r "([^"]+)"|(\.)$)', re.M)


class _Sentences(logging.Handler):
    """Keeps what the library warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage().strip())


def main(folders: list[str]) -> int:
    """Print what the library says about each folder."""
    application = Repo2Docker()
    sentences = _Sentences()
    logger = logging.getLogger("repo2docker")
    logger.handlers, logger.propagate = [sentences], False
    answers = []
    for folder in folders:
        sentences.said.clear()
        with contextlib.chdir(folder):
            answers.append({**_answer(application), "warnings": list(dict.fromkeys(sentences.said))})
    sys.stdout.write(json.dumps(answers))
    return 0


def _answer(application: Any) -> dict[str, Any]:
    buildpack = ""
    try:
        pack = _pick(application)
        buildpack = type(pack).__name__
        python = pack.python_version if hasattr(type(pack), "python_version") else ""
        return {"buildpack": buildpack, "python": python, **_steps(pack), "error": ""}
    except Exception as error:
        return {"buildpack": buildpack, "python": "", "error": f"{type(error).__name__}: {error}"}


def _pick(application: Any) -> Any:
    for pack_class in application.buildpacks:
        pack = pack_class(base_image=application.base_image)
        if pack.detect():
            return pack
    return application.default_buildpack(base_image=application.base_image)


def _steps(pack: Any) -> dict[str, Any]:
    if not isinstance(pack, BaseImage):
        return {}
    pack.platform = get_platform()
    # Raises for versions of Python that the library does not have.
    pack.get_build_script_files()
    found = _APT.search(_text(BaseImage.get_preassemble_scripts(pack)))
    scripts = ""
    if isinstance(pack, PythonBuildPack):
        scripts = _text(PythonBuildPack.get_preassemble_scripts(pack) + PythonBuildPack.get_assemble_scripts(pack))
    return {
        "apt": found[1].split() if found else [],
        "pip": [file or "." for file, _ in _PIP.findall(scripts)],
        "post_build": "".join(pack.get_post_build_scripts()),
        "start": (BaseImage.get_start_script(pack) or "").removeprefix("${REPO_DIR}/"),
    }


def _text(scripts: list[tuple[str, str]]) -> str:
    return "\n".join(script for _, script in scripts)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main([str(Path(folder).resolve()) for folder in sys.argv[1:]]))
