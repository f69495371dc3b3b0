from __future__ import annotations

from collections.abc import Mapping

import pytest

from bindery.errors import InvalidDependencyFile
from builder.plan import Install, Plan, Source
from builder.requirements import logical_lines
from tests.support.trees import Link, Submodule, plan_of

FILES = (Install(Source.FILES, ("requirements.txt",)),)


def plan_for(text: str | bytes, **others: str) -> Plan:
    return plan_of({"requirements.txt": text, **{name.replace("__", "/"): other for name, other in others.items()}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n\n   # another\n",
        "numpy\n",
        "\ufeffnumpy\r\nscipy\r\n",
        "numpy>=1,<3 ; python_version > '3.8'  # why\n",
        "requests[socks,security]==2.32.3\n",
        "numpy \\\n  ==2.1\n",
        "numpy==2.1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n",
        "pandas (>=2)\n",
        "name @ https://example.org/name-1.0-py3-none-any.whl\n",
        "https://example.org/name-1.0.tar.gz\n",
        "git+https://example.org/name.git@v1#egg=name&subdirectory=x\n",
        "name @ git+ssh://git@example.org/name.git\n",
        "-i https://example.org/simple\n--extra-index-url=https://example.org/other\nnumpy\n",
        "--index-url https://example.org/simple  # ours\n",
        "--find-links https://example.org/wheels\n",
        "--no-index\n--pre\n--prefer-binary\n--require-hashes\n",
        "--no-binary :all:\n--only-binary=numpy\n",
        "-i https://${TOKEN}@example.org/simple\n",
        "name @ https://${TOKEN}@example.org/x.zip\n",
    ],
)
def test_is_given_to_the_installer_as_it_is(text: str) -> None:
    plan = plan_for(text)
    assert plan.installs == FILES
    assert plan.files == ("requirements.txt",)
    assert not plan.needs_tree


def test_utf_16_as_powershell_writes_it() -> None:
    assert plan_for("numpy\r\n".encode("utf-16")).installs == FILES


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("-e git+https://example.org/a.git@1#egg=a\nnumpy\n", "git+https://example.org/a.git@1#egg=a\nnumpy\n"),
        ("--editable=git+https://example.org/a.git\n", "git+https://example.org/a.git\n"),
        ("--trusted-host example.org\n--use-feature fast-deps\nnumpy\n", "numpy\n"),
        ('numpy==2 --global-option="x" --hash=sha256:00\n', "numpy==2 --hash=sha256:00\n"),
        ("-rmore.txt\nnumpy\n", "scipy\nnumpy\n"),
        ("--use-pep517\n-i https://example.org/s\n", "--index-url https://example.org/s\n"),
    ],
)
def test_what_only_pip_understands_is_rewritten(text: str, rendered: str) -> None:
    assert plan_of({"requirements.txt": text, "more.txt": "scipy"}).installs == (Install(Source.TEXT, text=rendered),)


def test_rewritten_requirements_keep_their_constraints() -> None:
    plan = plan_of({"requirements.txt": "-e git+https://example.org/a.git\n-c held.txt\n", "held.txt": "numpy<2"})
    assert plan.installs == (Install(Source.TEXT, ("held.txt",), "git+https://example.org/a.git\n"),)
    assert plan.files == ("requirements.txt", "held.txt")


def test_includes_are_followed_from_the_file_they_stand_in() -> None:
    plan = plan_of(
        {
            "binder/requirements.txt": "-r ../deps/base.txt\n--constraint=held.txt\n",
            "deps/base.txt": "--requirement more.txt\n",
            "deps/more.txt": "numpy==2\n",
            "binder/held.txt": "scipy<2\n",
        }
    )
    assert plan.files == ("binder/requirements.txt", "deps/base.txt", "deps/more.txt", "binder/held.txt")
    assert plan.installs == (Install(Source.FILES, ("binder/requirements.txt",)),)
    assert plan.warnings == ()


def test_cycles_of_includes_end() -> None:
    plan = plan_of({"requirements.txt": "-r a.txt\n", "a.txt": "-r b.txt\nnumpy\n", "b.txt": "-r a.txt\n"})
    assert plan.files == ("requirements.txt", "a.txt", "b.txt")


def test_includes_from_the_web_are_warned_of() -> None:
    plan = plan_for("-r https://example.org/more.txt\n")
    assert plan.installs == FILES
    assert plan.warnings == ("https://example.org/more.txt is read from the web at each build: changes there are not "
                             "noticed.",)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["-e .", "-e .[test]", ".", "./pkg", "-e ./pkg", "pkg/", "--editable=pkg", "file:pkg", "x @ ./pkg",
     "x @ file:./pkg", "pkg/x-1.0-py3-none-any.whl", "wheel-1.0-py3-none-any.whl", "--find-links ./pkg", "-f pkg",
     "./pkg ; os_name=='nt'", "vendored/lib/", "-e vendored"],
)  # fmt: skip
def test_local_requirements_need_the_tree(text: str) -> None:
    files: Mapping[str, str] = {
        "requirements.txt": text,
        "setup.py": "",
        "pkg/pyproject.toml": "",
        "pkg/x-1.0-py3-none-any.whl": "",
        "wheel-1.0-py3-none-any.whl": "",
        "vendored": Submodule("0" * 40),
    }
    plan = plan_of(files)
    assert plan.needs_tree
    assert plan.installs[0] == FILES[0]


