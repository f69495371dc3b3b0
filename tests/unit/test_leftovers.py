"""What a build leaves running is found and ended."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from builder.engines.leftovers import BUILD_VARIABLE, ROOT_VARIABLE, end_build

ROUNDS = 60


def test_a_program_that_becomes_another_one_is_ended_too(tmp_path: Path) -> None:
    # Its environment cannot be read for a moment each time, and that is all the time.
    script = tmp_path / "again"
    script.write_text('#!/bin/sh\nexec "$0"\n')
    script.chmod(0o755)
    marks = {ROOT_VARIABLE: str(tmp_path), BUILD_VARIABLE: "a-build", "PATH": os.environ["PATH"]}
    ends = []
    for _ in range(ROUNDS):
        with subprocess.Popen([script], env=marks) as process:
            end_build(tmp_path, "a-build")
            try:
                ends.append(process.wait(0.2))
            except subprocess.TimeoutExpired:
                process.kill()
                ends.append(0)
    assert ends == [-signal.SIGKILL] * ROUNDS
