from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from bindery.errors import QuotaReached, UnderMaintenance
from tests.support.link_vectors import PROVIDERS
from web import pages
from web.pages import Ended, Pages
from web.showcase import Lists, Shown

HOSTILE = "%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%27"


def _app(known: Pages) -> FastAPI:
    app = FastAPI()
    app.include_router(pages.router(known))
    app.add_exception_handler(404, lambda request, error: pages.not_found(known, request))

    @app.get("/gone")
    async def gone(request: Request) -> Response:
        return pages.gone_page(known, request, Ended("v2/gh/o/r/HEAD?labpath=a.ipynb", reason="It was idle."))

    @app.get("/busy")
    async def busy(request: Request) -> Response:
        return pages.error_page(known, request, QuotaReached("Every seat is taken."))

    @app.get("/closed")
    async def closed(request: Request) -> Response:
        return pages.error_page(known, request, UnderMaintenance(known.maintenance))

    return app


def _client(known: Pages) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(_app(known)), base_url="http://bindery.test")


async def _showcase() -> Lists:
    return Lists((Shown("o/<b>r</b>", "GitHub", "v2/gh/o/r/HEAD"),), (Shown("a/b", "GitHub", "v2/gh/a/b/HEAD", 12),))


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    known = Pages(
        PROVIDERS,
        version="1.2.3",
        notice="One computer only.",
        homes={"gh": "https://github.com"},
        showcase=_showcase,
    )
    async with _client(known) as opened:
        yield opened


def _config(page: httpx.Response) -> dict[str, Any]:
    """As tools read it: the first script of the head."""
    head = page.text.partition("</head>")[0]
    script = re.search(r"<script[^>]*>(.*?)</script>", head, re.DOTALL)
    assert script
    text = script[1].strip()
    assert text.startswith("window.pageConfig = ")
    found: dict[str, Any] = json.loads(text.removeprefix("window.pageConfig = ").removesuffix(";"))
    return found


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/about", 200),
        ("/launch", 400),
        ("/launch?repo=nonsense", 400),
        ("/launch?repo=%00", 400),
        (f"/launch?repo={'a' * 3000}", 400),
        ("/v2/gh/o/r/HEAD", 200),
        (f"/v2/gh/o/{HOSTILE}/HEAD", 200),
        ("/v2/git/https%3A%2F%2Fgit.example.com%2Fa/main", 200),
        ("/v2/gh/o/r/HEAD?urlpath=https://evil.example/", 400),
        ("/v2/gh/o/r", 400),
        ("/v2/gh/o", 400),
        ("/v2/gh/", 400),
        ("/v2/nosuch/o/r/HEAD", 404),
        ("/nothing", 404),
        ("/static/nothing.js", 404),
        ("/static/..%2fpages.py", 404),
        ("/busy", 503),
    ],
)
async def test_every_page_has_its_status_and_the_policy(client: httpx.AsyncClient, path: str, status: int) -> None:
    page = await client.get(path)
    assert page.status_code == status
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    nonces = set(re.findall(r'nonce="([^"]+)"', page.text))
    assert len(nonces) == 1
    assert f"'nonce-{nonces.pop()}'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert '<div id="root"></div>' in page.text
    assert not re.search(r"<[^>]+\son[a-z]+=", page.text)
    assert " style=" not in page.text
    assert _config(page)["repoProviders"] == PROVIDERS
    assert page.text.count("<h1") == 1


async def test_every_answer_has_a_nonce_of_its_own(client: httpx.AsyncClient) -> None:
    first, second = await client.get("/"), await client.get("/")
    assert first.headers["content-security-policy"] != second.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        f"/?repo={HOSTILE}&ref={HOSTILE}&path={HOSTILE}&provider={HOSTILE}",
        f"/launch?repo={HOSTILE.replace('%2F', '')}",
        f"/v2/gh/o/{HOSTILE}/{HOSTILE}?labpath={HOSTILE}",
        f"/v2/git/{HOSTILE}/{HOSTILE}",
        f"/v2/git/javascript%3Aalert(1)%2F{HOSTILE}/main",
        f"/v2/gh/{HOSTILE}",
        f"/v2/{HOSTILE}/x",
        f"/v2/gh/o/r/HEAD?urlpath=../{HOSTILE}",
    ],
)
async def test_hostile_text_is_shown_as_text(client: httpx.AsyncClient, path: str) -> None:
    page = await client.get(path)
    assert "<script>alert" not in page.text
    assert 'href="javascript' not in page.text
    assert _config(page)["baseUrl"] == "/"


async def test_the_host_header_is_hostile_text_too(client: httpx.AsyncClient) -> None:
    page = await client.get("/", headers={"host": '"><script>alert(1)</script>'})
    assert "<script>alert" not in page.text


