"""What a test needs of the machine: without it a test skips, but never on CI."""

from __future__ import annotations

import os
import shutil

import pytest


def need(present: bool, what: str) -> None:
    """Skip the test, saying what to install; fail where tests must not skip."""
    if present:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI needs {what}")
    pytest.skip(f"needs {what}")


def chromium() -> str:
    """The browser's program."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    need(found is not None, "Chromium: apt-get install chromium")
    assert found is not None
    return found
