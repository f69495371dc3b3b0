"""What a test needs of the machine: without it a test skips, but never on CI."""

from __future__ import annotations

import os
import shutil
from typing import TypeVar

import pytest

_T = TypeVar("_T")


def need(found: _T | None, what: str) -> _T:
    """What was found; without it skip the test, saying what to install, and fail where tests must not skip."""
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail(f"CI needs {what}")
    pytest.skip(f"needs {what}")


def chromium() -> str:
    """The browser's program."""
    return need(shutil.which("chromium") or shutil.which("google-chrome"), "Chromium: apt-get install chromium")
