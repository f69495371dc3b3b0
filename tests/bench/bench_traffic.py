"""Session traffic: direct, through Bindery, and through configurable-http-proxy, against the same servers in one run.

`python -m tests.bench.bench_traffic [--seconds 1.0] [--rounds 2]` prints requests and round trips per second, the
median time of one, ratios, and the processor time that each proxy took for one: on a machine that does other work at
the same time, that is the figure to compare. A real Jupyter server answers `/api/status`; a small echo server answers
WebSocket messages. Each part is a process of its own. configurable-http-proxy comes from npm, once, in a cache.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvicorn
import uvloop
from fastapi import FastAPI

from launcher.spawners.base import Address
from tests.support.traffic import Known
from web.traffic import Route, Traffic, protocol_class

CONNECTIONS = (1, 10, 50)
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bindery-bench"
TOKEN = "bench"
MESSAGE = b"x" * 64
#: A text frame as a client sends it, masked with noughts; and as a server sends it.
CLIENT_FRAME = b"\x81" + bytes([0x80 | len(MESSAGE)]) + b"\0\0\0\0" + MESSAGE
SERVER_FRAME = b"\x81" + bytes([len(MESSAGE)]) + MESSAGE
STATUS = (
    b"GET /user/status/api/status HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
    b"Accept: application/json\r\nAccept-Language: en\r\nAccept-Encoding: gzip, deflate\r\nCookie: username=bench\r\n"
    b"Referer: http://127.0.0.1/user/status/lab\r\nAuthorization: token bench\r\nConnection: keep-alive\r\n\r\n"
)
HANDSHAKE = (
    b"GET /user/echo/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


# --- the parts, each in its own process ---------------------------------------------------------------------


class Echo(asyncio.Protocol):
    """Answers each message of the known length with the same message."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.open = False
        self.pending = b""

    def data_received(self, data: bytes) -> None:
        if self.open:
            self.pending += data
            count, rest = divmod(len(self.pending), len(CLIENT_FRAME))
            self.pending = self.pending[len(self.pending) - rest :]
            self.transport.write(SERVER_FRAME * count)
            return
        self.open = True
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
        )


