"""How long an environment takes that nobody has asked for before."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time

from tests.bench.figures import Samples, compare, show, title
from tests.bench.place import Place, timed

#: pip takes long; ours is measured twice beside each of its runs.
ROUNDS = 2
PACKAGES = ("numpy", "pandas", "matplotlib")


async def measure_builds(place: Place) -> None:
    """Fresh environments from warm caches, by turns with venv and pip; ipykernel is in both.

    A comment in requirements.txt makes another environment of the same packages.
    """
    title(f"Fresh build of {', '.join(PACKAGES)}: from the click to the image, both with warm caches of their own")
    repository, name = place.repository()

    async def build(number: int) -> float:
        repository.commit({"requirements.txt": f"# {number}\n" + "\n".join(PACKAGES) + "\n"})
        repository.git("tag", f"b{number}")
        stream = await place.click(f"gh/{name}/b{number}")
        return stream.until("built")

    first = await build(0)
    await _pip(place)
    ours, baseline = [], []
    for number in range(ROUNDS):
        ours.append(await build(2 * number + 1))
        baseline.append(await _pip(place))
        ours.append(await build(2 * number + 2))
    show(Samples("Bindery, empty cache: packages downloaded, bytecode compiled", [first]))
    compare(Samples("Bindery", ours), Samples("python -m venv, pip install", baseline), "aim: 5 times as fast")


async def _pip(place: Place) -> float:
    """Seconds for a new virtual environment with the same packages."""
    folder = place.folder / "venv"
    began = time.perf_counter()
    await timed(sys.executable, "-m", "venv", folder)
    await timed(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "ipykernel", *PACKAGES)
    seconds = time.perf_counter() - began
    await asyncio.to_thread(shutil.rmtree, folder)
    return seconds
