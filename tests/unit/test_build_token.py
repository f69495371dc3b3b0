"""Tokens of launch pages."""

from __future__ import annotations

import jwt
import pytest
from starlette.requests import Request

from bindery.errors import InvalidBuildToken
from web.build_token import BuildTokens

SECRET = "s" * 32
TOKENS = BuildTokens(SECRET, 300, check_origin=True)
LINK = "gh/o/r/main"


def request(host: str = "hub.example.org", origin: str = "") -> Request:
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    return Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers})


def test_a_token_has_the_protocols_claims() -> None:
    claims = jwt.decode(TOKENS.make(request(), LINK + "/"), SECRET, algorithms=["HS256"], audience=LINK)
    assert claims.keys() == {"exp", "aud", "origin"}
    assert claims["origin"] == "hub.example.org"


@pytest.mark.parametrize("link", [LINK, LINK + "/", LINK + "//"])
def test_trailing_slashes_make_no_difference(link: str) -> None:
    TOKENS.check(request(), link, TOKENS.make(request(), LINK + "/"))


def test_the_origin_is_the_pages_own() -> None:
    token = TOKENS.make(request("hub.example.org:8585"), LINK)
    TOKENS.check(request("elsewhere", "http://hub.example.org:8585"), LINK, token)
    for other in (request("evil.example.org"), request("hub.example.org:8585", "https://evil.example.org")):
        with pytest.raises(InvalidBuildToken):
            TOKENS.check(other, LINK, token)
    BuildTokens(SECRET, 300, check_origin=False).check(request("evil.example.org"), LINK, token)


def test_another_links_old_forged_or_garbled_tokens_are_refused() -> None:
    old = BuildTokens(SECRET, 300, check_origin=True, clock=lambda: 1.0).make(request(), LINK)
    forged = BuildTokens("x" * 32, 300, check_origin=True).make(request(), LINK)
    unsigned = jwt.encode({"exp": 2**40, "aud": LINK, "origin": "hub.example.org"}, "", algorithm="none")
    endless = jwt.encode({"aud": LINK, "origin": "hub.example.org"}, SECRET, algorithm="HS256")
    for token in (old, forged, unsigned, endless, "", "x.y.z", "\udc80", TOKENS.make(request(), "gh/o/r/other")):
        with pytest.raises(InvalidBuildToken):
            TOKENS.check(request(), LINK, token)
