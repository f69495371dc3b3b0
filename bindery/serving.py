"""Running a service: its socket, its signals, its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import uvicorn

from bindery.data_dir import Announcement, announce, exclusive, new_token
from bindery.engines import chosen
from bindery.errors import PortTaken, UnsafeAddress
from bindery.interrupts import ending
from bindery.roles import check, shows
from bindery.settings import EngineName, Settings
from bindery.wiring import Service, base_url, service
from web.health import Health
from web.traffic import protocol_class

#: Seconds that streams get to end when the service stops.
SHUTDOWN_SECONDS = 2
#: How long, in seconds, a thread may keep the event loop from running: Python's own 5 ms add up when many start.
SWITCH_SECONDS = 0.0005
#: New objects, and younger collections, after which objects are collected: fewer than Python's own would be too often
#: while a crowd arrives.
COLLECT_AFTER = (10_000, 20, 20)
#: Open files that a service wants to be allowed.
DESCRIPTORS = 65536


class _Server(uvicorn.Server):
    """uvicorn, telling when it listens, and leaving signals to us."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are handled by `serve`: what uvicorn would raise again afterwards would cut our own cleaning up."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Event streams are resumed at another replica; only the traffic of sessions is worth a longer wait.
        ending = asyncio.get_running_loop().call_later(SHUTDOWN_SECONDS, self._end_streams)
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    def _end_streams(self) -> None:
        for task in self.server_state.tasks:
            task.cancel()


def listen(settings: Settings) -> socket.socket:
    """The listening socket. Raises `UnsafeAddress` or `PortTaken`."""
    _check_address(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise PortTaken(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}.",
            hint="Another program may use the port: give another one with --port, or 0 for any free one.",
        ) from error
    return listening


def _check_address(settings: Settings) -> None:
    isolated = settings.engine is not EngineName.PROCESS
    if isolated or settings.allow_public_address or settings.host == "localhost":
        return
    with contextlib.suppress(ValueError):
        if ip_address(settings.host).is_loopback:
            return
    raise UnsafeAddress(
        f"The process engine promises no isolation, so it does not listen on {settings.host}.",
        hint="Use 127.0.0.1, or say so twice with --allow-public-address.",
    )


async def serve(settings: Settings, on_ready: Callable[[str, Settings], None]) -> None:
    """Run a service until SIGINT or SIGTERM; `on_ready` gets its URL and final settings.

    Raises the `BinderyError` that says why it cannot start.
    """
    _allow_descriptors()
    sys.setswitchinterval(SWITCH_SECONDS)
    settings = await chosen(settings.model_copy(update={"data_dir": settings.data_dir.absolute()}))
    check(settings)
    with exclusive(settings.data_dir), contextlib.closing(listen(settings)) as listening:
        host, port = listening.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}{base_url(settings)}"
        token = settings.operator_token.get_secret_value() or new_token()
        async with service(settings, token) as running:
            with contextlib.ExitStack() as announced:

                def ready() -> None:
                    if shows(settings.role):
                        announced.enter_context(announce(settings.data_dir, Announcement(url, os.getpid(), token)))
                    rest_collector()
                    on_ready(url, settings)

                server = _Server(_config(settings, running), ready)
                with _signals(server, running.health, settings.shutdown.delay_seconds):
                    await server.serve(sockets=[listening])


def rest_collector() -> None:
    """Let the collector of cycles leave alone what is there for good.

    It would look at all of it again and again while crowds arrive, and nobody is answered meanwhile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def _allow_descriptors() -> None:
    """Raise this process's own limit of open files: each visitor who looks on needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _config(settings: Settings, running: Service) -> uvicorn.Config:
    return uvicorn.Config(
        running.app,
        http="httptools" if running.traffic is None else protocol_class(running.traffic),
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=SHUTDOWN_SECONDS + math.ceil(settings.shutdown.drain_seconds),
    )


@contextlib.contextmanager
def _signals(server: uvicorn.Server, health: Health, delay_seconds: float) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = ending()

    def stop(number: int) -> None:
        patient = number == signal.SIGTERM and not health.stopping
        health.stopping = True
        if patient and delay_seconds > 0:
            loop.call_later(delay_seconds, server.handle_exit, number, None)
        else:
            server.handle_exit(number, None)

    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    yield
    # Cleaning up must not be cut short by impatience; killing the process remains.
    for number in numbers:
        loop.add_signal_handler(number, _say_stopping)


def _say_stopping() -> None:
    print("Stopping: ending sessions and builds...", file=sys.stderr)  # noqa: T201
