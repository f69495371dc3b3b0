"""The content of an image: a Git work tree of one commit, as its author would have it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from bindery.errors import DiskFull, InternalError
from bindery.process import Finished, run
from builder import git
from builder.engines.leftovers import BUILD_VARIABLE, ROOT_VARIABLE
from builder.engines.uv import Bench

#: What programs leave in a home folder; the work tree is the home folder of its sessions.
HOME_FILES = (
    *("/.cache/", "/.config/", "/.ipython/", "/.jupyter/", "/.local/", "/.npm/", "/.yarn/", "/.conda/", "/.keras/"),
    *("/.bash_history", "/.python_history", "/.wget-hsts", "/.lesshst", "/.viminfo", "/.node_repl_history"),
    *(".ipynb_checkpoints/", "__pycache__/", ".virtual_documents/"),
)
#: Copies keep times and sizes but get new inodes: with these `git status` needs not read every file again.
CORE = {
    "trustctime": "false",
    "checkStat": "minimal",
}
_SECONDS = 600.0
_SHOWN = 5


@dataclass(frozen=True)
class WorkTree:
    """A work tree at `path` of `commit`, taken from the bare repository `source`."""

    path: Path
    source: Path
    commit: str
    bench: Bench

    async def write(self, repo_url: str, executables: Sequence[str] = ()) -> None:
        """Check the commit out, detached and shallow, with `origin` at `repo_url`.

        Links that lead out of the tree are left out; what Git only points to is named in the log. `executables` can be
        run afterwards, whatever the commit says. `git status` is clean. Call it before any code of the repository runs.
        """
        self.path.mkdir(parents=True)
        await self._git("init", "--quiet", "--template=", ".")
        await self._fetch()
        for name, value in CORE.items():
            await self._git("config", f"core.{name}", value)
        for name, value in origin(repo_url).items():
            await self._git("config", f"remote.origin.{name}", value)
        await self._git("checkout", "--quiet", "--detach", self.commit)
        (self.path / ".git" / "FETCH_HEAD").unlink(missing_ok=True)
        (self.path / ".git" / "info").mkdir(exist_ok=True)
        (self.path / ".git" / "info" / "exclude").write_text("".join(f"{name}\n" for name in HOME_FILES))
        await self._leave_out_links()
        await self._tell_what_is_missing()
        await self._make_executable(executables)

    async def _fetch(self) -> None:
        serve = "git -c uploadpack.allowAnySHA1InWant=true upload-pack"
        options = ["--quiet", "--depth=1", "--no-tags", "--recurse-submodules=no", f"--upload-pack={serve}"]
        await self._git("fetch", *options, "--", str(self.source.absolute()), self.commit)

    async def _leave_out_links(self) -> None:
        root = self.path.resolve()
        links = [path for mode, path in await self._files() if mode == "120000"]
        leading_out = [link for link in links if not _target(self.path / link).is_relative_to(root)]
        for link in leading_out:
            (self.path / link).unlink(missing_ok=True)
        if leading_out:
            names = b"".join(os.fsencode(link) + b"\0" for link in leading_out)
            await self._git("update-index", "--skip-worktree", "-z", "--stdin", input_bytes=names)
            await self.bench.say(links_left_out(leading_out))

    async def _tell_what_is_missing(self) -> None:
        modules = [path for mode, path in await self._files() if mode == "160000"]
        if modules:
            await self.bench.say(modules_left_empty(modules))
        listed = await self._git("ls-files", "-z", "--", ":(attr:filter=lfs)")
        pointers = [os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
        if pointers:
            await self.bench.say(f"Files in Git LFS are only pointers here, not their contents: {_some(pointers)}\n")

    async def _make_executable(self, paths: Sequence[str]) -> None:
        plain = [self.path / path for path in paths if not os.access(self.path / path, os.X_OK)]
        plain = [path for path in plain if path.is_file() and not path.is_symlink()]
        if plain:
            await self._git("config", "core.fileMode", "false")
        for path in plain:
            path.chmod(path.stat().st_mode | 0o111)

    async def _files(self) -> list[tuple[str, str]]:
        listed = await self._git("ls-files", "--stage", "-z")
        rows = [row.partition(b"\t") for row in listed.stdout.split(b"\0") if row]
        return [(facts.split()[0].decode(), os.fsdecode(path)) for facts, _, path in rows]

    async def _git(self, *arguments: str, input_bytes: bytes | None = None) -> Finished:
        argv = git.command(*arguments, config={"core.logAllRefUpdates": "false", "core.hooksPath": os.devnull})
        environment = git.environment("file") | {
            BUILD_VARIABLE: self.bench.build_id,
            ROOT_VARIABLE: str(self.bench.root),
        }
        finished = await run(argv, env=environment, timeout_seconds=_SECONDS, cwd=self.path, input_bytes=input_bytes)
        if finished.returncode != 0:
            words = finished.stderr.decode(errors="replace").strip()
            if "No space left on device" in words:
                raise DiskFull("There is no space left for the repository's files.")
            raise InternalError(f"The commit could not be checked out: {words[-300:]}")
        return finished


def without_login(url: str) -> str:
    """A URL without user and password; what is no URL stays as it is."""
    if "://" not in url:
        return url
    address = URL(url)
    return str(address.with_user(None)) if address.host else url


def origin(repo_url: str) -> dict[str, str]:
    """The settings of the remote that a repository came from."""
    return {"url": without_login(repo_url), "fetch": "+refs/heads/*:refs/remotes/origin/*"}


def links_left_out(paths: Sequence[str]) -> str:
    """What a visitor is told of links that lead out of the repository."""
    return f"Links that lead out of the repository are left out: {_some(paths)}\n"


def modules_left_empty(paths: Sequence[str]) -> str:
    """What a visitor is told of submodules."""
    return f"Submodules are not fetched; their folders are empty: {_some(paths)}\n"


def _target(link: Path) -> Path:
    """Where a link leads; one that leads in circles leads nowhere, so out."""
    try:
        return link.resolve()
    except (OSError, RuntimeError):
        return Path("/")


def _some(paths: Sequence[str]) -> str:
    more = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
