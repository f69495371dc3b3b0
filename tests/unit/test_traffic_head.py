from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.traffic.framing import CHUNKED, UNTIL_CLOSE
from web.traffic.head import (
    BadHead,
    answered_head,
    forwarded_request,
    framed,
    identity_lines,
    parse_request,
    parse_response,
    service_request,
    varied,
)

IDENTITY = identity_lines("192.0.2.7", "http")
UPGRADE = ("Connection: keep-alive, Upgrade", "Upgrade: WebSocket")


def request(*headers: str, line: str = "GET /user/a/ HTTP/1.1", host: str | None = "example.org") -> bytes:
    hosts = [f"Host: {host}"] if host is not None else []
    return "\r\n".join([line, *hosts, *headers, "", ""]).encode("latin-1")


def response(*headers: str, line: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join([line, *headers, "", ""]).encode("latin-1")


def forwarded(*headers: str, trusted: bool = False, line: str = "GET /user/a/ HTTP/1.1") -> list[str]:
    head = parse_request(request(*headers, line=line))
    return forwarded_request(head, IDENTITY, trusted=trusted).decode("latin-1").split("\r\n")


# --- reading requests ---------------------------------------------------------------------------------------


def test_a_request_is_read() -> None:
    head = parse_request(request("Content-Length: 12", "X-Y:  padded \t", line="POST /a?b HTTP/1.1"))
    assert (head.method, head.target, head.http11, head.length) == (b"POST", b"/a?b", True, 12)
    assert head.keep_alive
    assert head.value(b"x-y") == b"padded"


REFUSED = {
    "both lengths": request("Content-Length: 1", "Transfer-Encoding: chunked"),
    "both lengths, turned round": request("Transfer-Encoding: chunked", "Content-Length: 1"),
    "two lengths": request("Content-Length: 1", "Content-Length: 2"),
    "two equal lengths": request("Content-Length: 1", "Content-Length: 1"),
    "a list of lengths": request("Content-Length: 1, 1"),
    "a signed length": request("Content-Length: +1"),
    "a negative length": request("Content-Length: -1"),
    "a hexadecimal length": request("Content-Length: 0x1"),
    "an empty length": request("Content-Length: "),
    "a length beyond counting": request("Content-Length: 99999999999999999999"),
    "an unknown encoding": request("Transfer-Encoding: xchunked"),
    "identity": request("Transfer-Encoding: identity"),
    "chunked before another": request("Transfer-Encoding: chunked, gzip"),
    "another before chunked": request("Transfer-Encoding: gzip, chunked"),
    "chunked twice": request("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "chunked in HTTP/1.0": request("Transfer-Encoding: chunked", line="POST / HTTP/1.0"),
    "a space before the colon": request("Transfer-Encoding : chunked"),
    "a folded line": request("X: a\r\n b"),
    "a bare line feed": request("X: a\nY: b"),
    "a bare carriage return": request("X: a\rY: b"),
    "a null": request("X: a\x00b"),
    "a control character": request("X: a\x0bb"),
    "no name": request(": x"),
    "no colon": request("X"),
    "no host": request(host=None),
    "two hosts": request("Host: other"),
    "a host with a path": request(host="a/b"),
    "a host with a space": request(host="a b"),
    "an absolute target": request(line="GET http://other/user/a/ HTTP/1.1"),
    "a target with a fragment": request(line="GET /#x HTTP/1.1"),
    "a target with a space": request(line="GET /a b HTTP/1.1"),
    "two spaces": request(line="GET  / HTTP/1.1"),
    "a tab": request(line="GET\t/ HTTP/1.1"),
    "no version": request(line="GET /"),
    "another protocol": request(line="GET / RTSP/1.0"),
    "an unknown method": request(line="STEAL / HTTP/1.1"),
    "a method in lower case": request(line="get / HTTP/1.1"),
    "a WebSocket with a body": request("Content-Length: 1", *UPGRADE),
    "a WebSocket by POST": request(*UPGRADE, line="POST / HTTP/1.1"),
    "dropping the length": request("Connection: Content-Length", "Content-Length: 3"),
    "dropping the host": request("Connection: close, host"),
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_what_servers_could_read_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(BadHead) as refused:
        parse_request(raw)
    assert refused.value.status == 400


def test_other_versions_and_forward_proxying_are_refused() -> None:
    for line, status in (("GET / HTTP/2.0", 505), ("CONNECT a:1 HTTP/1.1", 405)):
        with pytest.raises(BadHead) as refused:
            parse_request(request(line=line))
        assert refused.value.status == status


@given(st.binary(max_size=60), st.sampled_from([b"X: %b\r\n", b"%b: x\r\n", b"%b\r\n", b"Content-Length: %b\r\n"]))
def test_any_head_is_refused_or_passed_on_without_gaining_lines(junk: bytes, template: bytes) -> None:
    raw = b"GET /user/a/ HTTP/1.1\r\nHost: a\r\n" + template % junk + b"\r\n"
    if raw.find(b"\r\n\r\n") != len(raw) - 4:
        return
    try:
        head = parse_request(raw)
    except BadHead:
        return
    out = forwarded_request(head, IDENTITY, trusted=False)
    assert out.count(b"\n") == out.count(b"\r\n") <= raw.count(b"\n") + 4
    assert out.index(b"\r\n\r\n") == len(out) - 4
    assert parse_request(out).length == head.length


def test_keep_alive_follows_version_and_connection() -> None:
    assert parse_request(request()).keep_alive
    assert not parse_request(request("Connection: foo, Close")).keep_alive
    assert not parse_request(request("Connection: keep-alive", line="GET / HTTP/1.0")).keep_alive


def test_only_requests_without_effect_are_repeatable() -> None:
    assert parse_request(request()).repeatable
    assert not parse_request(request(line="POST / HTTP/1.1")).repeatable
    assert not parse_request(request("Content-Length: 1")).repeatable
    assert not parse_request(request(*UPGRADE)).repeatable


# --- passing requests on ------------------------------------------------------------------------------------


def test_headers_of_one_connection_are_not_passed_on() -> None:
    hops = ("Keep-Alive: 5", "TE: trailers", "Proxy-Connection: x", "Proxy-Authorization: x", "Upgrade: h2c")
    lines = forwarded("Connection: X-Private, upgrade", "X-Private: 1", *hops, "Cookie: a=b", "Authorization: token x")
    assert lines == [
        "GET /user/a/ HTTP/1.1",
        "Host: example.org",
        "Cookie: a=b",
        "Authorization: token x",
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: example.org",
        "",
        "",
    ]


FORGED = ("X-Forwarded-For: 1.1.1.1", "x-forwarded-proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1")


def test_a_visitor_cannot_say_who_he_is() -> None:
    lines = forwarded(*FORGED, "X-Real-IP: 1.1.1.1", "X-Scheme: https", "Forwarded: for=1.1.1.1")
    assert lines == forwarded()


def test_what_a_trusted_proxy_says_is_kept_and_its_address_appended() -> None:
    lines = forwarded(*FORGED, "X-Real-IP: 1.1.1.1", "X-Scheme: https", trusted=True)
    assert lines[2:-2] == ["X-Forwarded-For: 1.1.1.1, 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil"]
    assert forwarded(trusted=True) == forwarded()


def test_framing_is_said_once() -> None:
    assert forwarded("Transfer-Encoding: Chunked").count("Transfer-Encoding: chunked") == 1
    assert "Content-Length: 7" in forwarded("Content-Length: 7")
    assert "Connection: close" in forwarded(line="GET /user/a/ HTTP/1.0")


def test_a_websocket_is_asked_for() -> None:
    lines = forwarded(*UPGRADE, "Sec-WebSocket-Key: abc")
    assert lines[-4:-2] == ["Connection: Upgrade", "Upgrade: websocket"]
    assert "Sec-WebSocket-Key: abc" in lines


def test_the_service_sees_its_request_untouched_but_never_an_upgrade() -> None:
    plain = request("X-Forwarded-For: 1.1.1.1", "Connection: close")
    assert service_request(plain, parse_request(plain)) == plain
    upgrade = request("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "X-Y: z")
    assert service_request(upgrade, parse_request(upgrade)) == request("X-Y: z")


# --- responses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "method", "length", "keep_alive"),
    [
        (response("Content-Length: 5"), b"GET", 5, True),
        (response("Transfer-Encoding: chunked"), b"GET", CHUNKED, True),
        (response(), b"GET", UNTIL_CLOSE, False),
        (response("Content-Length: 5"), b"HEAD", 0, True),
        (response("Transfer-Encoding: chunked"), b"HEAD", 0, True),
        (response("Content-Length: 5", line="HTTP/1.1 304 Not Modified"), b"GET", 0, True),
        (response(line="HTTP/1.1 204 No Content"), b"GET", 0, True),
        (response(line="HTTP/1.1 100 Continue"), b"GET", 0, True),
        (response("Content-Length: 0", line="HTTP/1.0 200 OK"), b"GET", 0, False),
        (response("Content-Length: 0", "Connection: keep-alive", line="HTTP/1.0 200 OK"), b"GET", 0, True),
        (response("Content-Length: 0", "Connection: close"), b"GET", 0, False),
        (response("Content-Length: 0", line="HTTP/1.1 200"), b"GET", 0, True),
    ],
)
def test_where_a_response_ends(raw: bytes, method: bytes, length: int, keep_alive: bool) -> None:
    head = parse_response(raw, method=method)
    assert (head.length, head.keep_alive) == (length, keep_alive)


@pytest.mark.parametrize(
    "raw",
    [
        response("Content-Length: 1", "Transfer-Encoding: chunked"),
        response("Content-Length: 1", "Content-Length: 2"),
        response("Content-Length: -1"),
        response("Transfer-Encoding: gzip"),
        response("X: a\nSet-Cookie: b"),
        response("X: a\r\n folded"),
        response(line="HTTP/2.0 200 OK"),
        response(line="HTTP/1.1 20 OK"),
        response(line="HTTP/1.1 0200 OK"),
        response(line="HTTP/1.1 099 OK"),
        response(line="ICY 200 OK"),
        response(line="junk"),
    ],
)
def test_an_ambiguous_response_is_refused(raw: bytes) -> None:
    with pytest.raises(BadHead):
        parse_response(raw, method=b"GET")


def test_a_response_is_passed_on_without_the_connections_headers() -> None:
    raw = response("Connection: close, X-Hop", "X-Hop: 1", "Keep-Alive: 3", "Content-Length: 2", "ETag: x")
    head = parse_response(raw, method=b"GET")
    assert answered_head(head) == response("Content-Length: 2", "ETag: x")
    assert answered_head(head, close=True) == response("Content-Length: 2", "ETag: x", "Connection: close")


def test_a_response_without_length_is_put_into_chunks() -> None:
    head = parse_response(response("X: y", line="HTTP/1.0 200 OK"), method=b"GET")
    assert answered_head(head, chunk=True) == response("X: y", "Transfer-Encoding: chunked")


def test_a_response_without_content_announces_none() -> None:
    head = parse_response(response("Content-Length: 5", line="HTTP/1.1 204 No Content"), method=b"GET")
    assert answered_head(head) == response(line="HTTP/1.1 204 No Content")


def test_that_a_response_varies_by_origin_is_added_to_what_it_says() -> None:
    head = parse_response(response("Vary: Accept-Encoding", "Content-Length: 0"), method=b"GET")
    assert answered_head(varied(head)) == response("Vary: Accept-Encoding", "Content-Length: 0", "Vary: Origin")


def test_who_may_frame_a_response_is_written_into_its_policy() -> None:
    policy = "Content-Security-Policy: frame-ancestors 'self'; report-uri /x"
    head = parse_response(response(policy, "X: frame-ancestors y", "Content-Length: 0"), method=b"GET")
    assert answered_head(framed(head, b"'self' https://j.example")) == response(
        "Content-Security-Policy: frame-ancestors 'self' https://j.example; report-uri /x",
        "X: frame-ancestors y",
        "Content-Length: 0",
    )
