"""A commit's files put onto its environment in the registry: nothing is pulled, and nothing has to build."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bindery.settings import FetchSettings
from builder.engines.base import BuildJob
from builder.engines.commit_content import CommitContent
from builder.engines.docker_registry import Shelf
from builder.engines.installer import disk_errors
from builder.engines.layered.images import image_labels
from builder.engines.narration import Say
from builder.plan import Kind, Plan
from registry.compose import ConfigChanges
from registry.directory import remove_tree
from registry.names import Reference

#: Kinds whose environments know where a repository's files and their start script go.
_COMPOSED = frozenset({Kind.PYTHON, Kind.PIPFILE})


def is_composed(plan: Plan) -> bool:
    """Whether an image is its environment and the repository's files, and nothing has to run."""
    return plan.kind in _COMPOSED and plan.post_build is None and not plan.needs_tree


@dataclass(frozen=True)
class Composer:
    """Makes images of commits on environments of the `shelf`; below `root` it leaves nothing."""

    shelf: Shelf
    root: Path
    content_folder: str
    limits: FetchSettings

    async def compose(self, job: BuildJob, target: Reference, say: Say) -> None:
        """Make the image of a commit whose environment is in the registry."""
        folder = self.root / "builds" / job.build_id / "content"
        await say(f"Adding the repository's files at {job.commit[:12]}\n")
        try:
            with disk_errors():
                await asyncio.to_thread(remove_tree, folder)
                await asyncio.to_thread(folder.mkdir, parents=True)
                content = CommitContent(job, self.root, folder, self.content_folder.strip("/"), self.limits, say)
                start = job.plan.start
                changes = ConfigChanges(
                    labels=image_labels(job),
                    env={"R2D_ENTRYPOINT": f"{self.content_folder}/{start}"} if start else {},
                )
                parts = await content.parts()
                done = await self.shelf.compose(job.plan.environment_key, target, parts, changes, folder)
        finally:
            await asyncio.shield(asyncio.to_thread(remove_tree, folder))
            with suppress(OSError):
                folder.parent.rmdir()
        await say(f"Stored {done.reference.repository}, {done.uploaded / 2**20:.1f} MiB new\n")
