"""The wire protocol, row by row, asked of a real service below a prefix: what links, badges and clients rely on."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from tests.support.git_server import GitServer
from tests.support.service import Service, environment
from tests.support.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

JOURNAL = "https://journal.example.org"
BANNED = {"X-Forwarded-For": "203.0.113.9"}
STREAM = {"Accept": "text/event-stream"}
COMMIT = "0" * 40


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def binder(shared: Service, git_server: GitServer, data_dir: Path) -> AsyncIterator[Service]:
    """A public service: below a prefix, behind a proxy, with rules, limits and an allowed origin."""
    if shared.process is not None:
        await shared.stop()
    settings = {
        "BASE_URL": "services/binder",
        "CORS_ALLOW_ORIGIN": JOURNAL,
        "TRUSTED_PROXIES": '["127.0.0.0/8"]',
        "LIMITS__BANNED_NETWORKS": '{"203.0.113.0/24": "that data centre"}',
        "LIMITS__BANNED": '{"gh": ["^evil/"]}',
        "LIMITS__PER_REPOSITORY": "1",
        "RATE_LIMIT__LIMIT": "1000",
        "LAUNCH_LOG": str(data_dir.with_name("launches.jsonl")),
    }
    service = Service(data_dir, environment(git_server, **{f"BINDERY_{name}": text for name, text in settings.items()}))
    await service.start()
    yield service
    await service.stop()


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def client(binder: Service) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


class Answer:
    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = body.decode(errors="replace")

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line[6:]) for line in self.text.splitlines() if line.startswith("data: ")]


async def ask(
    client: aiohttp.ClientSession,
    service: Service,
    path: str,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
) -> Answer:
    """Ask for a path below the service's address, or from the host's root if it begins with a slash."""
    address = URL(
        service.url + path if not path.startswith("/") else str(URL(service.url).origin()) + path, encoded=True
    )
    async with client.request(method, address, headers=headers, allow_redirects=False) as response:
        return Answer(response, await response.read())


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "", 200, "window.pageConfig"),
        ("GET", "/services/binder", 307, ""),
        ("GET", "/", 404, ""),
        ("GET", "/v2/gh/o/r/HEAD", 404, ""),
        ("GET", "/build/gh/o/r/HEAD", 404, ""),
        ("GET", "/health", 404, ""),
        ("GET", "versions", 200, '"binderhub"'),
        ("HEAD", "versions", 405, ""),
        ("GET", "health", 200, '"ok":true'),
        ("HEAD", "health", 200, ""),
        ("POST", "health", 405, ""),
        ("GET", "metrics", 200, "binderhub_launch_count_total"),
        ("GET", "api/repoproviders", 200, '"validateRegex"'),
        ("GET", "about", 200, "Bindery"),
        ("GET", "nosuch", 404, "There is nothing here"),
        ("GET", "_config", 404, ""),
        ("GET", "api/v1/nosuch", 404, '"code":"not_found"'),
        ("GET", "v2/gh/o/r/HEAD", 200, "build_token="),
        ("GET", "v2/zenodo/10.5281/zenodo.3242074/", 200, "build_token="),
        ("GET", "v2/nosuch/o/r/HEAD", 404, "No provider found for prefix nosuch"),
        ("GET", "v2/gh/user", 400, ""),
        ("GET", "v2/gh/user/repo", 400, "user/repo/HEAD"),
        ("GET", "v2/gh/evil/r/HEAD", 403, "Sorry, evil/r/HEAD is not allowed to launch."),
        ("GET", "v2/gh/o/r/HEAD?urlpath=https%3A%2F%2Fevil.example%2F", 400, ""),
        ("GET", "v2/gh/o/r/HEAD?urlpath=..%2Fother%2F", 400, ""),
        ("GET", "build/gh", 404, ""),
        ("GET", "build/gh/", 404, ""),
        ("POST", "build/gh/o/r/HEAD", 405, ""),
        ("HEAD", "build/gh/o/r/HEAD", 405, ""),
        ("GET", "badge.svg", 200, "<svg"),
        ("GET", "badge_logo.svg", 200, "<svg"),
        ("GET", "assets/images/badge.svg", 200, "<svg"),
        ("HEAD", "badge_logo.svg", 200, ""),
        ("GET", "logo_social.png", 200, "PNG"),
        ("GET", "favicon_building.ico", 200, ""),
        ("GET", "favicon_success.ico", 200, ""),
        ("GET", "favicon_fail.ico", 200, ""),
    ],
)
async def test_routes(
    binder: Service, client: aiohttp.ClientSession, method: str, path: str, status: int, text: str
) -> None:
    answer = await ask(client, binder, path, method=method)
    assert answer.status == status
    assert text in answer.text.replace('": ', '":')
    if status == 405:
        assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("repo/u/r", "v2/gh/u/r/master"),
        ("repo/u/r/", "v2/gh/u/r/master"),
        ("repo/u/r/notebooks/a%20b.ipynb", "v2/gh/u/r/master?urlpath=%2Fnotebooks%2Fa%20b.ipynb"),
    ],
)
async def test_links_of_the_first_binder(
    binder: Service, client: aiohttp.ClientSession, path: str, target: str
) -> None:
    answer = await ask(client, binder, path)
    assert (answer.status, answer.headers["Location"]) == (302, f"/services/binder/{target}")


async def test_badges_are_cached(binder: Service, client: aiohttp.ClientSession) -> None:
    badge = await ask(client, binder, "badge_logo.svg")
    again = await ask(client, binder, "badge_logo.svg", {"If-None-Match": badge.headers["Etag"]})
    assert again.status == 304


@pytest.mark.parametrize(
    "path", ["", "versions", "health", "build/gh/o/r/HEAD", "v2/gh/o/r/HEAD", "api/v1/sessions", "no"]
)
async def test_a_preflight_is_answered_and_runs_nothing(
    binder: Service, client: aiohttp.ClientSession, path: str
) -> None:
    asked = {"Origin": JOURNAL, "Access-Control-Request-Method": "POST", "Accept": "*/*"}
    answer = await ask(client, binder, path, asked, "OPTIONS")
    assert (answer.status, answer.text) == (200, "")
    assert answer.headers["Access-Control-Allow-Origin"] == JOURNAL
    allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert {"cache-control", "authorization", "content-type", "last-event-id"} <= set(allowed)
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize("path", ["versions", "health", "v2/gh/o/r/HEAD", "build/gh/user", "api/v1/status", "no"])
async def test_other_sites_may_read_every_answer(binder: Service, client: aiohttp.ClientSession, path: str) -> None:
    answer = await ask(client, binder, path, STREAM)
    # Anybody may compare versions, as federations do.
    assert answer.headers.getall("Access-Control-Allow-Origin") == ["*" if path == "versions" else JOURNAL]
    assert "cache-control" in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    ("accept", "refused"),
    [
        ("text/event-stream", False),
        ("text/event-stream, */*", False),
        ("text/html;q=0.9, text/event-stream;q=0.1", False),
        ("TEXT/Event-Stream", False),
        ("text/html", True),
        ("application/json;q=0.5", True),
    ],
)
async def test_accept_is_a_list(binder: Service, client: aiohttp.ClientSession, accept: str, refused: bool) -> None:
    answer = await ask(client, binder, "build/gh/user", {"Accept": accept})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert answer.headers["Cache-Control"] == "no-cache"
    (event,) = answer.events
    assert event["phase"] == "failed"
    assert event["status_code"] == 400
    assert ("Missing Accept header: text/event-stream" in event["message"]) is refused


@pytest.mark.parametrize(
    ("spec", "status", "message"),
    [
        ("gh/user", 400, 'Spec is not of the form "user/repo/ref", provided: "user".'),
        ("gh/user/repo", 400, 'Did you mean "user/repo/HEAD"?'),
        ("gl/only", 400, 'provided: "only"'),
        ("gist/only", 400, 'provided: "only"'),
        ("git/ftp%3A%2F%2Fx/main", 403, "Unsupported git url ftp://x, protocol ftp not in "),
        ("hydroshare/abc", 400, "abc"),
        ("nosuch/o/r/HEAD", 404, "No provider found for prefix nosuch"),
        ("gh/evil/r/HEAD", 403, "Sorry, evil/r/HEAD is not allowed to launch. Please contact admins for more info!"),
        (
            "gh/user/nosuch/v1",
            404,
            "Could not resolve ref for gh:user/nosuch/v1. Double check your URL and that your repo is public.",
        ),
        ("gh/o/r/main?build_token=nonsense", 403, "Invalid build token"),
        # The checks' order: the provider comes before what only an operator may allow.
        ("nosuch/o/r/main?build_only=true", 404, "No provider found for prefix nosuch"),
    ],
)
async def test_a_refusal_is_one_event(
    binder: Service, client: aiohttp.ClientSession, spec: str, status: int, message: str
) -> None:
    answer = await ask(client, binder, f"build/{spec}", STREAM)
    assert answer.status == 200
    (event,) = answer.events
    assert event["phase"] == "failed"
    assert event["status_code"] == status
    assert message in event["message"]
    assert event["message"].endswith("\n")
    assert event["code"]
    assert re.search(r"^id: end$", answer.text, re.MULTILINE)
    assert (await ask(client, binder, f"build/{spec}", {**STREAM, "Last-Event-ID": "end"})).status == 204


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("health", 200, "ok"),
        ("versions", 200, "binderhub"),
        ("badge.svg", 200, "<svg"),
        ("", 403, "Requests from that data centre are not allowed"),
        ("metrics", 403, "that data centre"),
        ("api/repoproviders", 403, "that data centre"),
        ("v2/gh/o/r/HEAD", 403, "That is not allowed here"),
        ("api/v1/status", 403, '"code":"network_banned"'),
        ("build/gh/o/r/HEAD", 200, '"status_code":403'),
    ],
)
async def test_a_banned_network(
    binder: Service, client: aiohttp.ClientSession, path: str, status: int, text: str
) -> None:
    # The first addresses are whatever the client wrote; only the last one is the proxy's own word.
    answer = await ask(client, binder, path, {**STREAM, "X-Forwarded-For": "198.51.100.1, 203.0.113.9"})
    assert answer.status == status
    assert text in answer.text.replace('": ', '":')


async def test_a_launch_whose_quota_is_reached(
    binder: Service, client: aiohttp.ClientSession, git_server: GitServer, data_dir: Path
) -> None:
    name = f"protocol/{uuid.uuid4().hex[:8]}"
    commit = git_server.repository(name).commit({"requirements.txt": ""})
    asked = {**STREAM, "Origin": f"{JOURNAL}:8443"}
    first = await ask(client, binder, f"build/gh/{name}/HEAD/", asked)
    assert first.headers["x-ratelimit-limit"] == "1000"
    assert int(first.headers["x-ratelimit-remaining"]) < 1000
    assert int(first.headers["x-ratelimit-reset"]) > 10**9
    ready = first.events[-1]
    assert ready["phase"] == "ready"
    assert ready["binder_request"] == f"v2/gh/{name}/HEAD"
    assert ready["binder_persistent_request"] == f"v2/gh/{name}/{commit}"
    assert ready["binder_launch_host"] == binder.url
    assert ready["url"].startswith(f"{binder.url}user/")
    assert ready["url"].endswith("/")
    assert re.fullmatch(r"[\w-]{22}", ready["token"])
    assert {"image", "repo_url", "binder_ref_url", "binder_client_ip"} <= ready.keys()
    assert all("message" in event for event in first.events)
    assert not re.search(r"^(event|retry):", first.text, re.MULTILINE)

    refused = await ask(client, binder, f"build/gh/{name}/HEAD", STREAM)
    assert [event["phase"] for event in refused.events] == ["built", "failed"]
    assert refused.events[-1]["message"] == f"Too many users running {ready['repo_url']}! Try again soon.\n"
    assert refused.events[-1]["retry_after_seconds"] > 0
    wish = {"provider": "gh", "spec": f"{name}/HEAD"}
    async with client.post(f"{binder.url}api/v1/sessions", json=wish) as response:
        assert response.status == 503
        assert response.content_type == "application/problem+json"
        assert int(response.headers["Retry-After"]) > 0
        assert (await response.json())["code"] == "repository_quota_reached"

    metrics = (await ask(client, binder, "metrics")).text
    assert 'binderhub_launch_count_total{provider="GitHub",status="repo_quota"} 2.0' in metrics
    log = data_dir.with_name("launches.jsonl")
    await until(lambda: log.exists() and log.read_text().endswith("\n"), what="the launch is logged")
    (event,) = map(json.loads, log.read_text().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event.pop("timestamp"))
    assert event == {
        "schema": "binderhub.jupyter.org/launch",
        "version": 6,
        "provider": "GitHub",
        "spec": f"{name}/HEAD",
        "ref": commit,
        "status": "success",
        "build_token": False,
        "origin": "journal.example.org:8443",
        "request_origin": f"{JOURNAL}:8443",
    }


async def test_what_only_an_operator_may_allow(
    binder: Service, client: aiohttp.ClientSession, git_server: GitServer
) -> None:
    name = f"protocol/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit({"requirements.txt": ""})
    (event,) = (await ask(client, binder, f"build/gh/{name}/HEAD?build_only=TRUE", STREAM)).events
    assert event["status_code"] == 400
    assert "without launching" in event["message"]


async def test_the_health_of_a_member_of_a_federation(binder: Service, client: aiohttp.ClientSession) -> None:
    report = json.loads((await ask(client, binder, "health")).text)
    (quota,) = [check for check in report["checks"] if check["service"] == "Pod quota"]
    assert quota.keys() >= {"total_pods", "build_pods", "user_pods", "quota", "ok"}
    assert quota["_ignore_failure"] is True
    assert quota["quota"] == 100


async def test_maintenance_is_for_everybody_but_the_operator(
    binder: Service, client: aiohttp.ClientSession, git_server: GitServer, data_dir: Path
) -> None:
    await binder.stop()
    closed = Service(data_dir, environment(git_server, BINDERY_LIMITS__MAINTENANCE="We are back at six."))
    await closed.start()
    try:
        name = f"protocol/{uuid.uuid4().hex[:8]}"
        git_server.repository(name).commit({"requirements.txt": ""})
        page = await ask(client, closed, f"v2/gh/{name}/HEAD")
        assert (page.status, page.headers["Retry-After"]) == (503, "300")
        assert "We are back at six." in page.text
        (event,) = (await ask(client, closed, f"build/gh/{name}/HEAD", STREAM)).events
        assert (event["code"], event["status_code"]) == ("under_maintenance", 503)
        token = json.loads((data_dir / "service.json").read_text())["token"]
        operator = {**STREAM, "Authorization": f"Bearer {token}"}
        assert (await ask(client, closed, f"build/gh/{name}/HEAD", operator)).events[-1]["phase"] == "ready"
    finally:
        await closed.stop()
