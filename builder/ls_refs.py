"""Asking a Git server for refs without a git process: `ls-refs` of protocol 2 (gitprotocol-v2, pkt-lines)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from yarl import URL

from bindery.errors import HostUnreachable
from builder.guard import GuardedClient, read_at_most, reading

#: Largest answer that is read, in bytes: some 300,000 refs.
MAX_BYTES = 32 * 1024 * 1024
#: Largest greeting that is read, in bytes.
MAX_GREETING = 64 * 1024

_DELIMITER = b"0001"
_FLUSH = b"0000"
_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")
_REF = re.compile(r"(?P<id>[0-9a-f]{40}|[0-9a-f]{64}) (?P<name>\S+)(?P<attributes>( \S+)*)")


def speaks_protocol_2(greeting: bytes) -> bool:
    """Whether the beginning of a server's answer to `info/refs` offers `ls-refs`."""
    try:
        lines = [line.rstrip(b"\n") for line in _payloads(greeting, whole=False)]
    except ValueError:
        return False
    return b"version 2" in lines and any(line.startswith(b"ls-refs") for line in lines)


async def ls_refs(client: GuardedClient, url: str, prefixes: Sequence[str]) -> dict[str, str]:
    """All refs whose names begin with one of the prefixes, each with its object id; peeled tags as `name^{}`.

    Raises `HostUnreachable` when the answer is none.
    """
    address = URL(url)
    asked = address.with_path(f"{address.path.rstrip('/')}/git-upload-pack")
    headers = {
        "Git-Protocol": "version=2",
        "Content-Type": "application/x-git-upload-pack-request",
        "Accept": "application/x-git-upload-pack-result",
    }
    async with client.ask(asked, headers, method="POST", data=_request(prefixes)) as response:
        if response.status != 200:
            raise HostUnreachable(f"{address.host} answered with HTTP status {response.status} when asked for refs.")
        with reading(asked):
            answer = await read_at_most(response, MAX_BYTES)
    return dict(_refs(answer, address))


def _request(prefixes: Sequence[str]) -> bytes:
    arguments = ["peel\n", *(f"ref-prefix {prefix}\n" for prefix in prefixes)]
    return _packet("command=ls-refs\n") + _DELIMITER + b"".join(map(_packet, arguments)) + _FLUSH


def _packet(text: str) -> bytes:
    data = text.encode()
    return b"%04x" % (len(data) + 4) + data


def _payloads(data: bytes, *, whole: bool = True) -> Iterator[bytes]:
    """The content of each pkt-line; special packets are passed over. Raises `ValueError` for anything else."""
    position = 0
    while position < len(data):
        head = data[position : position + 4]
        if not _LENGTH.fullmatch(head):
            raise ValueError("not a pkt-line")
        length = int(head, 16)
        if length > 4 and position + length > len(data):
            if whole:
                raise ValueError("a pkt-line is cut short")
            return
        if length > 4:
            yield data[position + 4 : position + length]
        position += max(length, 4)


def _refs(answer: bytes, address: URL) -> Iterator[tuple[str, str]]:
    try:
        lines = [line.decode("utf-8", errors="replace").rstrip("\n") for line in _payloads(answer)]
    except ValueError as error:
        raise HostUnreachable(f"{address.host} answered, but not as Git does.") from error
    for line in lines:
        found = _REF.fullmatch(line)
        if found is None:
            raise HostUnreachable(f"{address.host} answered, but not as Git does: {line[:80]!r}")
        yield found["name"], found["id"]
        for attribute in found["attributes"].split():
            if attribute.startswith("peeled:"):
                yield f"{found['name']}^{{}}", attribute.removeprefix("peeled:")
