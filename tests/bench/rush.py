"""Many launches at once, of servers that answer at once or only after seconds, and the service's health meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator

from tests.bench.figures import Samples, duration, say, share, show, title
from tests.bench.place import LIMIT_SECONDS, Meter, Place

#: How many launches, and how long each server takes to answer.
RUSHES = ((30, 5.0), (200, 0.0))

#: Stands for a notebook server, so that the service is measured and not two hundred JupyterLabs. It does without
#: Python's `socket`: importing that is more than half of what starting such a server would cost.
SERVER = """\
import _socket, sys, time
time.sleep(float(sys.argv[1]))
listener = _socket.socket(_socket.AF_UNIX)
listener.bind(next(word.partition("=")[2] for word in sys.argv if word.startswith("--ServerApp.sock=")))
listener.listen(64)
while True:
    client = _socket.socket(fileno=listener._accept()[0])
    client.recv(65536)
    client.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\n{}")
    client.close()
"""
START = '#!/bin/sh\nexec python3 -S -E "$(dirname "$0")/server.py" %g "$@"\n'


async def measure_rushes(place: Place) -> None:
    """Launches of one image that is there, all clicking at once."""
    for count, seconds in RUSHES:
        answering = f"after {seconds:g} s" if seconds else "at once"
        title(f"{count} cached launches at once, of a server that answers {answering}")
        repository, name = place.repository()
        repository.commit({"requirements.txt": "", "server.py": SERVER, "start": START % seconds})
        first = (await place.click(f"gh/{name}/HEAD")).until("ready")
        say("one alone, from the click (with its build)", duration(first))
        say("one alone again", duration((await place.click(f"gh/{name}/HEAD")).until("ready")))
        before = Meter.read(place.process)
        began = time.perf_counter()
        async with pulse(place) as beats:
            streams = await asyncio.gather(*(place.click(f"gh/{name}/HEAD") for _ in range(count)))
        ended = time.perf_counter() - began
        after = Meter.read(place.process)
        show(
            Samples("first line, from the click", [stream.seen[0].seconds for stream in streams]),
            Samples("ready, from the click", [stream.until("ready") for stream in streams]),
        )
        say("until the last is ready", f"{ended:.2f} s" + (f"; aim: {seconds + 0.5:g} s" if seconds else ""))
        say("processor time of the service", f"{(after.cpu - before.cpu) / count * 1000:.1f} ms a launch")
        tell_health(beats)


@contextlib.asynccontextmanager
async def pulse(place: Place) -> AsyncIterator[list[float]]:
    """Ask for the health while the block runs; the list is filled when it ends."""
    argv = (sys.executable, "-m", "tests.bench.pulse", place.service.url)
    pipe = asyncio.subprocess.PIPE
    asking = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, limit=1 << 24)
    beats: list[float] = []
    try:
        yield beats
        async with asyncio.timeout(LIMIT_SECONDS):
            out, _ = await asking.communicate(b"")
        beats.extend(json.loads(out))
    finally:
        if asking.returncode is None:
            asking.kill()
            await asking.wait()


def tell_health(beats: list[float]) -> None:
    """What the health's answers took."""
    if beats:
        spread = ", ".join(f"{name} {duration(share(beats, part))}" for name, part in _PARTS)
        say("/health meanwhile, every 20 ms", f"{spread}, n={len(beats)}; aim: under 50 ms")


_PARTS = (("median", 0.5), ("p99", 0.99), ("max", 1.0))
