"""A commit's content as parts of a layer: straight from Git's objects where that gives what a checkout would."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from bindery.errors import InvalidDependencyFile
from bindery.sandbox import no_sandbox
from bindery.settings import FetchSettings
from builder import git
from builder.engines.base import BuildJob
from builder.engines.content import CORE, HOME_FILES, WorkTree, links_left_out, modules_left_empty, origin
from builder.engines.narration import Say
from builder.engines.uv import Bench
from builder.git_folder import Fetched, GitFolder
from builder.tree import SUBMODULE_MODE, SYMLINK_MODE, Tree
from registry.folder import folder_items
from registry.git_tree import GitEntry, GitTree
from registry.layer import Part

_ATTRIBUTES = ".gitattributes"
_ATTRIBUTES_BYTES = 64 * 1024
#: Attributes by which a checkout has other bytes than the commit, or by which we say that it should.
_CHANGING = re.compile(rb"(^|\s)(eol|crlf|ident|working-tree-encoding|filter)\b")
#: Each file of attributes and each link is read on its own: more of them are quicker checked out.
_MAX_READ = 40
_EXECUTABLE, _PLAIN = b"100755", b"100644"


@dataclass(frozen=True)
class CommitContent:
    """The content of a job's commit, for a `folder` of the image, without `/` at its ends."""

    job: BuildJob
    root: Path
    scratch: Path
    folder: str
    limits: FetchSettings
    say: Say

    async def parts(self) -> list[Part]:
        """The files and their `.git` folder, such that `git status` is clean; the start script can be run."""
        tree = await self.job.listing(self.limits)
        fetched = await asyncio.to_thread(Fetched.find, self.job.repository, self.job.commit)
        if fetched is None or await asyncio.to_thread(_needs_checkout, tree):
            return await self._checked_out()
        return await self._from_objects(tree, fetched)

    async def _checked_out(self) -> list[Part]:
        bench = Bench(self.job.build_id, self.root, self.scratch, no_sandbox("only files are read"), self.say, 0)
        work_tree = WorkTree(self.scratch / "files", self.job.repository, self.job.commit, bench)
        start = self.job.plan.start
        await work_tree.write(self.job.repo_url, [start] if start else [])
        return [Part(self.folder, folder_items(work_tree.path))]

    async def _from_objects(self, tree: Tree, fetched: Fetched) -> list[Part]:
        job = self.job
        outside = await asyncio.to_thread(_leading_out, tree)
        if outside:
            await self.say(links_left_out(outside))
        if modules := [path for path, entry in tree.entries.items() if entry.mode == SUBMODULE_MODE]:
            await self.say(modules_left_empty(modules))
        left_out, start = set(map(os.fsencode, outside)), os.fsencode(job.plan.start or "")
        entries = [
            GitEntry(os.fsencode(path), entry.mode.encode(), entry.object_id.encode(), entry.size)
            for path, entry in tree.entries.items()
        ]
        kept = [entry for entry in entries if entry.path not in left_out]
        files = [replace(entry, mode=_EXECUTABLE) if _made_executable(entry, start) else entry for entry in kept]
        command = git.command(f"--git-dir={job.repository.absolute()}")
        core = {"repositoryformatversion": "0", "bare": "false", **CORE}
        # As Git's own users do where a file's mode says nothing.
        core["filemode"] = "false" if any(_made_executable(entry, start) for entry in entries) else "true"
        config = {"core": core, 'remote "origin"': origin(job.repo_url)}
        exclude = "".join(f"{name}\n" for name in HOME_FILES)
        return [
            Part(self.folder, GitTree(command, git.environment("file"), files, pack=fetched.pack)),
            Part(f"{self.folder}/.git", GitFolder(fetched, job.commit, entries, left_out, config, exclude)),
        ]


def _made_executable(entry: GitEntry, start: bytes) -> bool:
    return entry.path == start and entry.mode == _PLAIN


def _needs_checkout(tree: Tree) -> bool:
    """Whether a checkout has other bytes than the commit, or takes less time than to find that out."""
    attributes = [path for path in tree.entries if path.rpartition("/")[2] == _ATTRIBUTES]
    links = [entry for entry in tree.entries.values() if entry.mode == SYMLINK_MODE]
    if len(attributes) + len(links) > _MAX_READ:
        return True
    try:
        texts = [tree.read_object(tree.entries[path].object_id, _ATTRIBUTES_BYTES) for path in attributes]
    except InvalidDependencyFile:
        return True
    return any(_CHANGING.search(text) for text in texts)


def _leading_out(tree: Tree) -> list[str]:
    return [path for path, entry in tree.entries.items() if entry.mode == SYMLINK_MODE and tree.leads_out(path)]
