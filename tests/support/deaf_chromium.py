#!/usr/bin/env python3
"""Chromium that does not hear of changes of the machine's networks; `CHROMIUM` says where it is.

It breaks requests off when a network comes or goes (ERR_NETWORK_CHANGED), those to this machine too, and containers
that other tests start bring networks all the time. Where it may not ask the kernel for them, it takes itself to be
online and goes on: see seccomp(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

#: By machine: its number in AUDIT_ARCH_*, and that of its socket(2).
_MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
_AF_NETLINK, _NETLINK_ROUTE = 16, 0
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
_LOAD, _SKIP_UNLESS, _ANSWER = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
#: Where `struct seccomp_data` has the number of the call, the machine, and what it is called with.
_NUMBER, _MACHINE, _DOMAIN, _PROTOCOL = 0, 4, 16, 32


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def refuse_netlink() -> None:
    """Let this process, and all it becomes or starts, open no socket that tells of networks."""
    known = _MACHINES.get(os.uname().machine)
    if known is None:
        return
    code = _filter(*known)
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    for words in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*words) != 0:
            raise OSError(ctypes.get_errno(), "prctl failed")


def _filter(machine: int, socket: int) -> bytes:
    wanted = [(_MACHINE, machine), (_NUMBER, socket), (_DOMAIN, _AF_NETLINK), (_PROTOCOL, _NETLINK_ROUTE)]
    steps = []
    for left, (place, value) in zip(range(len(wanted), 0, -1), wanted, strict=True):
        # What differs in one place is allowed: behind the other comparisons, of two steps each, and the refusal.
        steps += [(_LOAD, 0, 0, place), (_SKIP_UNLESS, 0, 2 * left - 1, value)]
    steps += [(_ANSWER, 0, 0, _REFUSE), (_ANSWER, 0, 0, _ALLOW)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


if __name__ == "__main__":
    refuse_netlink()
    os.execv(os.environ["CHROMIUM"], [os.environ["CHROMIUM"], *sys.argv[1:]])
