"""oEmbed, the button's script and its page in a frame."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI

from tests.support.link_vectors import PROVIDERS
from web import embedding
from web.embedding import Embedding
from web.shell import Pages

HOST = "https://bindery.example.org"
LINK = f"{HOST}/v2/gh/o/r/HEAD?labpath=a%20b.ipynb"


def opened(*ancestors: str, base_url: str = "/") -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(embedding.router(Embedding(Pages(PROVIDERS, base_url=base_url), ancestors)))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with opened("https://*.journal.example") as client:
        yield client


async def test_a_link_becomes_a_frame(client: httpx.AsyncClient) -> None:
    answer = await client.get("/oembed", params={"url": LINK})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    told = answer.json()
    assert (told["version"], told["type"], told["title"]) == ("1.0", "rich", "Run o/r")
    assert f'src="{HOST}/embed/gh/o/r/HEAD?labpath=a%20b.ipynb" width="600" height="260"' in told["html"]
    assert (told["width"], told["height"]) == (600, 260)
    assert (await client.get(told["html"].split('"')[1])).status_code == 200


async def test_without_frames_it_is_a_badge() -> None:
    async with opened() as client:
        told = (await client.get("/oembed", params={"url": LINK})).json()
    assert told["html"].startswith(f'<a href="{LINK}"')
    assert "<iframe" not in told["html"]
    assert (told["width"], told["height"]) == (115, 20)


async def test_it_is_as_small_as_it_must_be(client: httpx.AsyncClient) -> None:
    told = (await client.get("/oembed", params={"url": LINK, "maxwidth": 320, "maxheight": 9000})).json()
    assert (told["width"], told["height"]) == (320, 260)
    assert 'width="320" height="260"' in told["html"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("url=", 400),
        (f"url={quote(LINK)}&maxwidth=0", 400),
        (f"url={quote(LINK)}&maxheight=wide", 400),
        (f"url={quote(LINK)}&format=xml", 501),
        ("url=https://elsewhere.example/v2/gh/o/r/HEAD", 404),
        (f"url={HOST}/", 404),
        (f"url={HOST}/v2/gh/only", 404),
        (f"url={HOST}/v2/nosuch/o/r/HEAD", 404),
        (f"url={HOST}.evil.example/v2/gh/o/r/HEAD", 404),
        (f"url={HOST}/v2/gh/o/r/HEAD%3Furlpath%3Dhttps%253A%252F%252Fevil.example", 404),
    ],
)
async def test_what_cannot_be_shown_says_why(client: httpx.AsyncClient, query: str, status: int) -> None:
    answer = await client.get(f"/oembed?{query}")
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.json()["hint"]


async def test_names_are_text_in_the_html(client: httpx.AsyncClient) -> None:
    link = f'{HOST}/v2/gh/o/{quote("<b>{x}")}"/HEAD'
    told = (await client.get("/oembed", params={"url": link})).json()
    assert "<b>" not in told["html"]
    assert told["html"].count('"') == 12
    assert "{x}" in told["html"]


async def test_http_and_https_are_the_same_service_and_a_prefix_counts() -> None:
    async with opened(base_url="/services/bindery/") as client:
        inside = "http://bindery.example.org/services/bindery/v2/gh/o/r/HEAD"
        assert (await client.get("/services/bindery/oembed", params={"url": inside})).status_code == 200
        assert (await client.get("/services/bindery/oembed", params={"url": LINK})).status_code == 404


async def test_who_may_frame_the_button_is_the_operators_word(client: httpx.AsyncClient) -> None:
    page = await client.get("/embed/gh/o/r/HEAD?labpath=a%20b.ipynb")
    assert "frame-ancestors 'self' https://*.journal.example" in page.headers["Content-Security-Policy"]
    assert f'repository="{LINK}"' in page.text
    async with opened() as closed:
        page = await closed.get("/embed/gh/o/r/HEAD")
    assert page.headers["Content-Security-Policy"].endswith("frame-ancestors 'self'")


@pytest.mark.parametrize("path", ["gh/only", "nosuch/o/r/HEAD", "gh/o/r/HEAD?urlpath=//x/../../.."])
async def test_no_frame_for_what_is_no_link(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(f"/embed/{path}")).status_code == 404


async def test_the_script_may_be_used_anywhere_and_kept_a_while(client: httpx.AsyncClient) -> None:
    script = await client.get("/embed.js")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert script.headers["Access-Control-Allow-Origin"] == "*"
    assert script.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert script.headers["Cache-Control"] == "public, max-age=3600"
    again = await client.get("/embed.js", headers={"If-None-Match": script.headers["ETag"]})
    assert again.status_code == 304
    assert again.headers["Access-Control-Allow-Origin"] == "*"