async def test_the_spec_stays_percent_encoded(client: httpx.AsyncClient) -> None:
    page = await client.get("/v2/git/https%3A%2F%2Fgit.example.com%2Fa%2Fb/feature%2Fx/")
    launch = _config(page)["launch"]
    assert launch["buildUrl"] == "/build/git/https%3A%2F%2Fgit.example.com%2Fa%2Fb/feature%2Fx"
    assert launch["title"] == "https://git.example.com/a/b"
    assert 'content="Git repository: https%3A%2F%2Fgit.example.com%2Fa%2Fb/feature%2Fx"' in page.text


async def test_the_launch_page_knows_the_checked_path(client: httpx.AsyncClient) -> None:
    page = await client.get("/v2/gh/o/r/HEAD?labpath=a%20b.ipynb")
    assert _config(page)["launch"]["path"] == "doc/tree/a%20b.ipynb"
    assert "http://bindery.test/v2/gh/o/r/HEAD?labpath=a%20b.ipynb" in page.text
    launch = _config(page)["launch"]
    assert launch["opens"] == "a b.ipynb"
    assert launch["streamUrl"] == "/build/gh/o/r/HEAD?about=true&opens=a+b.ipynb"
    assert launch["formUrl"] == "/?repo=o%2Fr&ref=HEAD&path=a+b.ipynb&open=file&provider=gh"
    assert launch["refUrl"] == "/v2/gh/o/r/{ref}?labpath=a%20b.ipynb"
    assert 'href="https://github.com/o/r"' in page.text
    assert "noscript" in page.text


async def test_a_login_in_a_link_is_taken_out_at_once(client: httpx.AsyncClient) -> None:
    page = await client.get("/v2/git/https%3A%2F%2Fuser%3Asecret%40git.example.com%2Fa/main?labpath=x")
    assert page.status_code == 302
    assert page.headers["location"] == "/v2/git/https%3A%2F%2Fgit.example.com%2Fa/main?labpath=x"


async def test_an_incomplete_spec_gets_a_link_that_works(client: httpx.AsyncClient) -> None:
    page = await client.get("/v2/gh/user/repo")
    assert 'href="/v2/gh/user/repo/HEAD"' in page.text
    assert "invalid_spec" in page.text


async def test_a_refused_path_can_be_left_out(client: httpx.AsyncClient) -> None:
    page = await client.get("/v2/gh/o/r/HEAD?urlpath=../other/")
    assert 'href="/v2/gh/o/r/HEAD"' in page.text
    assert "path_refused" in page.text


