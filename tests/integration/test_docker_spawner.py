"""What the docker engine's spawner promises beyond the contract."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bindery.errors import EngineUnavailable, SessionFailed
from bindery.settings import MIB, SessionSettings
from launcher import later
from launcher.spawners.base import Running, SessionRequest
from launcher.spawners.docker import DockerSpawner
from launcher.spawners.docker_container import DESCRIPTION_LABEL
from tests.support.docker import engine, os_image
from tests.support.docker_sessions import NETWORK, EngineThatGoesAway, docker_spawner
from tests.support.notebook_server import NotebookServer
from tests.support.session_images import (
    ENVIRONMENT,
    SessionImages,
    build,
    make_classic_image,
    make_proxied_image,
    make_session_images,
)
from tests.support.wait import until

CONNECTS = """
import socket
for host, port in {places}:
    try:
        socket.create_connection((host, port), timeout=1).close()
        print(host, 'open')
    except OSError:
        print(host, 'closed')
"""
#: After what puts off: whether the real packages are left out, and do their work when they are used after all.
PUT_OFF = """
import asyncio, http.server, threading
import_jupyterlab()
put_off_index()
from jupyterlab.extensions.pypi import PyPIExtensionManager
from jupyterlab_server import listings_handler
manager = PyPIExtensionManager()
print("httpcore" in sys.modules, "urllib3" in sys.modules)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
place = f"http://127.0.0.1:{server.server_port}/"
print(asyncio.run(manager._httpx_client.get(place)).status_code, listings_handler.requests.get(place).status_code)
"""
HOG = "print(len(bytearray(10**9)))"


@pytest.fixture(scope="module")
def images() -> SessionImages:
    return make_session_images()


@contextlib.asynccontextmanager
async def spawning(
    limits: SessionSettings | None = None, instance: str | None = None, **docker: object
) -> AsyncIterator[DockerSpawner]:
    instance = instance or f"test-{secrets.token_hex(4)}"
    async with docker_spawner(limits or SessionSettings(), instance=instance, allow_origins=["*"], **docker) as spawner:
        try:
            yield spawner
        finally:
            for name in await spawner.list():
                await spawner.stop(name)


def request(image: str, name: str | None = None) -> SessionRequest:
    name = name or f"example-{secrets.token_hex(4)}"
    return SessionRequest(name, image, f"/user/{name}/", secrets.token_urlsafe(16), {"BINDER_REQUEST": "v2/gh/a/b/c"})


async def begin(spawner: DockerSpawner, image: str) -> tuple[str, NotebookServer]:
    wanted = request(image)
    await spawner.start(wanted)
    return wanted.name, await server_of(spawner, wanted)


async def server_of(spawner: DockerSpawner, wanted: SessionRequest) -> NotebookServer:
    address = await spawner.address(wanted.name)
    assert address is not None
    return await NotebookServer(address, wanted.base_url, wanted.token).wait()


async def docker(*words: str) -> str:
    return await asyncio.to_thread(engine().run, *words)


async def inspect(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await docker("container", "inspect", f"bindery-{name}"))[0]
    return found


async def ended(spawner: DockerSpawner, name: str) -> None:
    async def is_over() -> bool:
        return (await spawner.poll(name)).running is Running.EXITED

    await until(is_over, what="the container's end")


def test_what_jupyterlab_hardly_uses_works_when_it_is_used(images: SessionImages) -> None:
    program = Path(later.__file__).read_text() + PUT_OFF
    said = engine().run("run", "--rm", images.shared, f"{ENVIRONMENT}/bin/python", "-c", program)
    assert said.split() == ["False", "False", "200", "200"]


async def test_a_container_is_held_within_its_limits(images: SessionImages) -> None:
    limits = SessionSettings(memory_bytes=512 * MIB, cpus=0.5, max_processes=100, shared_memory_bytes=16 * MIB)
    async with spawning(limits) as spawner:
        name, server = await begin(spawner, images.shared)
        given = (await inspect(name))["HostConfig"]
        assert (given["Memory"], given["MemorySwap"]) == (512 * MIB, 512 * MIB)
        assert given["CpuQuota"] / given["CpuPeriod"] == 0.5
        assert "16M" in await server.run("import subprocess; subprocess.run(['df', '-h', '/dev/shm'])")
        flood = "import os\ntry:\n    [os.posix_spawn('/bin/sleep', ['sleep', '9'], {}) for _ in range(200)]\n"
        assert "EAGAIN" in await server.run(f"{flood}except OSError as error:\n    print('EAGAIN', error.errno)")
        hog = f"import subprocess; print(subprocess.run(['python', '-c', {HOG!r}]).returncode)"
        assert await server.run(hog) == f"-{signal.SIGKILL:d}\n"
        assert (await spawner.poll(name)).running is Running.RUNNING


async def test_a_server_that_takes_too_much_memory_is_ended() -> None:
    hungry = build("hungry", more=f'ENTRYPOINT ["python3", "-c", "{HOG}"]')
    async with spawning(SessionSettings(memory_bytes=128 * MIB)) as spawner:
        wanted = request(hungry)
        await spawner.start(wanted)
        await ended(spawner, wanted.name)
        assert (await inspect(wanted.name))["State"]["OOMKilled"]


async def test_a_session_has_no_privileges(images: SessionImages) -> None:
    async with spawning() as spawner:
        _, server = await begin(spawner, images.shared)
        status = dict(
            line.split(":\t")
            for line in (await server.run("print(open('/proc/self/status').read())")).splitlines()
            if line
        )
    assert {status[kind] for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Uid"].split() == ["1000"] * 4


async def test_an_image_of_root_does_not_run_as_root() -> None:
    async with spawning() as spawner:
        _, server = await begin(spawner, build("root", more="USER root\nENV HOME=/home/jovyan"))
        assert await server.run("import os; print(os.getuid(), os.getgid())") == "1000 1000\n"


async def test_a_session_cannot_reach_another_one(images: SessionImages) -> None:
    async with spawning() as spawner:
        _, first = await begin(spawner, images.shared)
        _, second = await begin(spawner, images.shared)
        host = first.address.host
        assert await second.run(CONNECTS.format(places=[(host, 8888), ("127.0.0.1", 8888)])) == (
            f"{host} closed\n127.0.0.1 open\n"
        )


async def test_the_token_is_a_variable_and_nothing_else(images: SessionImages) -> None:
    async with spawning() as spawner:
        name, server = await begin(spawner, images.shared)
        found = await inspect(name)
    variables = found["Config"].pop("Env")
    assert f"JUPYTER_TOKEN={server.token}" in variables
    assert server.token not in json.dumps(found)


async def test_sessions_outlive_a_killed_service_and_are_adopted(images: SessionImages) -> None:
    instance = f"test-{secrets.token_hex(4)}"
    wanted = request(images.shared)
    argv = [sys.executable, "-m", "tests.support.docker_sessions", instance, wanted.name, wanted.image, wanted.token]
    service = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert service.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert await service.stdout.readline() == b"started\n"
    finally:
        service.send_signal(signal.SIGKILL)
        await service.wait()
    async with spawning(instance=instance) as spawner:
        assert await spawner.list() == [wanted.name]
        assert (await spawner.poll(wanted.name)).running is Running.RUNNING
        before = (await inspect(wanted.name))["Id"]
        await spawner.start(wanted)
        assert (await inspect(wanted.name))["Id"] == before
        server = await server_of(spawner, wanted)
        assert await server.run("print(6 * 7)") == "42\n"


async def test_another_service_leaves_our_sessions_alone(images: SessionImages) -> None:
    async with spawning() as ours, spawning() as others:
        name, server = await begin(ours, images.shared)
        assert await others.list() == []
        assert (await others.poll(name)).running is Running.MISSING
        await others.stop(name)
        with pytest.raises(SessionFailed):
            await others.start(request(images.shared, name))
        assert await server.status() == 200


async def leave(spawner: DockerSpawner, wanted: SessionRequest, image: str, *, of_same_words: bool) -> str:
    """Put a container in the session's place that was made and did not run, as a killed service leaves one."""
    await spawner.start(wanted)
    labels = (await inspect(wanted.name))["Config"]["Labels"]
    await docker("rm", "--force", f"bindery-{wanted.name}")
    kept = [f"--label={key}={value}" for key, value in labels.items() if of_same_words or key != DESCRIPTION_LABEL]
    return await docker("create", f"--name=bindery-{wanted.name}", *kept, image)


