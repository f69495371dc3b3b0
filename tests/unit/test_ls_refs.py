"""Refs as a server lists them, whatever a server sends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from bindery.errors import HostUnreachable
from builder.git_protocol import packet
from builder.ls_refs import _refs, _request

ADDRESS = URL("https://example.org/o/r")
ID, OTHER = "a" * 40, "b" * 40


def test_a_request_asks_for_prefixes_peeled() -> None:
    assert _request(["HEAD"]) == b"0014command=ls-refs\n00010009peel\n0014ref-prefix HEAD\n0000"


def test_a_tag_comes_with_its_commit() -> None:
    answer = packet(f"{ID} refs/heads/main\n") + packet(f"{OTHER} refs/tags/v1 peeled:{ID}\n") + b"0000"
    assert dict(_refs(answer, ADDRESS)) == {"refs/heads/main": ID, "refs/tags/v1": OTHER, "refs/tags/v1^{}": ID}


@given(st.binary(max_size=400) | st.lists(st.text(max_size=60)).map(lambda lines: b"".join(map(packet, lines))))
def test_any_answer_is_refs_or_a_clear_error(answer: bytes) -> None:
    try:
        found = dict(_refs(answer, ADDRESS))
    except HostUnreachable:
        return
    assert all(len(object_id) in (40, 64) or name.endswith("^{}") for name, object_id in found.items())
