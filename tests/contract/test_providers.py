"""What every provider promises, over all of them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bindery.errors import (
    AuthenticationRequired,
    BinderyError,
    HostBusy,
    HostRefused,
    HostUnreachable,
    RefNotFound,
    RepositoryNotFound,
)
from bindery.settings import (
    MIB,
)
from builder.fetch import read_tree
from builder.guard import Guard, GuardedClient
from builder.providers import ORDER, providers
from builder.providers.base import Resolved
from tests.support.provider_world import (
    CASES,
    LIMITS,
    Case,
    World,
    open_world,
    settings,
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture(params=ORDER)
def case(request: pytest.FixtureRequest, world: World) -> Case:
    return CASES[request.param](world)


def _left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


#: What a host may answer to whatever is asked.
FAULTS: dict[str, tuple[tuple[int, dict[str, str], bytes], tuple[type[BinderyError], ...]]] = {
    "forbidden": ((403, {}, b"no"), (AuthenticationRequired,)),
    "missing": ((404, {}, b""), (RepositoryNotFound,)),
    "gone": ((410, {}, b""), (RepositoryNotFound,)),
    "spent": ((403, {"X-RateLimit-Remaining": "0", "Retry-After": "600"}, b"{}"), (HostBusy,)),
    "busy": ((429, {"Retry-After": "120"}, b""), (HostBusy, HostUnreachable)),
    "error": ((500, {}, b"<h1>Internal Server Error</h1>"), (HostUnreachable,)),
    "page": ((200, {"Content-Type": "text/html"}, b"<html>"), (HostUnreachable, RepositoryNotFound)),
    "garbage": ((200, {"Content-Type": "application/json"}, b'{"id": [{}'), (HostUnreachable, RepositoryNotFound)),
    "nothing": ((200, {"Content-Type": "application/json"}, b"{}"), (HostUnreachable, RepositoryNotFound)),
    "null": ((200, {"Content-Type": "application/json"}, b"null"), (HostUnreachable, RepositoryNotFound)),
    "deep": ((200, {"Content-Type": "application/json"}, b"[" * 100_000), (HostUnreachable, RepositoryNotFound)),
    "loop": ((302, {"Location": "/again"}, b""), (HostUnreachable,)),
    "elsewhere": ((302, {"Location": "ftp://example.org/x"}, b""), (HostRefused, RepositoryNotFound)),
    "nowhere": ((302, {"Location": "http://[bad"}, b""), (HostUnreachable,)),
    "no port": ((302, {"Location": "http://h:99999/x"}, b""), (HostUnreachable,)),
    "no host": ((302, {"Location": "mailto:x"}, b""), (HostRefused, RepositoryNotFound)),
}


class TestProvider:
    def test_its_display_has_the_protocols_shape(self, world: World, case: Case) -> None:
        display = world.known[case.provider].display
        assert set(display) <= {"displayName", "id", "spec", "detect", "repo", "ref"}
        assert set(display["spec"]) == {"validateRegex"}
        assert set(display["repo"]) == {"label", "placeholder", "urlEncode"}
        assert display["ref"] in ({"enabled": True, "default": "HEAD"}, {"enabled": False})
        assert re.fullmatch(display["spec"]["validateRegex"], case.spec)

    async def test_a_spec_becomes_what_the_protocol_says(self, world: World, case: Case) -> None:
        resolved = await world.resolve(case.provider, case.spec)
        assert resolved.provider == case.provider
        assert (resolved.spec, resolved.ref) == (case.resolved, case.ref)
        assert (resolved.ref_url, resolved.slug) == (case.ref_url, case.slug)
        assert Resolved.from_json(resolved.to_json()) == resolved

    async def test_a_resolved_spec_resolves_to_itself(self, world: World, case: Case) -> None:
        first = await world.resolve(case.provider, case.spec)
        again = await world.resolve(case.provider, first.spec)
        assert replace(again, branch="") == replace(first, branch="")
        assert re.fullmatch(world.known[case.provider].display["spec"]["validateRegex"], first.spec)

    async def test_its_files_come_as_one_commit(self, world: World, case: Case, tmp_path: Path) -> None:
        resolved = await world.resolve(case.provider, case.spec)
        commit = await world.fetch(resolved, tmp_path / "one" / "repository.git")
        tree = await read_tree(tmp_path / "one" / "repository.git", commit, LIMITS)
        assert {path: tree.read(path, MIB) for path in tree.entries} == case.files
        assert await world.fetch(resolved, tmp_path / "two" / "repository.git") == commit
        assert _left(tmp_path / "one") == {"repository.git"}

    async def test_what_is_missing_is_said_so(self, world: World, case: Case) -> None:
        with pytest.raises((RepositoryNotFound, RefNotFound)) as caught:
            await world.resolve(case.provider, case.missing)
        assert caught.value.hint

    @pytest.mark.parametrize("fault", FAULTS)
    async def test_no_answer_of_a_host_is_an_internal_error(self, world: World, case: Case, fault: str) -> None:
        answer, expected = FAULTS[fault]
        world.break_all(answer)
        with pytest.raises(expected) as caught:
            await world.resolve(case.provider, case.spec)
        assert caught.value.message
        assert caught.value.hint

    @pytest.mark.parametrize("fault", FAULTS)
    async def test_nor_is_it_while_fetching(self, world: World, case: Case, fault: str, tmp_path: Path) -> None:
        resolved = await world.resolve(case.provider, case.spec)
        world.break_all(FAULTS[fault][0])
        with pytest.raises(BinderyError) as caught:
            await world.fetch(resolved, tmp_path / "repository.git")
        assert caught.value.hint
        assert _left(tmp_path) <= {"repository.git", "served"}

    async def test_a_silent_host_is_given_up(self, world: World, case: Case) -> None:
        world.git.silent.add("/")
        world.apis.silent.add("/")
        async with GuardedClient(Guard(allow_private=True, timeout_seconds=0.3)) as client:
            known = providers(settings(world.git.url, world.apis), client)
            with pytest.raises(HostUnreachable, match="took too long"):
                await known[case.provider].resolve(known[case.provider].parse(case.spec))

    async def test_private_hosts_are_refused_unless_allowed(self, world: World, case: Case) -> None:
        async with GuardedClient(Guard(allow_private=False, timeout_seconds=5)) as client:
            known = providers(settings(world.git.url, world.apis), client)
            with pytest.raises(HostRefused):
                await known[case.provider].resolve(known[case.provider].parse(case.spec))
        assert world.apis.requests == world.git.requests == []