async def test_what_was_made_but_did_not_run_is_started(images: SessionImages) -> None:
    async with spawning() as spawner:
        wanted = request(images.shared)
        left = await leave(spawner, wanted, images.shared, of_same_words=True)
        await spawner.start(wanted)
        assert (await inspect(wanted.name))["Id"] == left


@pytest.mark.parametrize("state", ["created", "exited"])
async def test_what_an_earlier_start_left_is_replaced(images: SessionImages, state: str) -> None:
    async with spawning() as spawner:
        wanted = request(images.shared)
        left = await leave(spawner, wanted, images.broken, of_same_words=False)
        if state == "exited":
            await docker("start", left)
            await docker("wait", left)
        assert await spawner.list() == [wanted.name]
        await spawner.start(wanted)
        assert (await inspect(wanted.name))["Id"] != left
        assert await (await server_of(spawner, wanted)).status() == 200


async def test_an_image_without_a_notebook_server_says_so() -> None:
    async with spawning() as spawner:
        wanted = request(os_image())
        await spawner.start(wanted)
        await ended(spawner, wanted.name)
        assert "no Jupyter server" in await spawner.logs(wanted.name)


async def test_a_container_that_cannot_begin_is_told_of_and_removed() -> None:
    async with spawning() as spawner:
        with pytest.raises(SessionFailed) as failed:
            await spawner.start(request(build("userless", more="USER nobody-knows")))
        assert "nobody-knows" in failed.value.hint
        assert await spawner.list() == []
        wanted = request(build("wrong", more='ENTRYPOINT ["/no/such/program"]'))
        await spawner.start(wanted)
        await ended(spawner, wanted.name)
        assert "/no/such/program" in await spawner.logs(wanted.name)