async def test_the_form_works_without_scripts(client: httpx.AsyncClient) -> None:
    answer = await client.get("/launch", params={"repo": "o/r", "ref": "dev", "path": "a.ipynb", "open": "file"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/v2/gh/o/r/dev?labpath=a.ipynb"
    answer = await client.get("/launch", params={"repo": "https://github.com/o/r/blob/main/n.ipynb"})
    assert answer.headers["location"] == "/v2/gh/o/r/main?labpath=n.ipynb"
    answer = await client.get("/launch", params={"repo": "10.5281/zenodo.1", "provider": "zenodo"})
    assert answer.headers["location"] == "/v2/zenodo/10.5281/zenodo.1"


async def test_a_mistyped_form_keeps_what_was_typed(client: httpx.AsyncClient) -> None:
    page = await client.get("/launch", params={"repo": "nonsense", "ref": "dev"})
    assert 'value="nonsense"' in page.text
    assert 'value="dev"' in page.text
    assert 'aria-invalid="true"' in page.text


async def test_the_form_shows_what_the_service_says(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert "One computer only." in page.text
    assert "o/&lt;b&gt;r&lt;/b&gt;" in page.text
    assert "12 launches" in page.text
    for provider in PROVIDERS:
        assert f'<option value="{provider["id"]}">' in page.text


async def test_a_session_that_ended_leads_to_a_new_one(client: httpx.AsyncClient) -> None:
    page = await client.get("/gone")
    assert 'href="/v2/gh/o/r/HEAD?labpath=a.ipynb"' in page.text
    assert "It was idle." in page.text
    assert page.status_code == 424
    assert "<script" not in page.text
    assert "script-src 'none'" in page.headers["content-security-policy"]
    assert all(page.headers[name] == value for name, value in pages.SCRIPTLESS.items())


async def test_links_of_the_first_binder_still_lead_somewhere() -> None:
    async with _client(Pages(PROVIDERS, base_url="/services/bindery/")) as client:
        for path, target in {
            "repo/u/r": "v2/gh/u/r/master",
            "repo/u/r/": "v2/gh/u/r/master",
            "repo/u/r/notebooks/a%20b.ipynb": "v2/gh/u/r/master?urlpath=%2Fnotebooks%2Fa%20b.ipynb",
        }.items():
            answer = await client.get(f"/services/bindery/{path}")
            assert answer.status_code == 302
            assert answer.headers["location"] == f"/services/bindery/{target}"


async def test_everything_is_below_the_base_address() -> None:
    async with _client(Pages(PROVIDERS, base_url="/services/bindery/", public_url="https://b.example/x/")) as client:
        page = await client.get("/services/bindery/v2/gh/o/r/HEAD")
        assert page.status_code == 200
        local = re.findall(r'(?:href|src)="(/[^"]*)"', page.text)
        assert local
        assert all(address.startswith("/services/bindery/") for address in local)
        assert "https://b.example/x/v2/gh/o/r/HEAD" in page.text
        assert _config(page)["launch"]["buildUrl"] == "/services/bindery/build/gh/o/r/HEAD"
        assert (await client.get("/v2/gh/o/r/HEAD")).status_code == 404


async def test_a_build_token_goes_with_the_stream() -> None:
    known = Pages(PROVIDERS, build_token=lambda request, audience: f"for {audience}")
    async with _client(known) as client:
        config = _config(await client.get("/v2/gh/o/r/HEAD"))
        assert config["buildToken"] == "for gh/o/r/HEAD"
        assert config["launch"]["buildUrl"] == "/build/gh/o/r/HEAD?build_token=for%20gh%2Fo%2Fr%2FHEAD"
        assert "buildToken" not in _config(await client.get("/"))


async def test_files_named_with_their_content_may_be_kept_for_ever(client: httpx.AsyncClient) -> None:
    page = await client.get("/v2/gh/o/r/HEAD")
    named = set(re.findall(r"/static/[a-z_.]+\?v=[0-9a-f]+", page.text))
    assert len(named) >= 10
    for address in named:
        file = await client.get(address)
        assert file.status_code == 200
        assert "immutable" in file.headers["cache-control"]
    plain = await client.get("/static/launch.js")
    assert plain.headers["cache-control"] == "no-cache"
    assert plain.headers["content-type"].startswith("text/javascript")
    again = await client.get("/static/launch.js", headers={"if-none-match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/badge_logo.svg", "/badge.svg", "/assets/images/badge.svg"])
async def test_badges_are_pictures_that_say_what_they_are(client: httpx.AsyncClient, path: str) -> None:
    badge = await client.get(path)
    assert badge.headers["content-type"].startswith("image/svg+xml")
    root = ElementTree.fromstring(badge.text)
    assert root.attrib["height"] == "20"
    if path == "/badge_logo.svg":
        assert f'width="{root.attrib["width"]}" height="20"' in (await client.get("/")).text
    assert root.attrib["aria-label"] == "Launch in Bindery"
    assert (await client.head(path)).status_code == 200


@pytest.mark.parametrize("name", ["favicon", "favicon_building", "favicon_success", "favicon_fail"])
async def test_icons_are_there(client: httpx.AsyncClient, name: str) -> None:
    icon = await client.get(f"/{name}.ico")
    assert icon.headers["content-type"] == "image/x-icon"
    assert icon.content[:4] == b"\x00\x00\x01\x00"


async def test_the_launch_page_is_light(client: httpx.AsyncClient) -> None:
    page = await client.get("/v2/gh/o/r/HEAD")
    addresses = set(re.findall(r'(?:href|src)="(/static/[^"]+|/badge_logo\.svg)"', page.text))
    weights = {address: len((await client.get(address)).content) for address in addresses}
    assert sum(weights.values()) > 10_000
    # The browser loads what scripts import, too, and the icons of other states.
    wanted = [address for address in addresses if ".js" in address]
    while wanted:
        script = (await client.get(wanted.pop())).text
        for name in re.findall(r'from "\./([a-z]+\.js)"', script):
            address = f"/static/{name}"
            if address not in weights:
                weights[address] = len((await client.get(address)).content)
                wanted.append(address)
    assert len(page.content) + sum(weights.values()) < 100_000


def test_scripts_write_text_and_never_markup() -> None:
    for script in (Path(pages.__file__).parent / "static").glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(", script.read_text()
        )


async def test_maintenance_is_told_before_anybody_tries() -> None:
    async with _client(Pages(PROVIDERS, maintenance="Back at <b>18:00</b>.")) as client:
        form, refused = await client.get("/"), await client.get("/closed")
    assert "No launches right now.</strong> Back at &lt;b&gt;18:00&lt;/b&gt;." in form.text
    assert refused.status_code == 503
    assert "No launches right now</h1>" in refused.text
    assert refused.text.count("Back at") == 1
