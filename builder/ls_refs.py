"""Asking a Git server for refs without a git process: `ls-refs` of protocol 2 (gitprotocol-v2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from yarl import URL

from bindery.errors import HostUnreachable
from builder.git_protocol import command, payloads, send
from builder.guard import GuardedClient, read_at_most, reading

#: Largest answer that is read, in bytes: some 300,000 refs.
MAX_BYTES = 32 * 1024 * 1024

_REF = re.compile(r"(?P<id>[0-9a-f]{40}|[0-9a-f]{64}) (?P<name>\S+)(?P<attributes>( \S+)*)")


async def ls_refs(client: GuardedClient, url: str, prefixes: Sequence[str]) -> dict[str, str]:
    """All refs whose names begin with one of the prefixes, each with its object id; peeled tags as `name^{}`.

    Raises `HostUnreachable` when the answer is none.
    """
    address = URL(url)
    async with send(client, url, _request(prefixes)) as response:
        if response.status != 200:
            raise HostUnreachable(f"{address.host} answered with HTTP status {response.status} when asked for refs.")
        with reading(address):
            answer = await read_at_most(response, MAX_BYTES)
    return dict(_refs(answer, address))


def _request(prefixes: Sequence[str]) -> bytes:
    return command("ls-refs", ["peel", *(f"ref-prefix {prefix}" for prefix in prefixes)])


def _refs(answer: bytes, address: URL) -> Iterator[tuple[str, str]]:
    try:
        lines = [line.decode("utf-8", errors="replace").rstrip("\n") for line in payloads(answer)]
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
