"""Git, hardened: no configuration, hooks or credentials of this machine, no protocol, host or redirect unchecked."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from bindery.errors import (
    AuthenticationRequired,
    BinderyError,
    HostUnreachable,
    RepositoryEmpty,
    RepositoryNotFound,
    ToolMissing,
)
from bindery.process import Finished, ProcessTimeout, run
from builder.git_protocol import MAX_GREETING, NOTHING, Offers, offers
from builder.guard import Endpoint, GuardedClient, reading
from builder.ls_refs import ls_refs
from builder.rate_limit import rate_limited

#: For so many seconds a greeting counts: who has resolved a ref fetches its commit next.
GREETING_SECONDS = 30.0

_SERVICE = "info/refs"
_QUERY = {"service": "git-upload-pack"}
_INHERITED = (
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "TMPDIR",
)

_HARDENED = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.attributesFile": os.devnull,
    "credential.helper": "",
    "gc.auto": "0",
    # What comes as a pack stays one: packed data is compressed already, and can be passed on and read as it is.
    "fetch.unpackLimit": "1",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
    "init.defaultBranch": "main",
    "advice.detachedHead": "false",
    "protocol.version": "2",
    "submodule.recurse": "false",
}


@dataclass(frozen=True)
class Remote:
    """A repository that was checked and may be contacted: its URL after redirects, and its host's addresses.

    A `file://` URL has no endpoint; only the operator can name one. `client` asks for what the server `offers` without
    a git process.
    """

    url: str
    endpoint: Endpoint | None
    client: GuardedClient | None = None
    offers: Offers = NOTHING


def environment(*protocols: str) -> dict[str, str]:
    """The environment that git runs with; `protocols` are those it may use."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | {
        "HOME": "/nonexistent",
        "XDG_CONFIG_HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ALLOW_PROTOCOL": ":".join(protocols) or "none",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "LC_ALL": "C.UTF-8",
    }


def command(*arguments: str | Path, remote: Remote | None = None, config: Mapping[str, str] | None = None) -> list[str]:
    """A git command line with the hardened settings, pinned to the remote's checked addresses."""
    settings = {**_HARDENED, **(config or {})}
    if remote is not None and remote.endpoint is not None:
        settings["http.curloptResolve"] = _pin(remote.endpoint)
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return ["git", *options, *map(str, arguments)]


def _pin(endpoint: Endpoint) -> str:
    addresses = ",".join(f"[{address}]" if ":" in address else address for address in endpoint.addresses)
    return f"{endpoint.host}:{endpoint.port}:{addresses}"


def protocol(remote: Remote) -> str:
    """The one protocol that a remote needs."""
    return URL(remote.url).scheme


async def git(
    *arguments: str | Path, timeout_seconds: float, remote: Remote | None = None, cwd: Path | None = None
) -> Finished:
    """Run git to its end. Raises `ToolMissing` without git, `HostUnreachable` after the time limit."""
    env = environment(protocol(remote)) if remote else environment()
    try:
        return await run(command(*arguments, remote=remote), env=env, timeout_seconds=timeout_seconds, cwd=cwd)
    except FileNotFoundError as error:
        raise ToolMissing("Git is not installed on the server.") from error
    except ProcessTimeout as error:
        raise HostUnreachable(f"Git got no answer within {timeout_seconds:g} seconds.") from error


async def contact(client: GuardedClient, url: str) -> Remote:
    """Ask a Git server whether it has a repository that everybody may read, following checked redirects.

    Raises `RepositoryNotFound`, `AuthenticationRequired`, `HostRefused`, `HostBusy` or `HostUnreachable`.
    """
    base = URL(url)
    if base.scheme == "file":
        return Remote(url, None)
    asked = (base.with_path(base.path.rstrip("/") + "/" + _SERVICE, encoded=False)).with_query(_QUERY)
    async with client.get(asked, {"Git-Protocol": "version=2"}) as response:
        if busy := rate_limited(response):
            raise busy
        _check_status(url, response.status)
        if not response.content_type.startswith(("application/x-git-upload-pack-advertisement", "text/plain")):
            raise _not_git(url)
        with reading(asked):
            offered = offers(await _greeting(response.content))
        final = response.url.with_query(None)
    path = final.path.removesuffix("/" + _SERVICE)
    remote = str(final.with_path(path or "/"))
    found = Remote(remote, await client.guard.endpoint(final), client, offered)
    _remember(client, url, found)
    return found


