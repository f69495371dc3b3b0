"""What an author reads first about a build that failed."""

from __future__ import annotations

import pytest

from builder.diagnosis import SHOWN, diagnose
from db.events import Failure
from tests.support.attacks import TERMINAL
from tests.support.builds import build
from web.diagnoses import report_url


def _failure(code: str, message: str = "It failed.", hint: str = "") -> Failure:
    return Failure(code, message, hint, retryable=False)


@pytest.mark.parametrize(
    ("code", "line", "title"),
    [
        (
            "unsatisfiable_requirements",
            "  ╰─▶ Because nosuchpkg was not found in the package registry and you require nosuchpkg, we can conclude",
            "A package cannot be found: nosuchpkg",
        ),
        (
            "unsatisfiable_requirements",
            "  Because there is no version of numpy==99.99 and you require numpy==99.99, we can conclude",
            "There is no such version of numpy",
        ),
        (
            "unsatisfiable_requirements",
            "Because pandas==2.2.0 depends on numpy>=1.26 and you require numpy==1.20, these are unsatisfiable.",
            "The packages' versions contradict each other",
        ),
        (
            "unsatisfiable_requirements",
            "Because the current Python version (3.12.1) does not satisfy Python>=3.7,<3.11 and numpy==1.21 depends on",
            "A package needs another Python",
        ),
        (
            "install_failed",
            "ERROR: No matching distribution found for tnsrflow",
            "A package cannot be found: tnsrflow",
        ),
        ("install_failed", "E: Unable to locate package libfoo", "A package cannot be found: libfoo"),
        ("install_failed", "  \u00d7 Failed to build `psycopg2==2.9`", "A package could not be built from source"),
        (
            "install_failed",
            "c++: fatal error: program cc1plus ended",
            "Installing the packages failed",
        ),
        ("install_failed", "Killed", "The build ran out of memory"),
        ("install_failed", "process exited with code: 137", "The build ran out of memory"),
        ("install_failed", "error: No space left on device (os error 28)", "The server's disk is full"),
        ("post_build_failed", "ModuleNotFoundError: No module named 'scipy'", "A Python module is missing: scipy"),
        (
            "post_build_failed",
            "postBuild: line 3: nbextension: command not found",
            "A command is missing: nbextension",
        ),
        ("post_build_failed", "postBuild: 2: wget: not found", "A command is missing: wget"),
        ("post_build_failed", "mkdir: cannot create directory: Permission denied", "A file or folder may not be used"),
        ("post_build_failed", "it just ended", "The repository's postBuild ended with an error"),
        ("build_timed_out", "still working", "The build took too long"),
        ("something_new", "an error", "The build failed"),
    ],
)
def test_a_failure_is_told_in_plain_words(code: str, line: str, title: str) -> None:
    found = diagnose(_failure(code), ["Fetching\n", f"{line}\n", "\n"])
    assert found.title == title
    assert line.strip()[:60] in " ".join(each.text for each in found.lines)


def test_a_file_that_cannot_be_read_has_no_lines_in_the_log() -> None:
    found = diagnose(_failure("invalid_dependency_file"), ["Waiting for build to start...\n", "Fetching it\n"])
    assert found.lines == ()


def test_lines_keep_their_numbers() -> None:
    log = [f"line {number}" for number in range(1, 500)] + ["error: it broke", "  because of this"]
    found = diagnose(_failure("install_failed"), log[100:], first=101)
    assert [line.number for line in found.lines] == [500, 501]


def test_what_a_progress_bar_overwrote_is_not_shown() -> None:
    found = diagnose(_failure("install_failed"), ["10%\r50%\rerror: full\r\n"])
    assert [line.text for line in found.lines] == ["error: full"]


def test_hostile_lines_are_short_and_plain() -> None:
    log = [*TERMINAL, "error " + "x" * 100_000, *["error again"] * 1000]
    found = diagnose(_failure("install_failed"), log)
    assert len(found.lines) == SHOWN
    for line in diagnose(_failure("install_failed"), [*TERMINAL, "error " + "x" * 100_000]).lines:
        assert "\x1b" not in line.text
        assert len(line.text) <= 400


def test_a_report_is_prepared_for_hosts_that_take_one() -> None:
    failed = _failure("install_failed", "It broke.")
    found = diagnose(failed, ["error: `a` broke\n", "error: ```` inside\n"])
    address = report_url(build(provider="gh", repo_url="https://github.com/o/r"), failed, found, "LINK", "LOG")
    assert address.startswith("https://github.com/o/r/issues/new?title=Launching+fails")
    assert "%60%60%60%60%60text" in address
    gitlab = report_url(build(provider="gl", repo_url="https://gitlab.com/g/s/p.git"), failed, found, "LINK", "LOG")
    assert gitlab.startswith("https://gitlab.com/g/s/p/-/issues/new?issue%5Btitle%5D=")
    known = report_url(build(provider="git", repo_url="https://codeberg.org/o/r"), failed, found, "LINK", "LOG")
    assert known.startswith("https://codeberg.org/o/r/issues/new?")
    assert report_url(build(provider="git", repo_url="https://git.example.org/r"), failed, found, "LINK", "LOG") == ""
    assert report_url(build(provider="zenodo", repo_url="10.5281/zenodo.1"), failed, found, "LINK", "LOG") == ""


def test_a_report_has_a_length_that_hosts_take() -> None:
    failed = _failure("install_failed", "x" * 5000)
    found = diagnose(failed, ["error " + "ü" * 380] * 50)
    assert len(report_url(build(provider="gh", repo_url="https://github.com/o/r"), failed, found, "L", "L")) <= 6000
