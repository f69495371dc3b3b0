"""Asks a service for its health, over and over, from a process of its own; tells how long each answer took.

`python -m tests.bench.pulse URL`: until its input ends.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from urllib.parse import urlsplit

PAUSE_SECONDS = 0.02
LIMIT_SECONDS = 60.0


def beat(url: str, over: threading.Event) -> list[float]:
    """Seconds from each question to its answer; the connection stays open."""
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=LIMIT_SECONDS)
    took = []
    while not over.wait(PAUSE_SECONDS):
        began = time.perf_counter()
        connection.request("GET", f"{parts.path}health")
        connection.getresponse().read()
        took.append(time.perf_counter() - began)
    return took


def _listen(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def main() -> None:
    over = threading.Event()
    threading.Thread(target=_listen, args=(over,), daemon=True).start()
    print(json.dumps(beat(sys.argv[1], over)))


if __name__ == "__main__":
    main()
