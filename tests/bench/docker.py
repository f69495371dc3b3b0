"""The docker engine beside plain repo2docker: builds, commits, images, pushes and launches."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from tests.bench.docker_place import DockerPlace, docker_place
from tests.bench.figures import Samples, compare, say, show, title
from tests.bench.place import Place, Stream
from tests.support.git_server import Repository

PACKAGES = ("numpy", "pandas", "matplotlib")
NOTEBOOK_BYTES = 10_000_000
COMMITS = 3
LAUNCHES = 5
CROWDS = (10, 20)
_RUNTIME = re.compile(r"The runtime image is ready, after ([\d.]+) s")


@dataclass
class Sample:
    """A repository, and both images of its newest commit."""

    here: DockerPlace
    name: str
    post_build: bool = True
    apt: str = "tree"
    packages: tuple[str, ...] = PACKAGES
    repository: Repository = field(init=False)
    tag: str = ""
    image: str = ""

    def __post_init__(self) -> None:
        self.repository = self.here.place.git.repository(f"{self.here.mark}/{self.name}")

    @property
    def link(self) -> str:
        """The link to the newest commit."""
        return f"gh/{self.here.mark}/{self.name}/{self.tag}"

    @property
    def plain(self) -> str:
        """The baseline's image of the newest commit."""
        return f"{self.here.registry.host}/{self.here.mark}/{self.name}:{self.tag}"

    def commit(self, requirements: tuple[str, ...] = ()) -> None:
        """A commit with another notebook, and these further lines of requirements."""
        content = base64.b64encode(os.urandom(NOTEBOOK_BYTES * 3 // 4)).decode()
        cell = {"cell_type": "raw", "id": "a", "metadata": {}, "source": content}
        files = {
            "requirements.txt": "\n".join((*self.packages, *requirements)) + "\n",
            "apt.txt": f"{self.apt}\n",
            "start": '#!/bin/bash\nexec "$@"\n',
            "index.ipynb": json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}),
        }
        if self.post_build:
            files["postBuild"] = "#!/bin/bash\nset -e\ntree --version > made.txt\n"
        self.repository.commit(files)
        # As hosts keep what was pushed to them.
        self.repository.git("repack", "-d", "-q")
        self.tag = f"v{int(self.tag[1:] or 0) + 1}"
        self.repository.git("tag", self.tag)

    async def build(self, place: Place) -> tuple[float, Stream]:
        """Seconds from a click to the image."""
        stream = await place.click(self.link)
        self.image = str(stream.seen[-1].event.get("image", ""))
        return stream.until("built"), stream

    async def build_plain(self) -> float:
        """Seconds that the baseline takes."""
        return await self.here.plain(f"{self.here.mark}/{self.name}", self.tag, self.plain)


async def measure_docker(place: Place) -> None:
    """Everything on Docker; left out where there is no engine."""
    title(f"Docker: {', '.join(PACKAGES)}, apt tree, postBuild, start, a notebook of {NOTEBOOK_BYTES / 1e6:.0f} MB")
    try:
        async with docker_place(place) as here:
            sample = Sample(here, "sample")
            async with here.service("unshelved") as service:
                await _builds(service, sample)
                await _launches(service, sample)
            await _registry(here, sample)
    except pytest.skip.Exception as missing:
        say("left out", str(missing))


async def _builds(place: Place, sample: Sample) -> None:
    """From the click to the image, by turns with plain repo2docker; nothing is in a layer cache at first."""
    small = Sample(sample.here, "small", post_build=False, apt="", packages=("six",))
    small.commit()
    _, stream = await small.build(place)
    runtime = next(float(found[1]) for item in stream.seen if (found := _RUNTIME.search(item.event["message"])))
    await sample.here.end_sessions()
    sample.commit()
    fresh, _ = await sample.build(place)
    plain = Samples("repo2docker with pip", [await sample.build_plain()])
    compare(Samples("fresh build, runtime image there, packages downloaded", [fresh]), plain, "aim: 5 times as fast")
    whole = Samples("the same, and making the runtime image first", [fresh + runtime])
    compare(whole, plain, "")
    say("image, unpacked", _bytes(sample.here.size(sample.image), sample.here.size(sample.plain)))

    async def notebook() -> tuple[float, float]:
        sample.commit()
        return (await sample.build(place))[0], await sample.build_plain()

    ours, baseline = await _by_turns(notebook)
    compare(Samples("notebook changed, with postBuild", ours), Samples("repo2docker", baseline), "")
    again = []
    for number in range(2):
        sample.commit((f"# {number}",))
        again.append((await sample.build(place))[0])
    show(Samples("another environment of the same packages", again))
    sample.commit(("scipy",))
    changed, _ = await sample.build(place)
    baseline = [await sample.build_plain()]
    compare(Samples("requirement added (scipy)", [changed]), Samples("repo2docker", baseline), "aim: 4 times as fast")
    await sample.here.end_sessions()