async def test_images_from_before_jupyterlab_start() -> None:
    async with spawning() as spawner:
        _, server = await begin(spawner, await asyncio.to_thread(make_classic_image))
        assert await server.status("tree") == 200
        assert await server.status("api/contents", token="wrong") == 403
        assert await server.run("print(6 * 7)") == "42\n"


async def test_programs_that_the_server_has_behind_it_are_reached() -> None:
    async with spawning() as spawner:
        _, server = await begin(spawner, await asyncio.to_thread(make_proxied_image))
        assert await server.status("rstudio/README.md") == 200
        assert await server.status("rstudio/nothing") == 404


async def test_many_starts_at_once_give_one_container_each(images: SessionImages) -> None:
    instance = f"test-{secrets.token_hex(4)}"
    async with spawning(instance=instance) as one, spawning(instance=instance) as other:
        wanted = request(images.shared)
        await asyncio.gather(*(spawner.start(wanted) for spawner in (one, other, one, other)))
        assert await one.list() == [wanted.name]
        assert await (await server_of(other, wanted)).status() == 200


async def test_a_port_on_loopback_can_be_used_instead_of_the_network(images: SessionImages) -> None:
    async with spawning(publish_ports=True) as spawner:
        _, server = await begin(spawner, images.shared)
        assert server.address.host == "127.0.0.1"
        assert await server.run("print(6 * 7)") == "42\n"


async def test_a_network_that_was_pruned_is_made_again(images: SessionImages) -> None:
    network = f"bt{secrets.token_hex(4)}"
    async with spawning(network=network) as spawner:
        await docker("network", "rm", network)
        _, server = await begin(spawner, images.shared)
        assert await server.status() == 200
        for name in await spawner.list():
            await spawner.stop(name)
        await docker("network", "rm", network)


async def test_an_engine_that_goes_away_loses_no_session(images: SessionImages) -> None:
    instance = f"test-{secrets.token_hex(4)}"
    async with (
        spawning(instance=instance),
        EngineThatGoesAway() as away,
        docker_spawner(SessionSettings(), instance=instance, host=away.host) as spawner,
    ):
        name, server = await begin(spawner, images.shared)
        await away.go()
        for asked in (spawner.list, lambda: spawner.logs(name), lambda: spawner.stop(name), lambda: spawner.poll(name)):
            with pytest.raises(EngineUnavailable):
                await asked()
        assert await server.status() == 200
        await away.come_back()
        assert await spawner.list() == [name]
        assert (await spawner.poll(name)).running is Running.RUNNING


async def test_no_engine_is_an_error_for_people() -> None:
    with pytest.raises(EngineUnavailable, match="does not answer"):
        async with docker_spawner(SessionSettings(), instance="x", host="unix:///nowhere/docker.sock"):
            pass


async def test_the_network_lets_sessions_not_talk() -> None:
    async with spawning():
        found = json.loads(await docker("network", "inspect", NETWORK))[0]
    assert found["Options"]["com.docker.network.bridge.enable_icc"] == "false"