def test_local_requirements_in_an_include_need_the_tree() -> None:
    assert plan_of({"requirements.txt": "-r a.txt", "a.txt": "./p", "p/setup.py": ""}).needs_tree


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("numpy\nscipy=1.2\n", "requirements.txt, line 2: not a requirement", "two equal signs"),
        ("numpy 1.2", "line 1: not a requirement", "two equal signs"),
        ("pip install numpy", "pip install numpy", "only the names"),
        ("<<<<<<< HEAD", "line 1", "unfinished merge"),
        ("import numpy", "line 1", "Python code"),
        ("<!DOCTYPE html>", "line 1", "web page"),
        ("Package    Version\n---- ----\n", "line 1", "pip list"),
        ("numpy>=", "line 1", "Correct requirements.txt"),
        ("numpy>=2.*", "line 1", ""),
        ("numpy ; python > 3", "line 1", ""),
        ("a\n\\\n\nb c d", "line 4: not a requirement", ""),
        ("numpy\n--unknown-option\n", "line 2: an option that pip does not know", ""),
        ("numpy --unknown=1", "line 1: an option that pip does not know", ""),
        ("-r", "the name of the file to include is missing", ""),
        ("-e", "what to install is missing", ""),
        ("numpy\n\n-r more.txt", "line 3: includes a file that the repository does not have", "Add more.txt"),
        ("-r ../outside.txt", "line 1: includes a file outside of the repository", ""),
        ("-c /etc/passwd", "line 1: includes a file outside of the repository", ""),
        ("-r link.txt", "line 1: includes a file that the repository does not have", ""),
        ("numpy @ file:///home/conda/x/work", "names a file outside of the repository", "pip list --format=freeze"),
        ("-e ../x", "names a file outside of the repository", ""),
        ("~/x.whl", "names a file outside of the repository", ""),
        ("git+file:///srv/x", "names a file outside of the repository", ""),
        ("./missing", "names a file that the repository does not have", "Add missing"),
        ("-e .", "names a folder that is no Python project", "pyproject.toml"),
        ("-i https://x.org numpy", "more than one word", "a line of its own"),
        ("numpy\x1b[31m", r"numpy\x1b[31m", ""),
        (b"numpy\n\xff\xfe\xfa", r"line 2: not text in UTF-8: \xff\xfe\xfa", "UTF-8"),
        (b"num\x00py", "line 1: binary data", "plain text"),
        (b"\xff\xfen", "not text in UTF-8", "UTF-8"),
        ("x" * 5000 + "!", "x" * 80 + "…", ""),
    ],
)
def test_refuses(text: str | bytes, message: str, hint: str) -> None:
    files = {"requirements.txt": text, "link.txt": Link("/etc/passwd")}
    with pytest.raises(InvalidDependencyFile) as caught:
        plan_of(files)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert len(caught.value.message) < 400
    assert caught.value.message.isprintable()


def test_logins_are_not_repeated() -> None:
    with pytest.raises(InvalidDependencyFile, match=r"-i https://…@example\.org/simple numpy$"):
        plan_for("-i https://me:secret@example.org/simple numpy")


def test_an_error_in_an_include_names_the_include() -> None:
    with pytest.raises(InvalidDependencyFile, match=r"deps/a\.txt, line 2"):
        plan_of({"requirements.txt": "-r deps/a.txt", "deps/a.txt": "numpy\nnumpy=1\n"})


def test_too_much_is_refused() -> None:
    with pytest.raises(InvalidDependencyFile, match="more than 50 files"):
        plan_of({"requirements.txt": "-r 0.txt"} | {f"{n}.txt": f"-r {n + 1}.txt" for n in range(60)} | {"60.txt": ""})
    with pytest.raises(InvalidDependencyFile, match="more than 20000 lines"):
        plan_of({"requirements.txt": "a\n" * 20_001})
    with pytest.raises(InvalidDependencyFile, match="too large"):
        plan_of({"requirements.txt": "#" * (1024 * 1024 + 1)})


def test_unpinned_requirements_are_warned_of() -> None:
    plan = plan_of({"requirements.txt": "a==1\nb===2\nc==1.*\nd\ne>=1\n-c held.txt\n", "held.txt": "f<2"})
    assert plan.warnings == (
        "requirements.txt: 3 of 5 requirements name no exact version (c, d, e); a later build may get other versions.",
    )


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\\\nb", [(1, "ab")]),
        ("a # x \\\nb", [(1, "a")]),
        ("# x \\\nb", [(2, "b")]),
        ("\n\na#b #c", [(3, "a#b")]),
        ("a\\", [(1, "a")]),
    ],
)
def test_logical_lines(text: str, lines: list[tuple[int, str]]) -> None:
    assert list(logical_lines(text)) == lines
