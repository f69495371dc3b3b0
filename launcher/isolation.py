"""Walls between sessions that are forked from one parent, made by the kernel without any privilege.

A child enters a user, mount, IPC and process namespace of its own: it sees its own session's folder and none of the
others', a temporary folder of its own, and no process but its own; when its first process ends, the kernel ends
everything in it. The network is shared. Linux only, and only in a process with one thread. Standard library only: it is
imported by the server environment's Python.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from enum import StrEnum
from pathlib import Path

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x08000000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1 << 1, 1 << 2, 1 << 3, 1 << 12, 1 << 14, 1 << 18
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
CAPABILITY_VERSION_3 = 0x20080522


class Isolation(StrEnum):
    FULL = "full"  #: a file tree and a process table of its own
    FILES = "files"  #: a file tree of its own; the kernel refuses a fresh /proc, so processes stay visible
    NONE = "none"  #: nothing beyond a process group


def available(hidden: Path | None) -> Isolation:
    """The strongest isolation that works here, tried out in children that end at once."""
    if hidden is None or not hasattr(os, "fork") or not Path("/proc/self/ns/user").exists():
        return Isolation.NONE
    return next((kind for kind in (Isolation.FULL, Isolation.FILES) if _works(kind, hidden)), Isolation.NONE)


def _works(kind: Isolation, hidden: Path) -> bool:
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(OSError):
            enter(kind, hidden, hidden, None)
            code = 0 if kind is not Isolation.FULL else _first_process()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _first_process() -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(OSError):
            fresh_proc()
            code = 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def enter(kind: Isolation, hidden: Path, kept: Path, temporary: str | None) -> None:
    """Go behind the walls: `hidden` is empty but for `kept`, `/tmp` is `temporary` unless `hidden` lies there.

    With `FULL`, children of this process are in the new process table; the first must call `fresh_proc`.
    """
    user, group = os.getuid(), os.getgid()
    processes = CLONE_NEWPID if kind is Isolation.FULL else 0
    _check(_libc().unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | processes), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    if temporary is not None and not hidden.is_relative_to("/tmp"):  # noqa: S108
        _mount(temporary, "/tmp", None, MS_BIND)  # noqa: S108
    if kept != hidden:
        _hide(hidden, kept)


def _hide(hidden: Path, kept: Path) -> None:
    folder = os.open(kept, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _mount("tmpfs", str(hidden), "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=0755")
        kept.mkdir()
        _mount(f"/proc/self/fd/{folder}", str(kept), None, MS_BIND)
    finally:
        os.close(folder)


def fresh_proc() -> None:
    """Show this process table, and no other, in `/proc`."""
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, however that happens."""
    with contextlib.suppress(OSError, AttributeError):
        _check(_libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def drop_capabilities() -> None:
    """Give up, for good, the powers that came with the user namespace."""
    libc = _libc()
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _check(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, options)]
    result = _libc().mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])
    _check(result, f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
