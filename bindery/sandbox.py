"""Running what repositories bring along in a box of its own: bubblewrap, where it is there and works."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bindery.process import ProcessTimeout, run

#: Variables that a program in the box may know: how to speak, and how to reach the network.
INHERITED = frozenset(
    {
        *("LANG", "LC_ALL", "LC_CTYPE", "TZ", "TERM"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO"),
        *("NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    }
)
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROBE_SECONDS = 5.0


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of our own environment that a repository's programs get: no credentials, no personal settings."""
    folders = [*environ.get("PATH", "").split(os.pathsep), *_SYSTEM_PATH.split(os.pathsep)]
    personal = (str(Path.home()), sys.prefix)
    public = [item for item in folders if item.startswith("/") and not _is_below(item, personal)]
    path = os.pathsep.join(dict.fromkeys(public))
    return {name: value for name, value in environ.items() if name in INHERITED} | {"PATH": path}


@dataclass(frozen=True)
class Sandbox:
    """A way to run a program so that it sees the system, and of our files only what it is given.

    - The system is read-only; `/tmp` and `/run` are private and empty; other processes are not to be seen.
    - Homes, the places of other disks and of a server's data (`/mnt`, `/media`, `/srv`) and `hidden` folders (the data
      directory) are empty, apart from what `wrap` is given and `kept`. The rest of the system can be read.
    - When the program ends, or whoever started it, everything it started ends too.
    - The network is shared.

    Without a program (`bwrap` is None) nothing is promised: `wrap` gives back what it was given.
    """

    bwrap: str | None
    hidden: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()
    reason: str = ""

    @property
    def active(self) -> bool:
        """Whether `wrap` does anything."""
        return self.bwrap is not None

    def wrap(
        self,
        argv: Sequence[str | Path],
        *,
        writable: Iterable[Path] = (),
        readable: Iterable[Path] = (),
        links: Mapping[Path, Path] | None = None,
    ) -> list[str]:
        """The command line that runs `argv` in the box.

        `writable` and `readable` are paths that exist; they keep their place. A path may lie below another of them;
        the deeper one decides. `links` are symbolic links, each with its target, that the box has in hidden folders.
        The program starts in the caller's working directory where that is visible.
        """
        words = [os.fspath(word) for word in argv]
        if self.bwrap is None:
            return words
        masks = {os.path.realpath(path): "--tmpfs" for path in (*_private_folders(), *self.hidden) if path.is_dir()}
        shown = {path: "--ro-bind" for path in _both([*self.kept, *readable]) if _is_below(path, masks)}
        shown |= dict.fromkeys(_both(writable), "--bind")
        options = [self.bwrap, "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--cap-drop", "ALL"]
        options += [*_system(masks), "--dev", "/dev", "--proc", "/proc"]
        for path, option in sorted((masks | shown).items()):
            options += [option, path] if option == "--tmpfs" else [option, path, path]
        for link, target in (links or {}).items():
            options += ["--symlink", str(target), str(link)]
        return [*options, "--remount-ro", "/", "--", *words]


def no_sandbox(reason: str) -> Sandbox:
    """A box that is none; `reason` says why."""
    return Sandbox(bwrap=None, reason=reason)


async def find_sandbox(
    *, enabled: bool, hidden: Iterable[Path] = (), kept: Iterable[Path] = (), path: str | None = None
) -> Sandbox:
    """The box this machine can offer. `kept` are folders to leave readable wherever they lie: interpreters, tools."""
    if not enabled:
        return no_sandbox("switched off by setting")
    bwrap = shutil.which("bwrap", path=path)
    if bwrap is None:
        return no_sandbox("bubblewrap is not installed")
    sandbox = Sandbox(bwrap, tuple(item.absolute() for item in hidden), (*_always_kept(), *kept))
    problem = await _problem(sandbox)
    return sandbox if problem is None else no_sandbox(f"bubblewrap does not work here: {problem}")


async def _problem(sandbox: Sandbox) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        command = sandbox.wrap([sys.executable, "-I", "-S", "-c", ""], writable=[Path(folder)])
        try:
            ended = await run(command, env={}, timeout_seconds=_PROBE_SECONDS, cwd=Path("/"))
        except (OSError, ProcessTimeout) as error:
            return str(error)
    if ended.returncode == 0:
        return None
    return ended.stderr.decode(errors="replace").strip() or f"it ended with {ended.returncode}"


def _system(masked: Collection[str]) -> list[str]:
    """The options that show the system, but for the places that will be masked.

    All at once would take along what is mounted in those places, and where a container engine mounts and unmounts
    there, a box fails when a mount goes while the box is made.
    """
    options: list[str] = []
    with os.scandir("/") as entries:
        roots = sorted((entry.path, entry.is_symlink()) for entry in entries)
    for path, is_link in roots:
        if path in masked or path in ("/dev", "/proc"):
            continue
        options += ["--symlink", str(Path(path).readlink()), path] if is_link else ["--ro-bind-try", path, path]
    return options


def _private_folders() -> list[Path]:
    """Folders of this machine that hold what is nobody else's business, sockets of other programs included."""
    homes = [Path("/home"), Path("/root"), Path(pwd.getpwuid(os.getuid()).pw_dir), Path.home()]
    temporary = [Path("/tmp"), Path("/var/tmp"), Path("/run"), Path("/var/run"), Path(tempfile.gettempdir())]  # noqa: S108
    disks = [Path("/mnt"), Path("/media"), Path("/srv")]
    return [folder for folder in (*homes, *temporary, *disks) if folder != Path("/")]


def _always_kept() -> list[Path]:
    """The interpreter that runs us, names of network servers, and certificates, wherever they lie."""
    certificates = [Path(os.environ[name]) for name in _CERTIFICATES if os.environ.get(name)]
    return [Path(sys.base_prefix), Path(sys.prefix), Path("/etc/resolv.conf"), *certificates]


def _both(paths: Iterable[Path]) -> list[str]:
    """Each path that exists under its own name, and under the one that its links lead to."""
    found = [str(path.absolute()) for path in paths if path.exists()]
    return [*found, *map(os.path.realpath, found)]


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder.rstrip('/')}/") for folder in folders)