async def _launches(place: Place, sample: Sample) -> None:
    """From the click to `ready`, by turns with `docker run` of the same image to its first answer."""
    here = sample.here
    await place.click(sample.link)
    await here.start_bare(sample.image)
    await here.end_sessions()

    async def one() -> tuple[float, float]:
        ours = (await place.click(sample.link)).until("ready")
        await here.end_sessions()
        bare = await here.start_bare(sample.image)
        await here.end_sessions()
        return ours, bare

    ours, baseline = await _by_turns(one, LAUNCHES)
    bare = Samples("docker run of the same image, to its first answer", baseline)
    compare(Samples("cached launch, from the click to ready", ours), bare, "aim: under 0.9 s")
    for crowd in CROWDS:
        last, last_bare = await _by_turns(partial(_at_once, place, sample, crowd), 2)
        bare = Samples(f"docker run, {crowd} at once: the last answers", last_bare)
        compare(Samples(f"{crowd} cached launches at once: the last is ready", last), bare, f"aim: {4 * crowd // 10} s")


async def _at_once(place: Place, sample: Sample, crowd: int) -> tuple[float, float]:
    """Seconds until the last of a crowd is ready, and until the last of as many bare containers answers."""
    here = sample.here
    streams = await asyncio.gather(*(place.click(sample.link) for _ in range(crowd)))
    await here.end_sessions()
    bare = await asyncio.gather(*(here.start_bare(sample.image) for _ in range(crowd)))
    await here.end_sessions()
    return max(stream.until("ready") for stream in streams), max(bare)


async def _registry(here: DockerPlace, other: Sample) -> None:
    """Pushes, commits that are composed, and what a node pulls, with a registry behind the service.

    `other`'s image of the baseline has other packages, and was pushed before.
    """
    sample, later = Sample(here, "composed", post_build=False), Sample(here, "later", post_build=False)
    async with here.service("shelved", BINDERY_REGISTRY__URL=f"{here.registry.host}/{here.mark}") as place:
        sample.commit()
        _, stream = await sample.build(place)
        pushed = stream.until("built") - stream.until("pushing")
        await sample.build_plain()
        plain = Samples("docker push of repo2docker's image", [await here.docker("push", "--quiet", sample.plain)])
        compare(Samples("first push: environment pushed, files composed", [pushed]), plain, "")

        async def notebook() -> tuple[float, float]:
            sample.commit()
            ours, _ = await sample.build(place)
            built = await sample.build_plain()
            return ours, built + await here.docker("push", "--quiet", sample.plain)

        ours, baseline = await _by_turns(notebook)
        plain = Samples("repo2docker and docker push", baseline)
        compare(Samples("notebook changed: composed, in the registry", ours), plain, "aim: under 300 ms")
        later.commit(("scipy",))
        await later.build(place)
        await here.docker("push", "--quiet", other.plain)
        say(
            "pulled by a node with nothing",
            _bytes(await _pulled(here, sample.image), await _pulled(here, sample.plain)),
        )
        ours_new = await _pulled(here, sample.image, later.image)
        plain_new = await _pulled(here, sample.plain, other.plain)
        say("pulled by a node with another repository's image", _bytes(ours_new, plain_new))


async def _by_turns(
    both: Callable[[], Awaitable[tuple[float, float]]], rounds: int = COMMITS
) -> tuple[list[float], list[float]]:
    """Seconds of ours and of the baseline, measured by turns."""
    pairs = [await both() for _ in range(rounds)]
    return [ours for ours, _ in pairs], [baseline for _, baseline in pairs]


async def _pulled(here: DockerPlace, image: str, present: str = "") -> int:
    """Bytes of an image's layers, but for those of an image that is there."""
    known = await here.layers(present) if present else {}
    return sum(size for digest, size in (await here.layers(image)).items() if digest not in known)


def _bytes(ours: int, plain: int) -> str:
    return f"{ours / 1e6:.1f} MB; repo2docker: {plain / 1e6:.1f} MB ({ours / plain:.2f} of it)"
