"""Published clients drive the real service, from another origin."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from bindery.process import run
from tests.support.browser import browser as chromium
from tests.support.git_server import GitServer
from tests.support.journal import Journal, journal
from tests.support.needs import need
from tests.support.npm import installed, packed
from tests.support.service import Service, environment

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
#: What is run in the session: its output proves that the repository's own files and packages are there.
CODE = "import six, pathlib; print(six.__name__, pathlib.Path('data.txt').read_text().upper())"
OUTPUT = "six FROM THE REPOSITORY"


@pytest.fixture(scope="module")
def repository(git_server: GitServer) -> str:
    name = f"clients/{uuid.uuid4().hex[:8]}"
    git_server.repository(name).commit({"requirements.txt": "six\n", "data.txt": "from the repository"})
    return name


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context()
    opened = await context.new_page()
    opened.on("console", lambda line: print("console:", line.text))
    opened.on("pageerror", lambda error: print("error:", error))
    yield opened
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Journal]:
    async with journal() as opened:
        yield opened


THEBE_CORE = """
async ([binderUrl, repo, code]) => {
  const api = window.thebeCore.api;
  const events = api.makeEvents();
  const seen = [];
  events.on("status", (_, event) => seen.push(event.message));
  events.on("error", (_, event) => seen.push(event.message));
  const config = api.makeConfiguration({
    binderOptions: { binderUrl, repoProvider: "github", repo, ref: "HEAD" },
    savedSessionOptions: { enabled: false },
    kernelOptions: { kernelName: "python3" },
  }, events);
  const server = api.connectToBinder(config);
  await server.ready;
  const session = await server.startNewSession(api.makeRenderMimeRegistry());
  const future = session.kernel.requestExecute({ code });
  const parts = [];
  future.onIOPub = (message) => message.header.msg_type === "stream" && parts.push(message.content.text);
  const reply = await future.done;
  return { seen, status: reply.content.status, output: parts.join(""), url: server.userServerUrl };
}
"""


async def test_thebe_core_builds_connects_and_executes(
    public: Service, repository: str, site: Journal, page: Page
) -> None:
    site.folders.append(packed("thebe-core") / "dist" / "lib")
    site.pages["/"] = '<!doctype html><title>Article</title><script src="/thebe-core.min.js"></script>'
    await page.goto(site.url)
    done = await page.evaluate(THEBE_CORE, [public.url, repository, CODE])
    assert done["status"] == "ok"
    assert done["output"].strip() == OUTPUT
    assert done["url"].startswith(f"{public.url}user/")
    assert any("Binder is: built" in line or "Binder is: launching" in line for line in done["seen"])


async def test_thebe_runs_the_cells_of_an_article(public: Service, repository: str, site: Journal, page: Page) -> None:
    config = {
        "bootstrap": True,
        "requestKernel": True,
        "binderOptions": {"binderUrl": public.url, "repoProvider": "github", "repo": repository, "ref": "HEAD"},
        "kernelOptions": {"kernelName": "python3"},
        "savedSessionOptions": {"enabled": False},
    }
    site.folders.append(packed("thebe") / "lib")
    site.pages["/"] = (
        "<!doctype html><title>Article</title>"
        f'<script type="text/x-thebe-config">{json.dumps(config)}</script><script src="/index.js"></script>'
        f'<pre data-executable="true" data-language="python">{CODE}</pre>'
    )
    # A cell that is run before has no kernel, and thebe forgets it.
    async with page.expect_console_message(lambda line: "Attached to session" in line.text, timeout=60_000):
        await page.goto(site.url)
    await page.get_by_role("button", name="run", exact=True).first.click()
    await expect(page.get_by_text(OUTPUT)).to_be_visible(timeout=60_000)


async def test_a_shell_script_launches(public: Service, repository: str) -> None:
    need(shutil.which("curl"), "curl: apt-get install curl")
    done = await run(
        [EXAMPLES / "launch.sh", public.url, f"gh/{repository}/HEAD"], env=environment(), timeout_seconds=120
    )
    assert done.returncode == 0, done.stderr
    address = done.stdout.decode().strip()
    assert address.startswith(f"{public.url}user/")
    async with aiohttp.ClientSession() as client, client.get(address, allow_redirects=True) as answer:
        assert answer.status == 200
    assert b"Found built image" in done.stderr or b"Environment" in done.stderr
    failed = await run([EXAMPLES / "launch.sh", public.url, "gh/no/such/HEAD"], env=environment(), timeout_seconds=60)
    assert failed.returncode == 1
    assert b"public" in failed.stderr


async def test_a_python_program_runs_code(public: Service, git_server: GitServer, repository: str) -> None:
    argv = (sys.executable, EXAMPLES / "run_code.py", public.url)
    done = await run((*argv, f"{git_server.url}/{repository}", CODE), env=environment(), timeout_seconds=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == OUTPUT
    failed = await run((*argv, "nonsense", CODE), env=environment(), timeout_seconds=60)
    assert failed.returncode == 1
    assert b"is not a repository's address" in failed.stderr


BINDERHUB_CLIENT = """
import { BinderRepository } from "@jupyterhub/binderhub-client/client.js";

