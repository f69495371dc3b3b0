"""What a build leaves running is found and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


#: Writes over its own variables, as servers do that show in their name what they are at.
NAMELESS = """
import ctypes, signal
from pathlib import Path
begin, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[47:49])
ctypes.memset(begin, 0, end - begin)
print("done", flush=True)
signal.pause()
"""


def test_programs_without_variables_keep_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = time.sleep

    def counted(seconds: float) -> None:
        waits.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", counted)
    with contextlib.ExitStack() as stack:
        for argv, environment in [(["/bin/cat"], {}), ([sys.executable, "-c", NAMELESS], {"A": "b"})] * 5:
            process = subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"done\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"done\n"
        end_build(tmp_path, "a-build")
    # Each of them cost a hundred once. What becomes another program in this moment may cost some.
    assert len(waits) < 100
