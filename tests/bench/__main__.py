"""`make bench`: prints figures and their ratios to baselines measured in the same run; it asserts no times.

`python -m tests.bench [--only PART ...] [--viewers N ...]`; the parts are printed in this order:
start, idle, resolve, commit, launch, build, rush, docker, kubernetes, viewers, traffic.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from tests.bench.builds import measure_builds
from tests.bench.docker import measure_docker
from tests.bench.figures import title
from tests.bench.kubernetes import measure_kubernetes
from tests.bench.launches import measure_commits, measure_launches, measure_resolving
from tests.bench.place import Place, plain_environment
from tests.bench.rush import measure_rushes
from tests.bench.starts import measure_idle, measure_starts
from tests.bench.viewers import CROWDS, measure_viewers
from tests.support.git_server import serve_git

TRAFFIC_SECONDS = 150
#: These need a running service; the others start what they need.
ON_SERVICE: dict[str, Callable[[Place], Awaitable[None]]] = {
    "idle": measure_idle,
    "resolve": measure_resolving,
    "commit": measure_commits,
    "launch": measure_launches,
    "build": measure_builds,
    "rush": measure_rushes,
}
PARTS = ("start", *ON_SERVICE, "docker", "kubernetes", "viewers", "traffic")


async def run(parts: list[str], crowds: tuple[int, ...], folder: Path) -> None:
    """Measure all parts but the traffic, which has processes of its own."""
    (folder / "git").mkdir()
    async with serve_git(folder / "git") as git:
        place = Place(git, folder)
        if "start" in parts:
            await measure_starts(place)
        wanted = [part for part in ON_SERVICE if part in parts]
        if wanted:
            async with place.running():
                for part in wanted:
                    await ON_SERVICE[part](place)
        if "docker" in parts:
            await measure_docker(place)
        if "kubernetes" in parts:
            await measure_kubernetes(folder)
        if "viewers" in parts:
            async with place.running():
                await measure_viewers(place, crowds)


def traffic() -> None:
    """Session traffic, direct and through proxies."""
    title("Session traffic")
    sys.stdout.flush()
    argv = [sys.executable, "-m", "tests.bench.bench_traffic"]
    try:
        subprocess.run(argv, env=plain_environment(), check=True, timeout=TRAFFIC_SECONDS)
    except subprocess.SubprocessError as error:
        raise SystemExit(f"traffic could not be measured: {error}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help="measure only these")
    parser.add_argument("--viewers", nargs="+", type=int, default=CROWDS, metavar="N", help="sizes of the crowds")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}; load before: {load}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bindery-bench-") as folder:
        uvloop.run(run(list(options.only), tuple(options.viewers), Path(folder)))
    if "traffic" in options.only:
        traffic()
    print(f"\n{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
