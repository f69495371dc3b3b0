"""What pages of several other sites may read, and those of all others may not."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from multidict import CIMultiDictProxy
from yarl import URL

from tests.support.git_server import GitServer
from tests.support.service import Service, serving

JOURNAL, LAB = "https://journal.example.org", "http://lab.example.org:8080"
STRANGERS = [
    "null",
    "https://evil.example",
    f"{JOURNAL}.evil.example",
    f"{JOURNAL}:8443",
    "HTTPS://JOURNAL.EXAMPLE.ORG",
]
STREAM = {"Accept": "text/event-stream"}

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def service(git_server: GitServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A service that two sites' pages may use."""
    settings = {
        "CORS_ALLOW_ORIGIN": f'["{JOURNAL}/", "{LAB}"]',
        "TRUSTED_PROXIES": '["127.0.0.0/8"]',
        "LIMITS__BANNED_NETWORKS": '{"203.0.113.0/24": "that data centre"}',
        "RATE_LIMIT__LIMIT": "1",
    }
    folder: Path = tmp_path_factory.mktemp("origins") / "data"
    async with serving(folder, git_server, **{f"BINDERY_{name}": text for name, text in settings.items()}) as service:
        yield service


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


class Told:
    """What an answer's headers say of other sites."""

    def __init__(self, headers: CIMultiDictProxy[str]) -> None:
        self.allowed = headers.getall("Access-Control-Allow-Origin", [])
        self.varies = "Origin" in ", ".join(headers.getall("Vary", [])).split(", ")
        self.readable = headers.get("Access-Control-Expose-Headers", "")


async def told(
    client: aiohttp.ClientSession, url: str, method: str = "GET", *, status: int, headers: Mapping[str, str]
) -> Told:
    wish = {"provider": "gh", "spec": "o/r/HEAD"} if method == "POST" else None
    async with client.request(method, URL(url, encoded=True), headers=headers, json=wish) as answer:
        await answer.read()
        assert answer.status == status
        return Told(answer.headers)


ANSWERS = pytest.mark.parametrize(
    ("method", "path", "status", "sent"),
    [
        ("GET", "", 200, {}),
        ("GET", "health", 200, {}),
        ("GET", "nosuch", 404, {}),
        ("GET", "v2/gh/user", 400, {}),
        ("GET", "v2/nosuch/o/r/HEAD", 404, {}),
        ("GET", "api/v1/nosuch", 404, {}),
        ("GET", "api/v1/builds/nosuch", 404, {}),
        ("GET", "api/v1/images", 403, {}),
        ("POST", "api/v1/sessions", 429, {}),
        ("GET", "api/v1/status", 403, {"X-Forwarded-For": "203.0.113.9"}),
        ("GET", "v2/gh/o/r/HEAD", 403, {"X-Forwarded-For": "203.0.113.9"}),
        ("GET", "build/gh/o/r/HEAD", 200, {**STREAM, "X-Forwarded-For": "203.0.113.9"}),
        ("GET", "build/gh/user", 200, STREAM),
        ("GET", "build/gh/user", 204, {**STREAM, "Last-Event-ID": "end"}),
        ("HEAD", "build/gh/o/r/HEAD", 405, {}),
        *(
            ("OPTIONS", path, 200, {"Access-Control-Request-Method": "GET"})
            for path in ("", "build/gh/o/r/HEAD", "api/v1/sessions")
        ),
    ],
)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def exhausted(service: Service, client: aiohttp.ClientSession) -> str:
    """The URL of the service, where this client may launch nothing more."""
    await told(client, f"{service.url}build/gh/user", status=200, headers=STREAM)
    return service.url


@ANSWERS
@pytest.mark.parametrize("origin", [JOURNAL, LAB])
async def test_an_answer_names_the_site_that_asked(
    exhausted: str,
    client: aiohttp.ClientSession,
    method: str,
    path: str,
    status: int,
    sent: dict[str, str],
    origin: str,
) -> None:
    answer = await told(client, exhausted + path, method, status=status, headers={**sent, "Origin": origin})
    assert (answer.allowed, answer.varies) == ([origin], True)
    assert "retry-after" in answer.readable


@ANSWERS
async def test_an_answer_names_no_other_site(
    exhausted: str, client: aiohttp.ClientSession, method: str, path: str, status: int, sent: dict[str, str]
) -> None:
    for headers in (sent, *({**sent, "Origin": origin} for origin in STRANGERS)):
        answer = await told(client, exhausted + path, method, status=status, headers=headers)
        assert (answer.allowed, answer.varies, answer.readable) == ([], True, "")


async def test_anybody_may_compare_versions(service: Service, client: aiohttp.ClientSession) -> None:
    answer = await told(client, f"{service.url}versions", status=200, headers={"Origin": "https://evil.example"})
    assert answer.allowed == ["*"]


async def test_a_session_s_server_answers_them_alike(
    service: Service, client: aiohttp.ClientSession, git_server: GitServer
) -> None:
    name = f"origins/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit({"requirements.txt": "six\n"})
    async with client.get(f"{service.url}v2/gh/{name}/HEAD") as page:
        token = re.search(r"build_token=([\w.-]+)", await page.text())
    assert token is not None
    ready = (await service.stream(f"gh/{name}/HEAD?build_token={token[1]}").read()).last
    assert ready["phase"] == "ready", ready
    url, login = f"{ready['url']}api/kernels", {"Authorization": f"token {ready['token']}"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    for origin in (JOURNAL, LAB):
        answer = await told(client, url, status=200, headers={**login, "Origin": origin})
        assert (answer.allowed, answer.varies) == ([origin], True)
        answer = await told(client, url, "OPTIONS", status=200, headers={**asked, "Origin": origin})
        assert (answer.allowed, answer.varies) == ([origin], True)
    for origin in STRANGERS:
        answer = await told(client, url, status=200, headers={**login, "Origin": origin})
        assert (answer.allowed, answer.varies) == ([], True)
