"""Objects checked by the types that Kubernetes, the Gateway API and the Prometheus Operator publish.

They come with npm packages that follow current versions, and are run by Node.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.npm import installed

_PROGRAM = Path(__file__).with_suffix(".mjs")
_TIMEOUT_SECONDS = 60


def faults(objects: list[dict[str, Any]]) -> list[list[str]]:
    """For each object, what is wrong with it: wrong values, fields that are missing, fields that nobody knows."""
    # As text: a program in a file would look for packages beside that file.
    words = ["node", "--input-type=module", "--eval", _PROGRAM.read_text()]
    ended = subprocess.run(
        words,
        cwd=installed("kubernetes-models"),
        input=json.dumps(objects),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr
    found: list[list[str]] = json.loads(ended.stdout)
    return found
