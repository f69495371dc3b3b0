"""`bindery link`: what it prints, and what it refuses."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import pytest
from rich.console import Console

from bindery.data_dir import Announcement, announce
from bindery.errors import BinderyError, HostRefused, InvalidSpec, PathRefused, RequestRefused
from bindery.linking import Share, link
from bindery.settings import Settings
from tests.support.link_vectors import ADDRESSES
from web.links import BADGE_TEXTS

SERVICE = "https://bindery.example.org/"


class Changes(TypedDict, total=False):
    """What else is typed."""

    address: str
    ref: str
    path: str
    open_as: str
    service: str


@pytest.fixture
def share(tmp_path: Path) -> Share:
    return Share("owner/name", "", "", "file", SERVICE, Settings(data_dir=tmp_path))


async def printed(share: Share, only: str = "", as_json: bool = False) -> tuple[str, str]:
    """What it writes, and what it notes beside."""
    output, errors = io.StringIO(), io.StringIO()
    await link(share, only, as_json, Console(file=output, width=40), Console(file=errors, width=40))
    return output.getvalue(), errors.getvalue()


async def test_it_prints_the_link_and_every_badge(share: Share) -> None:
    text, notes = await printed(share)
    assert f"\n{SERVICE}v2/gh/owner/name/HEAD\n" in text
    assert f"[![Launch in Bindery]({SERVICE}badge_logo.svg)]({SERVICE}v2/gh/owner/name/HEAD)\n" in text
    assert f":target: {SERVICE}v2/gh/owner/name/HEAD\n" in text
    assert f'<a href="{SERVICE}v2/gh/owner/name/HEAD">' in text
    assert f'image:{SERVICE}badge_logo.svg["Launch in Bindery",link="{SERVICE}v2/gh/owner/name/HEAD"]\n' in text
    assert notes == ""


@pytest.mark.parametrize("address", ADDRESSES)
async def test_every_address_has_a_link(share: Share, address: str) -> None:
    text, _ = await printed(replace(share, address=address), "link")
    assert text == f"{SERVICE}v2/{ADDRESSES[address]}\n"


async def test_one_badge_alone(share: Share) -> None:
    for kind in BADGE_TEXTS:
        text, _ = await printed(share, kind)
        assert text.strip() == json.loads((await printed(share, as_json=True))[0])["badges"][kind]


async def test_what_is_given_wins_over_the_address(share: Share) -> None:
    page = replace(share, address="https://github.com/o/r/blob/main/a.ipynb")
    assert (await printed(page, "link"))[0] == f"{SERVICE}v2/gh/o/r/main?labpath=a.ipynb\n"
    given = replace(page, ref="v1", path="rstudio", open_as="url")
    assert (await printed(given, "link"))[0] == f"{SERVICE}v2/gh/o/r/v1?urlpath=rstudio\n"


@pytest.mark.parametrize("service", ["bindery.example.org", "https://bindery.example.org", f"{SERVICE}/"])
async def test_a_service_may_be_written_in_many_ways(share: Share, service: str) -> None:
    assert (await printed(replace(share, service=service), "link"))[0].startswith(f"{SERVICE}v2/")


async def test_without_one_it_is_the_one_that_runs(share: Share, tmp_path: Path) -> None:
    own = replace(share, service="")
    text, notes = await printed(own, "link")
    assert text == "http://127.0.0.1:8585/v2/gh/owner/name/HEAD\n"
    assert "from this machine only" in notes.replace("\n", " ")
    with announce(tmp_path, Announcement("http://127.0.0.1:9/b/", 1, "token")):
        assert (await printed(own, "link"))[0] == "http://127.0.0.1:9/b/v2/gh/owner/name/HEAD\n"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"address": "nonsense"}, InvalidSpec),
        ({"address": ""}, InvalidSpec),
        ({"address": "https://github.com/owner"}, InvalidSpec),
        ({"address": "."}, InvalidSpec),
        ({"address": "10.5281/"}, InvalidSpec),
        ({"address": "ftp://example.org/r"}, HostRefused),
        ({"ref": "-x"}, InvalidSpec),
        ({"path": "../../../etc"}, PathRefused),
        ({"path": "https://evil.example/", "open_as": "url"}, PathRefused),
        ({"service": "ht!tp://"}, RequestRefused),
        ({"service": "https://h/?x=1"}, RequestRefused),
        ({"service": "ftp://h/"}, RequestRefused),
    ],
)
async def test_what_cannot_be_a_link_is_refused_with_a_cure(
    share: Share, changes: Changes, error: type[BinderyError]
) -> None:
    with pytest.raises(error) as refused:
        await printed(replace(share, **changes))
    assert refused.value.hint