def _remember(client: GuardedClient, url: str, remote: Remote) -> None:
    now = time.monotonic()
    fresh = {known: entry for known, entry in client.greeted.items() if now - entry[0] < GREETING_SECONDS}
    client.greeted = {**fresh, url: (now, remote)}


async def contacted(client: GuardedClient, url: str) -> Remote:
    """The same, without asking where a moment ago somebody did."""
    said_at, remote = client.greeted.get(url, (0.0, None))
    fresh = remote is not None and time.monotonic() - said_at < GREETING_SECONDS
    return remote if fresh else await contact(client, url)


async def _greeting(stream: aiohttp.StreamReader) -> bytes:
    """The beginning of an answer, or all of it."""
    greeting = bytearray()
    async for piece in stream.iter_any():
        greeting += piece
        if len(greeting) >= MAX_GREETING:
            break
    return bytes(greeting)


def _check_status(url: str, status: int) -> None:
    if status in (401, 403):
        raise AuthenticationRequired(f"{url} asks for a login: the repository is private, or does not exist.")
    if status in (404, 410):
        raise RepositoryNotFound(f"There is no repository at {url}.")
    if 400 <= status < 500:
        raise _not_git(url)
    if status != 200:
        raise HostUnreachable(f"{URL(url).host} answered with HTTP status {status} when asked for {url}.")


def _not_git(url: str) -> RepositoryNotFound:
    hint = "Give the address that git clone takes."
    return RepositoryNotFound(f"{url} answers, but not as a Git repository.", hint=hint)


async def advertised(remote: Remote, *names: str, timeout_seconds: float) -> dict[str, str]:
    """Full ref names that the remote has, each with its object id; all branches and tags when no names are given.

    Only exact names are returned: `refs/heads/main` never answers for `refs/heads/a/main`'s tail. A tag's peeled commit
    stands under its name with `^{}`.
    """
    if remote.client is not None and remote.offers.refs:
        prefixes = {name.removesuffix("^{}") for name in names} or {"HEAD", "refs/heads/", "refs/tags/"}
        found = await ls_refs(remote.client, remote.url, sorted(prefixes))
        return {name: object_id for name, object_id in found.items() if not names or name in names}
    wanted = names or ("HEAD", "refs/heads/*", "refs/tags/*")
    finished = await git("ls-remote", "--", remote.url, *wanted, timeout_seconds=timeout_seconds, remote=remote)
    if finished.returncode != 0:
        raise failure(remote, finished)
    pairs = (line.split("\t", 1) for line in finished.stdout.decode(errors="replace").splitlines() if "\t" in line)
    found = {name: object_id for object_id, name in pairs}
    return {name: object_id for name, object_id in found.items() if not names or name in names}


def failure(remote: Remote, finished: Finished) -> BinderyError:
    """What git's own words about a failed contact mean."""
    words = finished.stderr.decode(errors="replace").strip()
    last = words.splitlines()[-1] if words else f"git ended with code {finished.returncode}"
    lowered = words.lower()
    if "authentication failed" in lowered or "could not read username" in lowered:
        return AuthenticationRequired(f"{remote.url} asks for a login.")
    if "does not appear to be a git repository" in lowered or "not found" in lowered:
        return RepositoryNotFound(f"There is no Git repository at {remote.url}.")
    if "dubious ownership" in lowered:
        return RepositoryNotFound(f"{remote.url} belongs to another user.", hint="Launch a clone that is your own.")
    return HostUnreachable(f"Git could not read {remote.url}: {last[:300]}")


def empty(remote: Remote) -> RepositoryEmpty:
    """The error for a repository without any commit."""
    return RepositoryEmpty(f"The repository {remote.url} is empty.")
