"""What the command line says of itself."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from bindery.cli import app


@pytest.mark.parametrize("words", [(), ("db",)])
def test_a_command_is_summed_up_in_a_whole_sentence(words: tuple[str, ...]) -> None:
    said = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"})
    assert said.exit_code == 0
    _, _, commands = said.output.partition("Commands:\n")
    assert commands
    assert all(line.endswith(".") and not line.endswith("..") for line in commands.splitlines())