async def run_echo(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    await server.serve_forever()


async def run_service(port: int, status_port: int, echo_port: int) -> None:
    def route(to: int) -> Route:
        return Route(Address(host="127.0.0.1", port=to))

    known = Known(fast={"status": route(status_port), "echo": route(echo_port)})
    config = uvicorn.Config(
        FastAPI(),
        host="127.0.0.1",
        port=port,
        http=protocol_class(Traffic(known, known)),
        ws="none",
        log_level="warning",
        lifespan="off",
    )
    await uvicorn.Server(config).serve()


class Client(asyncio.Protocol):
    """Sends the same again whenever the answer is complete."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.waiting_for_switch = load.websocket
        self.missing = 0
        self.sent = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        if self.waiting_for_switch:
            transport.write(HANDSHAKE)
        else:
            self.send()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.load.message)

    def data_received(self, data: bytes) -> None:
        if self.waiting_for_switch:
            if not data.startswith(b"HTTP/1.1 101"):
                raise SystemExit(f"no WebSocket: {data[:80]!r}")
            self.waiting_for_switch = False
            self.send()
            return
        if not self.missing:
            self.missing = self.load.answer_length(data)
        self.missing -= len(data)
        if not self.missing:
            self.load.times.append(time.perf_counter() - self.sent)
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.load.over:
            raise SystemExit("the connection was closed")


class Load:
    """The load of some connections."""

    def __init__(self, *, websocket: bool) -> None:
        self.websocket = websocket
        self.message = CLIENT_FRAME if websocket else STATUS
        self.times: list[float] = []
        self.over = False

    def answer_length(self, data: bytes) -> int:
        if self.websocket:
            return len(SERVER_FRAME)
        end = data.index(b"\r\n\r\n") + 4
        if not data.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"not answered: {data[:200]!r}")
        return end + int(data[:end].lower().split(b"content-length:")[1].split(b"\r\n")[0])


async def run_load(port: int, connections: int, seconds: float, *, websocket: bool) -> None:
    loop = asyncio.get_running_loop()
    load = Load(websocket=websocket)
    for _ in range(connections):
        await loop.create_connection(lambda: Client(load), "127.0.0.1", port)
    await asyncio.sleep(0.2)
    warm = len(load.times)
    load.times.clear()
    busy, start = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - start
    load.over = True
    busy = (time.process_time() - busy) / elapsed
    rate = len(load.times) / elapsed
    median, count = statistics.median(load.times), warm + len(load.times)
    print(json.dumps({"rate": rate, "median": median, "busy": busy, "count": count}))


# --- the comparison -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """What one measurement gave; `busy`: share of a core that the load generator took."""

    rate: float
    median: float
    busy: float
    #: Seconds of processor time that the proxy took for one request; 0 without a proxy.
    cost: float = 0.0


@dataclass(frozen=True)
class Target:
    """Ports for `/api/status` and for WebSockets, and the proxy's process."""

    status: int
    echo: int
    process: psutil.Process | None = None

    def cpu_seconds(self) -> float:
        return sum(self.process.cpu_times()[:2]) if self.process else 0.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def part(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.bench.bench_traffic", *map(str, arguments)]


@contextlib.contextmanager
def running(argv: list[str], port: int, **environment: str) -> Iterator[psutil.Process]:
    """A process that listens on the port."""
    process = subprocess.Popen(argv, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(port, process)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.communicate(timeout=10)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended: {process.communicate()[1].decode()[-500:]}")
        time.sleep(0.02)
    raise SystemExit(f"{process.args!r} does not listen")


def jupyter() -> Path:
    """A Jupyter server in the cache folder."""
    program = CACHE / "jupyter" / "bin" / "jupyter-server"
    if not program.exists():
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or "uv"
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, CACHE / "jupyter"], check=True, timeout=60)
        python = CACHE / "jupyter" / "bin" / "python"
        subprocess.run([uv, "pip", "install", "-q", "--python", python, "jupyter_server"], check=True, timeout=300)
    return program


def configurable_http_proxy() -> Path | None:
    """configurable-http-proxy in the cache folder; None, and a reason printed, when it cannot be had."""
    program = CACHE / "chp" / "node_modules" / ".bin" / "configurable-http-proxy"
    if program.exists():
        return program
    if shutil.which("npm") is None:
        print("configurable-http-proxy: left out, there is no npm")
        return None
    (CACHE / "chp").mkdir(parents=True, exist_ok=True)
    argv = ["npm", "install", "--silent", "--no-audit", "--no-fund", "configurable-http-proxy"]
    if subprocess.run(argv, cwd=CACHE / "chp", check=False, timeout=120).returncode:
        print("configurable-http-proxy: left out, npm could not install it")
        return None
    return program


def add_route(api_port: int, name: str, target: int) -> None:
    body = json.dumps({"target": f"http://127.0.0.1:{target}"}).encode()
    url = f"http://127.0.0.1:{api_port}/api/routes/user/{name}"
    request = urllib.request.Request(url, body, {"Authorization": f"token {TOKEN}"}, method="POST")
    urllib.request.urlopen(request, timeout=10).close()


def measure(target: Target, connections: int, seconds: float, *, websocket: bool) -> Point:
    port, kind = (target.echo, "websocket") if websocket else (target.status, "status")
    before = target.cpu_seconds()
    done = subprocess.run(
        part("load", port, connections, seconds, kind), check=True, timeout=seconds + 30, stdout=subprocess.PIPE
    )
    found = json.loads(done.stdout)
    count = found.pop("count")
    return Point(**found, cost=(target.cpu_seconds() - before) / count)


def best(points: list[Point]) -> Point:
    return max(points, key=lambda point: point.rate)


def compare(targets: dict[str, Target], seconds: float, rounds: int) -> None:
    for websocket, title in ((False, "Jupyter /api/status, requests/s"), (True, "WebSocket echo, round trips/s")):
        print(f"\n{title} (p50)")
        print(
            f"{'connections':>11} "
            + " ".join(f"{name:>26}" for name in targets)
            + f"{'ratio to chp':>14}{'p50 more':>12}"
        )
        for connections in CONNECTIONS:
            points: dict[str, list[Point]] = {name: [] for name in targets}
            for _ in range(rounds):
                for name, target in targets.items():
                    points[name].append(measure(target, connections, seconds, websocket=websocket))
            print_row(connections, {name: best(found) for name, found in points.items()})


def print_row(connections: int, row: dict[str, Point]) -> None:
    cells = []
    for point in row.values():
        saturated = "*" if point.busy > 0.9 else " "
        cells.append(f"{point.rate:>12,.0f}{saturated} ({point.median * 1000:7.3f} ms)")
    ours, direct, other = row["bindery"], row["direct"], row.get("chp")
    ratio = f"{ours.rate / other.rate:.2f}" if other else "-"
    more = f"{(ours.median - direct.median) * 1000:+.3f} ms"
    costs = ", ".join(f"{point.cost * 1e6:.1f}" for point in (ours, other) if point) + " µs"
    print(f"{connections:>11} " + " ".join(f"{cell:>26}" for cell in cells) + f"{ratio:>14}{more:>12}{costs:>22}")


def main(seconds: float, rounds: int) -> None:
    server, proxy = jupyter(), configurable_http_proxy()
    status, echo, ours, other, api = (free_port() for _ in range(5))
    argv = [str(server), "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={status}", "--ServerApp.port_retries=0"]
    argv += ["--ServerApp.base_url=/user/status/", "--allow-root", "--no-browser", "--ServerApp.log_level=ERROR"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(argv, status, JUPYTER_TOKEN=TOKEN))
        stack.enter_context(running(part("echo", echo), echo))
        service = stack.enter_context(running(part("service", ours, status, echo), ours))
        targets = {"direct": Target(status, echo), "bindery": Target(ours, ours, service)}
        if proxy is not None:
            argv = [str(proxy), "--ip=127.0.0.1", f"--port={other}", f"--api-port={api}", "--log-level=error"]
            process = stack.enter_context(running(argv, api, CONFIGPROXY_AUTH_TOKEN=TOKEN))
            add_route(api, "status", status)
            add_route(api, "echo", echo)
            targets["chp"] = Target(other, other, process)
        compare(targets, seconds, rounds)
    print("\n* the load generator was busy all the time: what was measured is its own limit")


def command(arguments: list[str]) -> None:
    match arguments:
        case ["echo", port]:
            uvloop.run(run_echo(int(port)))
        case ["service", port, status, echo]:
            uvloop.run(run_service(int(port), int(status), int(echo)))
        case ["load", port, connections, seconds, kind]:
            uvloop.run(run_load(int(port), int(connections), float(seconds), websocket=kind == "websocket"))
        case _:
            parser = argparse.ArgumentParser(description=__doc__)
            parser.add_argument("--seconds", type=float, default=1.0)
            parser.add_argument("--rounds", type=int, default=2)
            options = parser.parse_args(arguments)
            main(options.seconds, options.rounds)


if __name__ == "__main__":
    command(sys.argv[1:])
