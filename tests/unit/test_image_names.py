"""Image references: what they name, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bindery.errors import InvalidImageReference
from registry.names import Location, Reference, Repository, is_loopback

SHA = "sha256:" + "a" * 64
_PART = st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+){0,3}", fullmatch=True)
_HOSTS = st.sampled_from(["localhost", "localhost:5000", "127.0.0.1:5000", "r.example.org", "[::1]:5000", "r:80"])


@pytest.mark.parametrize(
    ("text", "host", "path", "tag", "digest"),
    [
        ("localhost:5000/img", "localhost:5000", "img", None, None),
        ("localhost/img:1", "localhost", "img", "1", None),
        ("localhost:5000/img:5000", "localhost:5000", "img", "5000", None),
        ("r.example.org/a/b/c:v1.0_x", "r.example.org", "a/b/c", "v1.0_x", None),
        (f"r.example.org/a@{SHA}", "r.example.org", "a", None, SHA),
        (f"[::1]:5000/a__b--c:t@{SHA}", "[::1]:5000", "a__b--c", "t", SHA),
        ("docker.io/debian:12", "docker.io", "library/debian", "12", None),
        ("docker.io/jupyter/base", "docker.io", "jupyter/base", None, None),
    ],
)
def test_a_reference_is_read(text: str, host: str, path: str, tag: str | None, digest: str | None) -> None:
    assert Reference.parse(text) == Reference(Repository(host, path), tag, digest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "img",
        "team/img:1",
        "localhost:5000",
        "localhost:5000/",
        "localhost:5000//img",
        "localhost:5000/img/",
        "localhost:5000/img:",
        "localhost:5000/img@",
        "localhost:5000/img:a:b",
        "localhost:5000/Img",
        "localhost:5000/a..b",
        "localhost:5000/../b",
        "localhost:5000/a?b",
        "localhost:5000/a%2fb",
        "localhost:0/a",
        "localhost:99999/a",
        "localhost:x/a",
        "user:pw@r.example.org/a",
        "https://r.example.org/a",
        "r.example.org/a:1\n",
        "r.example.org/a:.1",
        "r.example.org/a:" + "x" * 129,
        "r.example.org/" + "x" * 256,
        "-r.example.org/a",
        "r..example.org/a",
        "[::1/a",
        "[127.0.0.1]/a",
        f"r.example.org/a@{SHA[:-1]}",
        f"r.example.org/a@{SHA.upper()}",
        "r.example.org/a@md5:" + "a" * 32,
        f"r.example.org/a@{SHA}@{SHA}",
        "r.example.org/ä",
        "x" * 100_000,
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidImageReference):
        Reference.parse(text)


@given(
    _HOSTS, st.lists(_PART, min_size=1, max_size=4), st.none() | st.from_regex(r"\A\w[\w.-]{0,20}\Z", fullmatch=True)
)
def test_reading_what_was_written_gives_the_same(host: str, parts: list[str], tag: str | None) -> None:
    try:
        reference = Reference(Repository(host, "/".join(parts)), tag)
    except InvalidImageReference:
        if len(f"{host}/{'/'.join(parts)}") <= 255:
            assert tag is not None
            assert not tag.isascii()
        return
    assert len(str(reference.repository)) <= 255
    assert Reference.parse(str(reference)) == reference


@given(st.text(max_size=80) | st.from_regex(r"[a-z.:/@\[\]-]{1,60}"))
def test_any_text_is_read_as_it_is_written_or_refused(text: str) -> None:
    try:
        found = Reference.parse(text)
    except InvalidImageReference:
        return
    assert str(found).replace("docker.io/library/", "docker.io/") == text.replace("docker.io/library/", "docker.io/")


@pytest.mark.parametrize(
    ("text", "prefix", "scheme", "named"),
    [
        ("localhost:5000", "", None, "localhost:5000/a:1"),
        ("https://r.example.org/team/x/", "team/x", "https", "r.example.org/team/x/a:1"),
        ("http://10.0.0.1:80/t", "t", "http", "10.0.0.1:80/t/a:1"),
    ],
)
def test_a_location_names_what_is_below_it(text: str, prefix: str, scheme: str | None, named: str) -> None:
    location = Location.parse(text)
    assert (location.prefix, location.scheme) == (prefix, scheme)
    assert str(location.reference("a:1")) == named


@pytest.mark.parametrize(
    "text", ["", "ftp://r.example.org", "https://", "http://[::1", "r:99999", "https://r/?x", "r/Team", "https://r/#x"]
)
def test_what_is_no_location_is_refused(text: str) -> None:
    with pytest.raises(InvalidImageReference):
        Location.parse(text)


def test_a_location_with_a_login_is_refused_without_saying_it() -> None:
    with pytest.raises(InvalidImageReference) as caught:
        Location.parse("https://user:hush@r.example.org")
    assert "hush" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST:5000", True),
        ("x.localhost:1", True),
        ("127.3.2.1:5000", True),
        ("[::1]:5000", True),
        ("::1", True),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("10.0.0.1:5000", False),
        ("[::2]", False),
        ("notlocalhost", False),
        ("2130706433", False),
    ],
)
def test_loopback_is_known_by_name(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
