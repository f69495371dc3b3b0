"""Building with the Docker Engine of the build's node, whose socket the Job is given."""

from __future__ import annotations

from dataclasses import dataclass

from bindery.process import Finished
from builder.engines.docker_cli import Docker, find_docker
from builder.engines.layered.making import Recipe
from builder.job.back_end import PushFailed, Say, Site
from builder.job.order import Order

_PUSH_SECONDS = 3600.0
_PUSH_ATTEMPTS = 3


@dataclass(frozen=True)
class DockerSocket:
    """The `BackEnd` of a Docker Engine. Whoever may use its socket owns the node: only for nodes of builds."""

    async def build(self, order: Order, site: Site, say: Say) -> None:
        """See `BackEnd`."""
        docker = await _docker(order, site)
        recipe = Recipe(
            dockerfile=site.dockerfile,
            context=site.context,
            tag=order.target,
            secrets=site.secrets,
            build_args=order.build_args,
            labels=order.labels,
            headings=order.headings,
        )
        await docker.build(recipe, say, timeout_seconds=order.timeout_seconds)

    async def read(self, order: Order, site: Site, path: str) -> bytes | None:
        """See `BackEnd`."""
        return await (await _docker(order, site)).read_file(order.target, path)

    async def push(self, order: Order, site: Site, say: Say) -> None:
        """See `BackEnd`. The engine keeps the layers for later builds, not the name."""
        docker = await _docker(order, site)
        ended = Finished(1)
        try:
            for _ in range(_PUSH_ATTEMPTS):
                ended = await docker.run("push", "--quiet", order.target, timeout_seconds=_PUSH_SECONDS)
                if ended.returncode == 0:
                    return
            raise PushFailed(ended.stderr.decode(errors="replace").strip())
        finally:
            await docker.untag(order.target)


async def _docker(order: Order, site: Site) -> Docker:
    named = {"DOCKER_HOST": order.address} if order.address else {}
    return await find_docker({**site.environment, **named, "DOCKER_CONFIG": str(site.logins)})
