from __future__ import annotations

import posixpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.traffic.paths import PathRefused, check_target, session_name, user_prefix

PREFIX = b"/hub/user/"


@pytest.mark.parametrize(
    ("base_url", "prefix"), [("/", b"/user/"), ("", b"/user/"), ("/hub/", b"/hub/user/"), ("a/b", b"/a/b/user/")]
)
def test_sessions_lie_below_the_base_url(base_url: str, prefix: bytes) -> None:
    assert user_prefix(base_url) == prefix


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"/hub/user/alice/", "alice"),
        (b"/hub/user/alice", "alice"),
        (b"/hub/user/alice?x=/../..", "alice"),
        (b"/hub/user/a.b~c_d-9/tree", "a.b~c_d-9"),
        (b"/hub/user/alice/a%2Fb//c%20d;x/./..", "alice"),
        (b"/hub/user/alice/a/../b", "alice"),
        (b"/hub/user/alice/..a/b..", "alice"),
        (b"/hub/user/", None),
        (b"/hub/user/?x", None),
        (b"/hub/user", None),
        (b"/hub/USER/alice/", None),
        (b"/hub/%75ser/alice/", None),
        (b"//hub/user/alice/", None),
        (b"/hub//user/alice/", None),
        (b"/hub/health/../user/alice/", None),
        (b"/", None),
    ],
)
def test_the_name_is_read_raw(target: bytes, name: str | None) -> None:
    assert session_name(target, PREFIX) == name


@pytest.mark.parametrize(
    "rest",
    [
        b"./x",
        b"../x",
        b"..",
        b"%2e%2e/x",
        b"%2E./x",
        b"al%69ce/x",
        b"alice%2Fbob/x",
        b"alice%2f..%2fbob",
        b"/x",
        b"//",
        b"alice;x/y",
        b"alice@bob/",
        b"a" * 256 + b"/",
        b"alice/..",
        b"alice/../bob/",
        b"alice/%2e%2e/bob/",
        b"alice/.%2E/bob/",
        b"alice/x/../../bob/",
        b"alice/x%2f..%2f..%2fbob/",
        b"alice/..%2fbob/",
        b"alice/..%5cbob/",
        b"alice//../bob/",
        b"alice/./../bob/",
        b"alice/x/..//../bob/",
    ],
)
def test_what_could_reach_another_session_is_refused(rest: bytes) -> None:
    with pytest.raises(PathRefused):
        session_name(PREFIX + rest, PREFIX)


segments = st.sampled_from(
    [
        b"alice",
        b"bob",
        b"..",
        b".",
        b"",
        b"%2e%2e",
        b"%2E.",
        b"x%2f..",
        b"%2f",
        b"..%2f..",
        b"%5c..",
        b"a b",
        b"%41",
        b"?",
    ]
)


@given(st.lists(segments, min_size=1, max_size=8).map(b"/".join))
def test_a_path_that_passes_stays_inside_however_a_server_normalises_it(rest: bytes) -> None:
    target = PREFIX + rest
    try:
        name = session_name(target, PREFIX)
    except PathRefused:
        return
    if name is None:
        return
    path = target.partition(b"?")[0].decode()
    inside = (PREFIX.decode() + name).rstrip("/")
    for reading in (path, unquote(path), unquote(path).replace("\\", "/")):
        normal = posixpath.normpath(reading)
        assert normal == inside or normal.startswith(inside + "/")


@given(st.binary(max_size=40))
def test_any_bytes_are_either_refused_or_a_clean_name(rest: bytes) -> None:
    try:
        check_target(PREFIX + rest)
        name = session_name(PREFIX + rest, PREFIX)
    except PathRefused:
        return
    assert name is None or (PREFIX + rest).startswith(PREFIX + name.encode())


@pytest.mark.parametrize("target", [b"/a?q=\\d{2}|x", b"/%zz", b"/a:b@c", b"/~x/[1]", b'/?q="<>^`'])
def test_targets_that_browsers_send_are_let_through(target: bytes) -> None:
    check_target(target)


@pytest.mark.parametrize(
    "target",
    [b"", b"x", b"http://a/", b"*", b"/a#b", b"/a?b#c", b"/\\a", b"/a b", b"/\xc3", b"/\x7f", b"/\x00", b"/a\t"],
)
def test_other_targets_are_refused(target: bytes) -> None:
    with pytest.raises(PathRefused):
        check_target(target)
