"""What many viewers of one build cost, and how late they see its lines."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from tests.bench.figures import duration, say, share, title
from tests.bench.place import LIMIT_SECONDS, Meter, Place
from tests.bench.rush import pulse, tell_health

CROWDS = (100, 1000, 2000)
#: Lines that the build prints, ten a second; a larger crowd gets more time to arrive.
LINES = {100: 100, 1000: 200, 2000: 300}
POST_BUILD = """#!/bin/sh
for i in $(seq 1 %d); do echo "tick $(date +%%s.%%N)"; sleep 0.1; done
exit 1
"""


async def measure_viewers(place: Place, crowds: tuple[int, ...] = CROWDS) -> None:
    """A build that prints the time ten times a second and then fails, so that no sessions follow; crowds look on."""
    for size in crowds:
        title(f"{size:,} viewers of one build that prints ten lines a second, all clicking at once")
        repository, name = place.repository()
        repository.commit({"postBuild": POST_BUILD % LINES.get(size, 200)})
        await _measure(place, f"gh/{name}/HEAD", size)


async def _measure(place: Place, link: str, size: int) -> None:
    before = Meter.read(place.process)
    crowd = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.crowd", f"{place.service.url}build/{link}", str(size)),
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 26,
    )
    assert crowd.stdout is not None
    meters = [before]
    beats: list[float] = []
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(LIMIT_SECONDS), pulse(place) as beats:
            async for line in crowd.stdout:
                found = json.loads(line)
                meters.append(Meter.read(place.process))
    finally:
        if crowd.returncode is None:
            crowd.kill()
        await crowd.wait()
    if len(meters) == 4:
        _print(size, found, meters)
        tell_health(beats)
    else:
        say("not measured", f"the crowd did not see the build to its end; the service says:\n{place.last_words()}")


def _print(size: int, found: dict[str, Any], meters: list[Meter]) -> None:
    before, joined, ending, after = meters
    say("first line, from the click", _spread(found["first"]))
    say("first line of postBuild, from the click", _spread(found["log"]))
    say("arriving: processor time of the service", f"{(joined.cpu - before.cpu) / size * 1000:.1f} ms a viewer")
    say("lag of later lines (written in batches, four a second)", f"{_spread(found['lags'])}; aim: within 1 s")
    seconds = ending.at - joined.at
    say(
        "looking on: processor time of the service",
        f"{(ending.cpu - joined.cpu) / seconds / size * 1e6:.0f} µs a viewer and second "
        f"({(ending.cpu - joined.cpu) / seconds:.0%} of a core; the crowd itself {found['busy']:.0%})",
    )
    say("from the first to the last viewer who sees the end", duration(found["end_seconds"]))
    say(
        "memory of the service",
        f"RSS {before.resident:.0f} MiB before, {ending.resident:.0f} with all, {after.resident:.0f} after; "
        f"{(ending.resident - before.resident) / size * 1024:.0f} KiB a viewer",
    )
    complete = found["ended"] == size and len(found["lines"]) == 1
    say("each viewer got each line, and the end", f"yes, {found['lines'][0]} lines" if complete else f"NO: {found}")


def _spread(values: list[float]) -> str:
    if not values:
        return "nothing measured: let the build print more lines"
    middle, late, last = (duration(share(values, part)) for part in (0.5, 0.99, 1.0))
    return f"median {middle}, p99 {late}, max {last}, n={len(values):,}"
