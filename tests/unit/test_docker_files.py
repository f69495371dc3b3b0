"""Dockerfiles: nothing of a repository means more than it should; the library's scripts are in them, unchanged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bindery.errors import InternalError
from bindery.settings import BuildSettings
from builder.buildpacks.repo2docker_steps import one_line
from builder.dockerfile import checked, quoted, render
from builder.engines.docker_progress import Progress
from builder.engines.layered.context import Site, write_context


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("package", "tree; touch /pwned"),
        ("package", "tree\nRUN true"),
        ("package", "-t"),
        ("image", "a b"),
        ("image", "--platform=x"),
        ("path", "/home/$(id)"),
        ("path", "a\n"),
        ("name", "a=b"),
    ],
)
def test_bare_words_are_checked_whole(kind: str, text: str) -> None:
    with pytest.raises(InternalError):
        checked(text, kind)


@given(st.text())
def test_a_quoted_value_is_one_word_on_one_line(text: str) -> None:
    word = quoted(text)
    assert "\n" not in word
    assert word[0] == word[-1] == '"'
    inner = word[1:-1].replace("\\\\", "").replace('\\"', "").replace("\\$", "")
    assert '"' not in inner
    assert "$" not in inner
    assert not inner.endswith("\\")


def test_labels_cannot_add_instructions() -> None:
    text = render("labelled.j2", image="a:b", labels={"source": 'x"\nRUN touch /pwned\n', "ref": "$HOME\\"})
    assert text.splitlines() == ["FROM a:b", 'LABEL source="x\\" RUN touch /pwned " ref="\\$HOME\\\\"']


@pytest.mark.parametrize("script", ["a\nb", "a && \\\nb\nUSER root", "a \\", "", "# only a comment"])
def test_a_script_of_several_lines_is_refused(script: str) -> None:
    with pytest.raises(InternalError):
        one_line(script)


def test_a_script_keeps_its_words() -> None:
    assert one_line("\n    a && \\\n      # why\n    b\n    ") == "a && \\\nb"


def test_our_program_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    write_context(tmp_path, {})
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import builder.inside.program as program; print(program.__file__)"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(tmp_path / "tools")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.stdout.startswith(str(tmp_path)), ended.stderr


async def test_a_login_reaches_installers_only(tmp_path: Path) -> None:
    settings = BuildSettings.model_validate({"index_url": "https://me:secret@example.org/simple"})
    trusted = await Site(settings).secrets(tmp_path)
    others = await Site(settings).secrets(tmp_path, login=False)
    assert "UV_DEFAULT_INDEX=https://me:secret@example.org/simple\n" in trusted["bindery-settings"].read_text()
    assert "secret" not in others["bindery-settings"].read_text()
    assert trusted["bindery-settings"].stat().st_mode & 0o077 == 0
    assert "secret" not in repr(settings)


def test_progress_tells_what_people_want_to_read() -> None:
    progress = Progress()
    raw = """#1 [internal] load build definition from Dockerfile
#1 sha256:c2ca4abc232456359ca32328be4e5be0ee25c6395e08fcaf6c75a2e6697d3f09
#1 DONE 0.0s

#5 [2/3] RUN pip install
#5 0.512 Collecting numpy
#5 1.021 10%\r100%
#5 1.500
#5 ERROR: executor failed running [/bin/sh -c false]: exit code: 1
------
 > [2/3] RUN pip install:
#5 0.512 Collecting numpy
------
executor failed running [/bin/sh -c false]: exit code: 1
"""
    told = [line for line in map(progress.read, raw.split("\n")) if line is not None]
    assert told == ["Collecting numpy\n", "100%\n", "\n"]
    assert "".join(progress.output) == "".join(told)
    assert progress.words[-1] == "executor failed running [/bin/sh -c false]: exit code: 1"


def test_progress_tells_the_steps_of_a_strangers_dockerfile() -> None:
    progress = Progress(headings=True)
    raw = ["#4 [1/2] FROM debian", "#5 [2/2] RUN make", "#5 0.100 made", "#5 [2/2] RUN make", "#5 DONE 0.2s"]
    told = [line for line in map(progress.read, raw) if line is not None]
    assert told == ["Step 1/2: FROM debian\n", "Step 2/2: RUN make\n", "made\n"]
