"""How long the service takes to start, and what it needs while nobody asks anything of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil

from tests.bench.figures import Samples, compare, say, show, title
from tests.bench.place import Place, timed
from tests.support.wait import until

ROUNDS = 5
IMPORTS = "import fastapi, sqlalchemy, uvicorn, aiohttp"
MIB = 1 << 20
IDLE_SECONDS = 5.0


async def measure_starts(place: Place) -> None:
    """Start and stop the service, by turns with a Python that only imports the largest of its libraries."""
    title("Service start, from the command to the line with its URL")
    began = time.perf_counter()
    async with place.running():
        first = Samples("first start of all: until it has made JupyterLab and is warm", [time.perf_counter() - began])
    await timed(sys.executable, "-c", IMPORTS)
    ours, baseline = [], []
    for _ in range(ROUNDS):
        baseline.append(await timed(sys.executable, "-c", IMPORTS))
        began = time.perf_counter()
        await place.service.start()
        ours.append(time.perf_counter() - began)
        await place.service.stop()
    show(first)
    compare(Samples("bindery serve", ours), Samples(f'python -c "{IMPORTS}"', baseline), "aim: under 3 s")


async def measure_idle(place: Place) -> None:
    """Memory and processor time of a service that nobody has asked for anything."""
    title("Idle service (PSS: pages that several processes share are divided among them)")
    service = place.process
    parents = [child for child in service.children(recursive=True) if "zygote.py" in " ".join(child.cmdline())]
    python = [child for child in parents if Path(child.exe()).name.startswith("python")]
    boxes = [child for child in parents if child not in python]
    before = _cpu([service, *parents])
    began = time.monotonic()
    await until(lambda: time.monotonic() - began > IDLE_SECONDS, IDLE_SECONDS + 5)
    busy = (_cpu([service, *parents]) - before) / (time.monotonic() - began)
    for name, processes in (("the service", [service]), ("its warm parent of sessions", python), ("its box", boxes)):
        if processes:
            say(name, _memory(processes))
    say("together", f"{_memory([service, *parents])}; aim: under 150 MB")
    say("processor", f"{busy:.1%} of a core over {IDLE_SECONDS:.0f} s")


def _memory(processes: list[psutil.Process]) -> str:
    infos = [process.memory_full_info() for process in processes]
    resident = sum(info.rss for info in infos) / MIB
    # Only Linux tells what is shared.
    shared = [info.pss for info in infos if hasattr(info, "pss")]
    return f"RSS {resident:.0f} MiB" + (f", PSS {sum(shared) / MIB:.0f} MiB" if shared else "")


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
