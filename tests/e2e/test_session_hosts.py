"""Sessions that have a host each, with the real service and real notebook servers."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.support.git_server import GitServer
from tests.support.jupyter import Kernel
from tests.support.service import serving
from tests.support.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_each_session_is_at_its_own_host_alone(
    git_server: GitServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    git_server.repository("hosts/a").commit({"requirements.txt": "", "a.ipynb": "{}"})
    settings = {"BINDERY_SESSION__HOST": "{name}.localhost"}
    async with serving(tmp_path_factory.mktemp("hosts") / "data", git_server, **settings) as service:
        first = (await service.stream("gh/hosts/a/HEAD").read()).last
        second = (await service.stream("gh/hosts/a/HEAD").read()).last
        own, other = (each["url"].split("/")[2] for each in (first, second))
        name = own.partition(".")[0]
        assert own == f"{name}.localhost"
        async with aiohttp.ClientSession(service.url, headers={"Authorization": f"token {first['token']}"}) as client:
            await _answers_alone(client, name, own, other)
            async with client.post(f"/user/{name}/api/shutdown", headers={"Host": own}) as answer:
                assert answer.status == 200
            page = await _gone(client, name, own)
        assert f'href="{service.url}v2/gh/hosts/a/HEAD"' in page
        assert f'href="{service.url}static/bindery.css' in page


async def _answers_alone(client: aiohttp.ClientSession, name: str, own: str, other: str) -> None:
    here, there = {"Host": own}, {"Host": other}
    async with client.get(f"/user/{name}/api/status", headers=here) as answer:
        assert answer.status == 200
    async with client.get(f"/user/{name}/api/status", headers=there) as answer:
        assert answer.status == 421
    async with client.post(f"/user/{name}/api/kernels", headers=here, json={}) as answer:
        kernel: dict[str, Any] = await answer.json()
    channels = f"/user/{name}/api/kernels/{kernel['id']}/channels"
    async with client.ws_connect(channels, headers=here) as socket:
        assert "42" in (await Kernel(socket).run("print(6 * 7)")).text
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect(channels, headers=there)
    assert refused.value.status == 421


async def _gone(client: aiohttp.ClientSession, name: str, own: str) -> str:
    page = ""

    async def is_gone() -> bool:
        nonlocal page
        async with client.get(f"/user/{name}/lab", headers={"Host": own, "Accept": "text/html"}) as answer:
            page = await answer.text()
            return answer.status == 424 and "style-src *" in answer.headers["Content-Security-Policy"]

    await until(is_gone, 60, "the session has ended")
    return page