window.follow = async (spec, endpoint, options) => {
  const repository = new BinderRepository(spec, new URL(endpoint), options);
  const events = [];
  for await (const event of repository.fetch()) {
    events.push(event);
    if (event.phase === "ready" || event.phase === "failed") break;
  }
  repository.close();
  return events;
};
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client as one script, since neither browsers nor Node can import it as it is."""
    need(shutil.which("node"), "Node.js: apt-get install nodejs")
    modules = installed("binderhub-client") / "node_modules"
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "entry.js").write_text(BINDERHUB_CLIENT)
    (folder / "node_modules").symlink_to(modules)
    command = (modules / ".bin" / "esbuild", "entry.js", "--bundle", "--preserve-symlinks", "--outfile=client.js")
    subprocess.run((*command, "--log-level=error"), cwd=folder, check=True, timeout=60)
    return folder


class TestBinderHubClient:
    @pytest_asyncio.fixture(loop_scope="session", autouse=True)
    async def opened(self, site: Journal, page: Page, bundle: Path) -> None:
        site.folders.append(bundle)
        site.pages["/"] = '<!doctype html><title>Client</title><script src="/client.js"></script>'
        await page.goto(site.url)

    async def follow(self, public: Service, page: Page, spec: str, **options: Any) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = await page.evaluate(
            "(given) => window.follow(...given)", [spec, f"{public.url}build", options]
        )
        return events

    async def test_a_launch(self, public: Service, repository: str, page: Page) -> None:
        events = await self.follow(public, page, f"gh/{repository}/HEAD")
        assert all("message" in event for event in events)
        assert [event["phase"] for event in events][-2:] == ["launching", "ready"]
        ready = events[-1]
        assert ready["url"].startswith(f"{public.url}user/")
        assert ready["binder_request"] == f"v2/gh/{repository}/HEAD"
        assert {"image", "token", "repo_url", "binder_ref_url", "binder_launch_host"} <= ready.keys()

    async def test_a_build_alone(self, public: Service, repository: str, page: Page) -> None:
        events = await self.follow(public, page, f"gh/{repository}/HEAD", buildOnly=True)
        assert events[-1]["phase"] == "ready"
        assert events[-1]["imageName"]
        assert "token" not in events[-1]

    async def test_a_token_of_its_own_passes_the_preflight(self, public: Service, repository: str, page: Page) -> None:
        events = await self.follow(public, page, f"gh/{repository}/HEAD", buildOnly=True, apiToken="some")
        assert events[-1]["phase"] == "ready"

    async def test_a_failure_is_told_once(self, public: Service, page: Page) -> None:
        events = await self.follow(public, page, "gh/no/such/HEAD")
        assert [event["phase"] for event in events] == ["failed"]
        assert events[0]["code"] == "repository_not_found"
        assert events[0]["hint"]

    async def test_a_wrong_build_token_is_told(self, public: Service, repository: str, page: Page) -> None:
        events = await self.follow(public, page, f"gh/{repository}/HEAD", buildToken="nonsense")
        assert events[-1]["phase"] == "failed"
        assert events[-1]["status_code"] == 403
