"""How long a visitor waits: for a commit, for the first line, for a session of an image that is there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import aiohttp

from bindery.settings import Settings
from bindery.wiring import guard, make_resolver, rows
from builder.guard import GuardedClient
from tests.bench.figures import Samples, compare, show, title
from tests.bench.place import Place, plain_environment, timed
from tests.support.wait import until

RESOLUTIONS = 15
COMMITS = 8
LAUNCHES = 15
BARE_STARTS = 5
TOKEN = "bench"
NOTEBOOK = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'


async def measure_resolving(place: Place) -> None:
    """The resolver of the service, in this process, by turns with git's own way to ask for a ref."""
    title("Resolve: from a link to a commit, over HTTP")
    repository, name = place.repository()
    repository.commit({"requirements.txt": ""})
    ours: list[float] = []
    known: list[float] = []
    baseline: list[float] = []
    settings = Settings(
        data_dir=place.folder / "resolving",
        providers={"gh": {"url": place.git.url}},
        allow_private_repository_hosts=True,
    )
    settings.data_dir.mkdir()
    async with rows(settings) as stored, GuardedClient(guard(settings)) as client:
        resolver = make_resolver(settings, client, stored.database)
        await resolver.resolve("gh", f"{name}/HEAD")
        for number in range(RESOLUTIONS):
            repository.git("tag", f"v{number}")
            baseline.append(await timed("git", "ls-remote", f"{place.git.url}/{name}", f"refs/tags/v{number}"))
            for found in (ours, known):
                began = time.perf_counter()
                await resolver.resolve("gh", f"{name}/v{number}")
                found.append(time.perf_counter() - began)
    compare(Samples("a ref not asked for before", ours), Samples("git ls-remote", baseline), "")
    show(Samples("the same again, within a minute", known))


async def measure_commits(place: Place) -> None:
    """New commits whose dependencies are known: what one sees, and when, on the way to a session."""
    title("New commit, dependencies unchanged, from the click")
    repository, name = place.repository()
    repository.commit({"requirements.txt": "six\n", "index.ipynb": NOTEBOOK})
    await place.click(f"gh/{name}/HEAD")
    streams = []
    for number in range(COMMITS):
        commit = repository.commit({"index.ipynb": NOTEBOOK + " " * (number + 1)})
        repository.git("tag", f"c{number}")
        streams.append(await place.click(f"gh/{name}/c{number}"))
        assert commit in streams[-1].seen[-1].event["binder_ref_url"]
    show(
        Samples("first line (aim: within 200 ms)", [stream.seen[0].seconds for stream in streams]),
        Samples("first line of the build itself", [stream.until("fetching") for stream in streams]),
        Samples("image built", [stream.until("built") for stream in streams]),
        Samples("ready", [stream.until("ready") for stream in streams]),
    )


async def measure_launches(place: Place) -> None:
    """Sessions of an image that is there, by turns with a bare JupyterLab of the same environment."""
    title("Cached launch, from the click")
    repository, name = place.repository()
    repository.commit({"requirements.txt": "six\n", "index.ipynb": NOTEBOOK})
    await place.click(f"gh/{name}/HEAD")
    await _bare_start(place)
    asked, known, answered, baseline = [], [], [], []
    for number in range(LAUNCHES):
        if number % (LAUNCHES // BARE_STARTS) == 0:
            baseline.append(await _bare_start(place))
        repository.git("tag", f"t{number}")
        asked.append((await place.click(f"gh/{name}/t{number}")).until("ready"))
        began = time.perf_counter()
        stream = await place.click(f"gh/{name}/HEAD")
        known.append(stream.until("ready"))
        ready = stream.seen[-1].event
        assert await _answers(f"{ready['url']}api/status", ready["token"])
        answered.append(time.perf_counter() - began)
    bare = Samples("jupyter lab, same environment, to its first answer", baseline)
    compare(Samples("ready, ref known", known), bare, "aim: 4 times as fast")
    compare(Samples("ready, ref asked for over HTTP", asked), bare, "aim: 4 times as fast")
    show(Samples("ref known, to the first answer through the service", answered))


async def _bare_start(place: Place) -> float:
    """Seconds from the command to a JupyterLab's first answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    home = place.folder / "bare"
    home.mkdir(exist_ok=True)
    flags = [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={home}"]
    argv = [str(place.server_python), "-m", "jupyterlab", "--no-browser", "--allow-root", *flags]
    environment = plain_environment() | {"JUPYTER_TOKEN": TOKEN, "HOME": str(home)}
    with (home / "log").open("wb") as log:
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=log, stderr=log)
        try:
            await until(lambda: _answers(f"http://127.0.0.1:{port}/api/status"), 60, "jupyter lab answers")
            return time.perf_counter() - began
        finally:
            process.terminate()
            await process.wait()


async def _answers(url: str, token: str = TOKEN) -> bool:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as client:
        with contextlib.suppress(aiohttp.ClientConnectorError):
            async with client.get(url, headers={"Authorization": f"token {token}"}) as response:
                return response.status == 200
    return False
