"""Reaching a service that is started for the purpose."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rich.console import Console

from bindery import reach
from bindery.errors import HostUnreachable
from bindery.settings import Settings


@pytest.mark.parametrize("line", ["exit 3", "exec sleep 60"])
async def test_one_that_does_not_start_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{line}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(reach, "START_SECONDS", 0.3)
    settings = Settings(data_dir=tmp_path / "data")
    with pytest.raises(HostUnreachable, match="The service did not start"):
        async with reach.reach(settings, "", Console(quiet=True)):
            raise AssertionError("nothing was reached")
