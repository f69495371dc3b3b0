"""What every provider promises, over all of them."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import web
from bindery.errors import (
    AuthenticationRequired,
    BinderyError,
    HostBusy,
    HostRefused,
    HostUnreachable,
    InvalidSpec,
    RefNotFound,
    RepositoryEmpty,
    RepositoryNotFound,
    RepositoryTooLarge,
)
from bindery.settings import (
    MIB,
    BitbucketSettings,
    CodebergSettings,
    FetchSettings,
    FigshareSettings,
    GistSettings,
    GitHubSettings,
    GitLabSettings,
    HuggingFaceSettings,
    HydroShareSettings,
    OsfSettings,
    ProviderSettings,
    SoftwareHeritageSettings,
    ZenodoSettings,
)
from builder.fetch import read_tree
from builder.guard import Guard, GuardedClient
from builder.providers import ORDER, providers
from builder.providers.base import Provider, Resolved
from builder.providers.swh import SoftwareHeritageProvider
from tests.support.git_server import GitServer, serve_git
from tests.support.needs import need
from tests.support.provider_apis import Dataset, Files, ProviderApis, serve_apis, zip_of
from web.links import launch_path, recognise

FILES: Files = {"README.md": b"# hello", "notebooks/one.ipynb": b"{}"}
#: What hosts of archives have: no folders, so the example is flat.
FLAT: Files = {"README.md": b"# hello", "one.ipynb": b"{}"}
GIST = "8a658f7f63b13768d1e75fa2464f5092"
RESOURCE = "142c59757ed54de1816777828c9716e7"
REVISION, FOLDER, RELEASE, SNAPSHOT, ORIGIN = ("1" * 40, "2" * 40, "3" * 40, "4" * 40, "5" * 40)
LIMITS = FetchSettings(max_bytes=50 * MIB, max_files=100, timeout_seconds=20)

GIT = ("gh", "gist", "git", "gl", "bitbucket", "codeberg", "hf")
ARCHIVES = tuple(name for name in ORDER if name not in GIT)


@dataclass
class World:
    """The hosts, and providers that know no others."""

    git: GitServer
    apis: ProviderApis
    client: GuardedClient
    known: dict[str, Provider]
    commit: str

    async def resolve(self, provider: str, spec: str) -> Resolved:
        place = self.known[provider]
        return await place.resolve(place.parse(spec))

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings = LIMITS) -> str:
        # What a build's row keeps, and no more.
        kept = replace(resolved, slug="", branch="", notice="")
        return await self.known[resolved.provider].fetch(kept, folder, limits, lambda line: None)

    def break_all(self, fault: tuple[int, dict[str, str], bytes]) -> None:
        self.git.faults["/"] = self.apis.faults["/"] = fault


def settings(git_url: str, apis: ProviderApis) -> ProviderSettings:
    return ProviderSettings(
        gh=GitHubSettings(url=git_url),
        gist=GistSettings(url=git_url, api_url=apis.url),
        gl=GitLabSettings(url=git_url),
        bitbucket=BitbucketSettings(url=git_url),
        codeberg=CodebergSettings(url=git_url),
        hf=HuggingFaceSettings(url=git_url),
        zenodo=ZenodoSettings(url=apis.url),
        figshare=FigshareSettings(api_url=f"{apis.url}/v2"),
        hydroshare=HydroShareSettings(url=apis.url),
        osf=OsfSettings(url=apis.url, api_url=f"{apis.url}/v2", files_url=f"{apis.url}/v1"),
        swh=SoftwareHeritageSettings(url=apis.url),
        doi_url=apis.doi_url,
        resolve_timeout_seconds=5,
    )


def fill(apis: ProviderApis) -> None:
    """One of everything."""
    apis.gists[GIST] = True
    apis.records |= {"101": FLAT, "102": FLAT, "z4ybk-cb307": {"all.zip": zip_of({"top/a.txt": b"1", "top/b": b"2"})}}
    apis.concepts["100"] = "102"
    for number in ("100", "101", "102"):
        apis.dois[f"10.5281/zenodo.{number}"] = f"{apis.url}/doi/10.5281/zenodo.{number}"
    apis.dois["10.22002/z4ybk-cb307"] = f"{apis.url}/records/z4ybk-cb307"
    apis.articles["9782777"] = [{"old.txt": b"old"}, FLAT]
    for version in ("", ".v1", ".v2", ".v9"):
        apis.dois[f"10.6084/m9.figshare.9782777{version}"] = f"{apis.url}/articles/code/x/9782777"
    apis.datasets["10.7910/DVN/TJCLKP"] = Dataset(7, {"1.0": {"old.txt": b"old"}, "2.1": FILES})
    apis.file_dois["10.7910/DVN/TJCLKP/FILE"] = "10.7910/DVN/TJCLKP"
    for doi in ("10.7910/DVN/TJCLKP", "10.7910/DVN/TJCLKP/FILE"):
        apis.dois[doi] = f"{apis.url}/citation?persistentId=doi:{doi}"
    apis.resources[RESOURCE] = ("2019-09-25T16:09:17.006152Z", FILES)
    apis.packages["sample"] = ("2022-02-02T03:04:05.678901", FLAT)
    apis.activities["abc-1"] = ("2021-02-02T03:04:05.678901", {"old.txt": b"old"})
    apis.projects["ezcuj"] = ("nodes", "2023-01-02T03:04:05.678901Z", FILES)
    apis.projects["fil3s"] = ("files", "2023-01-02T03:04:05.678901Z", {})
    apis.heritage |= {
        f"revision/{REVISION}": {"id": REVISION, "directory": FOLDER, "message": "m"},
        f"release/{RELEASE}": {"id": RELEASE, "target": REVISION, "target_type": "revision"},
        f"snapshot/{SNAPSHOT}": {
            "HEAD": {"target": "refs/heads/x", "target_type": "alias"},
            "refs/heads/x": {"target": REVISION, "target_type": "revision"},
        },
        f"resolve/swh:1:ori:{ORIGIN}": {
            "browse_url": f"{apis.url}/browse/origin/directory/?origin_url=https://git.example.org/o/r"
        },
        "origin/https://git.example.org/o/r/visit/latest": {"snapshot": SNAPSHOT, "visit": 3},
    }
    apis.folders[FOLDER] = FILES


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serve_git(tmp_path / "served"))
        apis = await stack.enter_async_context(serve_apis())
        client = await stack.enter_async_context(GuardedClient(Guard(allow_private=True, timeout_seconds=5)))
        repository = served.repository("o/r")
        commit = repository.commit({name: content.decode() for name, content in FILES.items()})
        repository.git("tag", "-a", "v1", "-m", "first")
        for name in (f"user/{GIST}", "g/s-1/p", "spaces/o/r"):
            (served.root / name).parent.mkdir(parents=True, exist_ok=True)
            (served.root / name).symlink_to(repository.folder, target_is_directory=True)
        fill(apis)
        known = providers(settings(served.url, apis), client)
        heritage = known["swh"]
        assert isinstance(heritage, SoftwareHeritageProvider)
        known["swh"] = replace(heritage, poll_seconds=0.01)
        yield World(served, apis, client, known, commit)


@dataclass(frozen=True)
class Case:
    """An example of one provider's: its spec, and what it must become. `{...}` is filled in from the world."""

    provider: str
    spec: str
    resolved: str
    ref: str
    ref_url: str
    slug: str
    files: Files
    missing: str


def _encoded(text: str) -> str:
    return quote(text, safe="")


CASES: dict[str, Callable[[World], Case]] = {
    "gh": lambda w: Case(
        *("gh", "o/r/HEAD", f"o/r/{w.commit}", w.commit, f"{w.git.url}/o/r/tree/{w.commit}", "o-r"),
        *(FILES, "o/nosuch/HEAD"),
    ),
    "gist": lambda w: Case(
        *("gist", f"user/{GIST}", f"user/{GIST}/{w.commit}", w.commit, f"{w.git.url}/user/{GIST}/{w.commit}", GIST),
        *(FILES, "user/0123/HEAD"),
    ),
    "git": lambda w: Case(
        *("git", f"{_encoded(w.git.url)}%2Fo%2Fr/v1", f"{_encoded(w.git.url)}%2Fo%2Fr/{w.commit}", w.commit),
        *(f"{w.git.url}/o/r", "127-0-0-1-o-r", FILES, f"{_encoded(w.git.url)}%2Fo%2Fnosuch/HEAD"),
    ),
    "gl": lambda w: Case(
        *("gl", "g%2Fs-1%2Fp/main", f"g%2Fs-1%2Fp/{w.commit}", w.commit, f"{w.git.url}/g/s-1/p/tree/{w.commit}"),
        *("g-s_-1-p", FILES, "g%2Fnosuch/main"),
    ),
    "zenodo": lambda w: Case(
        *("zenodo", "10.5281/zenodo.100", "10.5281/zenodo.102", "102", f"{w.apis.doi_url}/10.5281/zenodo.102"),
        *("zenodo-102", FLAT, "10.5281/zenodo.999"),
    ),
    "figshare": lambda w: Case(
        *("figshare", "10.6084/m9.figshare.9782777", "10.6084/m9.figshare.9782777.v2", "9782777.v2"),
        *(f"{w.apis.doi_url}/10.6084/m9.figshare.9782777.v2", "figshare-9782777.v2", FLAT, "10.6084/m9.figshare.1"),
    ),
    "hydroshare": lambda w: Case(
        *("hydroshare", f"10.4211%2Fhs.{RESOURCE}", _encoded(f"{w.apis.url}/resource/{RESOURCE}")),
        *(f"{RESOURCE}.v1569427757", f"{w.apis.url}/resource/{RESOURCE}", f"hydroshare-{RESOURCE}.v1569427757"),
        *(FILES, "f" * 32),
    ),
    "dataverse": lambda w: Case(
        *("dataverse", "10.7910/DVN/TJCLKP", "10.7910/DVN/TJCLKP", "7.v2.1", f"{w.apis.doi_url}/10.7910/DVN/TJCLKP"),
        *("dataverse-dvn-2ftjclkp", FILES, "10.7910/DVN/NOSUCH"),
    ),
    "ckan": lambda w: Case(
        *("ckan", _encoded(f"{w.apis.url}/portal/dataset/sample"), _encoded(f"{w.apis.url}/portal/dataset/sample")),
        *("sample.v1643771045", f"{w.apis.url}/portal/dataset/sample", "ckan-sample", FLAT),
        _encoded(f"{w.apis.url}/portal/dataset/nosuch"),
    ),
    "bitbucket": lambda w: Case(
        *("bitbucket", "o/r/v1", f"o/r/{w.commit}", w.commit, f"{w.git.url}/o/r/src/{w.commit}", "o-r"),
        *(FILES, "o/nosuch/HEAD"),
    ),
    "codeberg": lambda w: Case(
        *("codeberg", "o/r.git/main", f"o/r/{w.commit}", w.commit, f"{w.git.url}/o/r/src/commit/{w.commit}", "o-r"),
        *(FILES, "o/nosuch/HEAD"),
    ),
    "hf": lambda w: Case(
        *("hf", "spaces%2Fo%2Fr/main", f"spaces%2Fo%2Fr/{w.commit}", w.commit),
        *(f"{w.git.url}/spaces/o/r/tree/{w.commit}", "spaces-o-r", FILES, "o%2Fnosuch/main"),
    ),
    "swh": lambda w: Case(
        *("swh", f"swh:1:rel:{RELEASE}", f"swh:1:rel:{RELEASE}", FOLDER, f"{w.apis.url}/swh:1:rel:{RELEASE}"),
        *(f"swh-rel-{RELEASE[:12]}", FILES, f"swh:1:rev:{'9' * 40}"),
    ),
    "osf": lambda w: Case(
        *("osf", "EZCUJ", "ezcuj", "ezcuj.v1672628645", f"{w.apis.url}/ezcuj", "osf-ezcuj", FILES, "nosuc"),
    ),
    "invenio": lambda w: Case(
        *("invenio", _encoded(f"{w.apis.url}/records/z4ybk-cb307"), _encoded(f"{w.apis.url}/records/z4ybk-cb307")),
        *("z4ybk-cb307", f"{w.apis.url}/records/z4ybk-cb307"),
        f"{w.apis.url.removeprefix('http://')}-z4ybk-cb307",
        *({"a.txt": b"1", "b": b"2"}, _encoded(f"{w.apis.url}/records/nosuch")),
    ),
}


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


class TestGitHosts:
    @pytest.mark.parametrize("name", [name for name in GIT if name != "gist"])
    async def test_branches_tags_and_courtesy(self, world: World, name: str) -> None:
        repo = CASES[name](world).spec.rpartition("/")[0]
        for ref in ("HEAD", "main", "v1", world.commit):
            assert (await world.resolve(name, f"{repo}/{ref}")).ref == world.commit
        assert "HEAD instead of master" in (await world.resolve(name, f"{repo}/master")).notice
        with pytest.raises(RefNotFound):
            await world.resolve(name, f"{repo}/nosuch")

    async def test_an_encoded_branch_is_decoded(self, world: World) -> None:
        (world.git.root / "o/r").joinpath(".git/refs/heads/feature").mkdir()
        (world.git.root / "o/r/.git/refs/heads/feature/x").write_text(world.commit + "\n")
        assert (await world.resolve("gl", "g%2Fs-1%2Fp/feature%2Fx")).branch == "refs/heads/feature/x"


class TestGist:
    async def test_a_secret_one_is_refused_unless_allowed(self, world: World) -> None:
        world.apis.gists[GIST] = False
        with pytest.raises(RepositoryNotFound, match="secret"):
            await world.resolve("gist", f"user/{GIST}")
        asked = len(world.apis.requests)
        free = settings(world.git.url, world.apis).model_copy(
            update={"gist": GistSettings(url=world.git.url, api_url=world.apis.url, allow_secret=True)}
        )
        place = providers(free, world.client)["gist"]
        assert (await place.resolve(place.parse(f"user/{GIST}/master"))).ref == world.commit
        assert len(world.apis.requests) == asked

    async def test_a_public_one_is_asked_for_once(self, world: World) -> None:
        for ref in ("", "/HEAD", "/main", "/master", f"/{world.commit}", "/HEAD/more"):
            assert (await world.resolve("gist", f"user/{GIST}{ref}")).ref == world.commit
        assert len(world.apis.requests) == 1

    async def test_a_branch_is_none(self, world: World) -> None:
        with pytest.raises(RefNotFound):
            await world.resolve("gist", f"user/{GIST}/v1")

    async def test_a_spent_rate_limit_says_when_to_come_again(self, world: World) -> None:
        headers = {"X-RateLimit-Remaining": "0", "Retry-After": "420", "X-GitHub-Request-Id": "1"}
        world.apis.faults["/gists/"] = (403, headers, b"{}")
        with pytest.raises(HostBusy) as caught:
            await world.resolve("gist", f"user/{GIST}")
        assert caught.value.message == "GitHub rate limit exceeded. Try again in 10 minutes."
        assert caught.value.retryable

    async def test_a_token_goes_no_further_than_its_host(self, world: World) -> None:
        world.apis.faults[f"/gists/{GIST}"] = (302, {"Location": f"{world.apis.doi_url}/gists/0"}, b"")
        world.apis.gists["0"] = True
        changed = GistSettings(url=world.git.url, api_url=world.apis.url, token="hidden")  # type: ignore[arg-type]
        place = providers(settings(world.git.url, world.apis).model_copy(update={"gist": changed}), world.client)[
            "gist"
        ]
        await place.resolve(place.parse(f"user/{GIST}"))
        assert world.apis.logins == ["Bearer hidden", ""]


class TestArchives:
    async def test_a_version_is_not_its_concept(self, world: World, tmp_path: Path) -> None:
        assert (await world.resolve("zenodo", "10.5281/zenodo.101")).spec == "10.5281/zenodo.101"
        old = await world.resolve("figshare", "10.6084/m9.figshare.9782777.v1")
        assert old.ref == "9782777.v1"
        tree = await read_tree(tmp_path / "x.git", await world.fetch(old, tmp_path / "x.git"), LIMITS)
        assert set(tree.entries) == {"old.txt"}

    async def test_a_concept_that_only_pages_know(self, world: World) -> None:
        world.apis.faults["/api/records/100"] = (404, {}, b"{}")
        assert (await world.resolve("zenodo", "10.5281/zenodo.100")).ref == "102"

    async def test_a_doi_of_another_host_is_said_so(self, world: World) -> None:
        world.apis.dois["10.5281/zenodo.7"] = "https://example.org/elsewhere"
        with pytest.raises(BinderyError) as caught:
            await world.resolve("zenodo", "10.5281/zenodo.7")
        assert caught.value.hint
        with pytest.raises(RepositoryNotFound, match=r"leads to .*, not to a Dataverse"):
            await world.resolve("dataverse", "10.5281/zenodo.101")

    async def test_an_invenio_doi(self, world: World) -> None:
        resolved = await world.resolve("invenio", "10.22002%2Fz4ybk-cb307")
        assert resolved.ref == "z4ybk-cb307"

    async def test_a_files_doi_means_its_dataset(self, world: World) -> None:
        assert (await world.resolve("dataverse", "10.7910/DVN/TJCLKP/FILE")).spec == "10.7910/DVN/TJCLKP"

    async def test_restricted_files_are_left_out_and_tables_as_uploaded(self, world: World, tmp_path: Path) -> None:
        files = {"open.csv": b"a,b", "secret.csv": b"s"}
        world.apis.datasets["10.7910/DVN/TJCLKP"] = Dataset(
            8, {"1.0": files}, frozenset({"secret.csv"}), frozenset({"open.csv"})
        )
        resolved = await world.resolve("dataverse", "10.7910/DVN/TJCLKP")
        said: list[str] = []
        place = world.known["dataverse"]
        commit = await place.fetch(resolved, tmp_path / "x.git", LIMITS, said.append)
        tree = await read_tree(tmp_path / "x.git", commit, LIMITS)
        assert {path: tree.read(path, MIB) for path in tree.entries} == {"open.csv": b"a,b"}
        assert said == ["Left out: 1 restricted files\n"]

    async def test_a_former_state_of_a_dataset(self, world: World, tmp_path: Path) -> None:
        for tail in ("/history/abc-1", "?activity_id=abc-1"):
            spec = _encoded(f"{world.apis.url}/portal/dataset/sample{tail}")
            assert (await world.resolve("ckan", spec)).ref == "sample.v1612235045"

    @pytest.mark.parametrize("name", ["ckan", "hydroshare", "osf"])
    async def test_a_record_that_changes_meanwhile_is_not_kept(self, world: World, name: str, tmp_path: Path) -> None:
        resolved = await world.resolve(name, CASES[name](world).spec)
        later = "2024-01-01T00:00:00Z"
        world.apis.packages["sample"] = (later, FLAT)
        world.apis.resources[RESOURCE] = (later, FILES)
        world.apis.projects["ezcuj"] = ("nodes", later, FILES)
        with pytest.raises(HostUnreachable, match="changed while"):
            await world.fetch(resolved, tmp_path / "x.git")

    async def test_an_osf_file_is_no_project(self, world: World) -> None:
        with pytest.raises(RepositoryNotFound, match="no OSF project"):
            await world.resolve("osf", "fil3s")

    async def test_a_record_without_files(self, world: World, tmp_path: Path) -> None:
        world.apis.records["101"] = {}
        with pytest.raises(RepositoryEmpty):
            await world.fetch(await world.resolve("zenodo", "10.5281/zenodo.101"), tmp_path / "x.git")

    async def test_a_damaged_download_is_noticed(self, world: World, tmp_path: Path) -> None:
        resolved = await world.resolve("zenodo", "10.5281/zenodo.101")
        world.apis.faults["/api/records/101/files/one.ipynb/content"] = (200, {}, b"[]")
        with pytest.raises(HostUnreachable, match="as it was published"):
            await world.fetch(resolved, tmp_path / "x.git")

    @pytest.mark.parametrize("limits", [FetchSettings(max_bytes=5), FetchSettings(max_files=1)])
    @pytest.mark.parametrize("name", ARCHIVES)
    async def test_limits_hold(self, world: World, name: str, limits: FetchSettings, tmp_path: Path) -> None:
        resolved = await world.resolve(name, CASES[name](world).spec)
        with pytest.raises(RepositoryTooLarge):
            await world.fetch(resolved, tmp_path / "x.git", limits)

    async def test_a_slow_download_is_given_up(self, world: World, tmp_path: Path) -> None:
        resolved = await world.resolve("zenodo", "10.5281/zenodo.101")
        world.apis.silent.add("/api/records/101/files/one.ipynb")
        with pytest.raises(HostUnreachable):
            await world.fetch(resolved, tmp_path / "x.git", FetchSettings(timeout_seconds=0.5))
        assert not (tmp_path / "x.git.parts").exists()

    @pytest.mark.parametrize(
        "name", ["../../etc/passwd", "/etc/passwd", "a\nb", "", ".git/config", "\ud800", "a" * 300]
    )
    @pytest.mark.parametrize("where", ["http://[", "mailto:x", "", "file:///etc/passwd", "http://h:99999/", "\0"])
    async def test_hostile_listings(self, world: World, name: str, where: str, tmp_path: Path) -> None:
        resolved = await world.resolve("zenodo", "10.5281/zenodo.101")
        good = f"{world.apis.url}/api/records/101/files/one.ipynb/content"
        for own in (name, "a.txt"):
            entries = [{"key": own, "links": {"content": where if own == "a.txt" else good}}]
            body = json.dumps({"entries": entries}).encode()
            world.apis.faults["/api/records/101/files"] = (200, {"Content-Type": "application/json"}, body)
            world.apis.faults["/api/records/101/files/one.ipynb"] = (200, {}, b"x")
            with contextlib.suppress(BinderyError):
                commit = await world.fetch(resolved, tmp_path / f"{len(own)}.git")
                tree = await read_tree(tmp_path / f"{len(own)}.git", commit, LIMITS)
                assert not any(path.startswith((".git", "/", "..")) for path in tree.entries)

    async def test_a_huge_answer_is_cut_short(self, world: World) -> None:
        world.apis.faults["/api/records/"] = (200, {}, b" " * (17 * MIB))
        with pytest.raises(HostUnreachable, match="more than 16 MiB"):
            await world.resolve("zenodo", "10.5281/zenodo.101")


class TestSoftwareHeritage:
    @pytest.mark.parametrize(
        ("kind", "identity", "resolved"),
        [
            ("rev", REVISION, f"swh:1:rev:{REVISION}"),
            ("dir", FOLDER, f"swh:1:dir:{FOLDER}"),
            ("snp", SNAPSHOT, f"swh:1:snp:{SNAPSHOT}"),
            ("ori", ORIGIN, f"swh:1:snp:{SNAPSHOT}"),
        ],
    )
    async def test_every_kind_leads_to_its_folder(self, world: World, kind: str, identity: str, resolved: str) -> None:
        for tail in ("", ";origin=https://git.example.org/o/r;path=/x"):
            found = await world.resolve("swh", _encoded(f"swh:1:{kind}:{identity}{tail}"))
            assert (found.ref, found.spec) == (FOLDER, resolved)

    async def test_a_folder_is_waited_for(self, world: World, tmp_path: Path) -> None:
        resolved = await world.resolve("swh", f"swh:1:rev:{REVISION}")
        world.apis.cooking[FOLDER] = 3
        assert await world.fetch(resolved, tmp_path / "x.git")
        asked = [line.split()[0] for line in world.apis.requests if "vault" in line]
        assert asked == ["POST", "GET", "GET", "GET", "GET"]

    async def test_a_folder_that_never_comes(self, world: World, tmp_path: Path) -> None:
        resolved = await world.resolve("swh", f"swh:1:rev:{REVISION}")
        world.apis.cooking[FOLDER] = 10_000
        with pytest.raises(HostUnreachable, match="did not prepare"):
            await world.fetch(resolved, tmp_path / "x.git", FetchSettings(timeout_seconds=0.3))
        world.apis.cooking[FOLDER] = -1
        with pytest.raises(HostUnreachable, match="cannot prepare"):
            await world.fetch(resolved, tmp_path / "y.git")

    async def test_a_circle_of_releases_ends(self, world: World) -> None:
        world.apis.heritage[f"release/{RELEASE}"] = {"target": RELEASE, "target_type": "release"}
        with pytest.raises(RepositoryNotFound):
            await world.resolve("swh", f"swh:1:rel:{RELEASE}")


# --- any text -----------------------------------------------------------------------------------------------

_REAL = providers(ProviderSettings(), GuardedClient(Guard(allow_private=False, timeout_seconds=1)))
_PIECES = st.lists(
    st.sampled_from(
        [
            "a",
            "o/r",
            "%2F",
            "%00",
            "%0a",
            "..",
            "%2e%2e",
            "https://",
            "https%3A%2F%2Fh",
            ":",
            "@",
            "-",
            "/dataset/",
            "?",
        ]
        + ["10.5281/", "zenodo.", "figshare.1", ".v2", "swh:1:", "rev:", "0" * 40, "f" * 32, ";", "/records/", "[", "#"]
        + [
            "spaces%2F",
            "main",
            "HEAD",
            "\\",
            "%",
            "%ff",
            "ü",
            "\u2028",
            "osf.io/",
            "abcde",
            ":99999/",
            "doi:",
            " ",
            "?",
        ]
    ),
    max_size=8,
).map("".join)


@given(provider=st.sampled_from(ORDER), spec=st.one_of(st.text(max_size=100), _PIECES))
@example("ckan", "https://h:99999/dataset/a")
@example("ckan", "https://[/dataset/a")
@example("invenio", "https://h:99999/records/1")
def test_any_text_is_a_spec_or_a_clear_error(provider: str, spec: str) -> None:
    try:
        parsed = _REAL[provider].parse(spec)
    except BinderyError as error:
        assert error.message
        assert error.hint
        return
    assert parsed.provider == provider
    assert parsed.spec == spec
    assert parsed.slug
    assert parsed.repo_url
    assert not re.search(r"[\x00-\x1f\x7f]", parsed.repo_url)
    assert "@" not in parsed.repo_url.split("/")[2:3]
    assert not parsed.ref.startswith("-")


@given(text=st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=30))
def test_a_quoted_name_stays_one_segment(text: str) -> None:
    encoded = _encoded(text)
    for name, spec in (("gl", f"{encoded}/HEAD"), ("gh", f"{encoded}/r/HEAD"), ("hf", f"o%2F{encoded}/HEAD")):
        try:
            parsed = _REAL[name].parse(spec)
        except InvalidSpec:
            continue
        assert unquote(encoded) in parsed.repo_url
        assert ".." not in parsed.repo_url.split("/")


# --- registration -------------------------------------------------------------------------------------------


class TestRegistration:
    def test_the_order_is_the_protocols_then_ours(self) -> None:
        assert tuple(_REAL) == ORDER

    def test_an_operator_can_leave_some_out(self) -> None:
        client = GuardedClient(Guard(allow_private=False, timeout_seconds=1))
        left = providers(ProviderSettings(disabled=("zenodo", "git")), client)
        assert set(ORDER) - set(left) == {"zenodo", "git"}

    def test_others_come_after_ours_and_broken_ones_not_at_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _package(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        found = providers(ProviderSettings(), GuardedClient(Guard(allow_private=False, timeout_seconds=1)))
        assert tuple(found) == (*ORDER, "mine")
        assert type(found["gh"]).__module__ == "builder.providers.gh"
        assert found["mine"].parse("x").repo_url == "https://mine.example/x"


def _package(folder: Path) -> None:
    """Another package, as it lies installed: one good provider, and one for each way to be broken."""
    (folder / "other_providers.py").write_text(
        "from builder.providers.base import ParsedSpec\n"
        "class Mine:\n"
        "    display = {'displayName': 'Mine', 'id': 'mine', 'spec': {'validateRegex': '.+'},\n"
        "               'repo': {'label': 'l', 'placeholder': 'p', 'urlEncode': False}, 'ref': {'enabled': False}}\n"
        "    def parse(self, spec): return ParsedSpec('mine', spec, f'https://mine.example/{spec}', '', spec)\n"
        "    async def resolve(self, parsed): ...\n"
        "    async def fetch(self, resolved, folder, limits, tell): ...\n"
        "def mine(settings, client): return Mine()\n"
        "def fails(settings, client): raise RuntimeError('broken')\n"
        "def nothing(settings, client): return None\n"
    )
    info = folder / "other_providers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-providers\nVersion: 1.0\n")
    rows = ("mine = other_providers:mine", "gh = other_providers:mine", "alias = other_providers:mine")
    broken = ("fails = other_providers:fails", "none = other_providers:nothing", "gone = no_such_module:x")
    (info / "entry_points.txt").write_text("[bindery.providers]\n" + "\n".join((*rows, *broken)) + "\n")


# --- what people paste --------------------------------------------------------------------------------------

PASTED: dict[str, str] = {
    "https://gist.github.com/user/8a658f7f63b13768d1e75fa2464f5092": f"gist/user/{GIST}/HEAD",
    "https://gitlab.com/group/sub/project": "gl/group%2Fsub%2Fproject/HEAD",
    "git@gitlab.com:group/project.git": "gl/group%2Fproject.git/HEAD",
    "https://bitbucket.org/workspace/repository": "bitbucket/workspace/repository/HEAD",
    "https://bitbucket.org/workspace/name/src/main/a/b.ipynb": "bitbucket/workspace/name/main?labpath=a%2Fb.ipynb",
    "https://codeberg.org/o/n/src/branch/dev/a.ipynb": "codeberg/o/n/dev?labpath=a.ipynb",
    "https://codeberg.org/o/n/src/tag/v1/some/folder": "codeberg/o/n/v1?urlpath=lab%2Ftree%2Fsome%2Ffolder",
    "https://codeberg.org/owner/name.git": "codeberg/owner/name/HEAD",
    "https://huggingface.co/spaces/owner/name": "hf/spaces%2Fowner%2Fname/HEAD",
    "https://huggingface.co/datasets/owner/name": "hf/datasets%2Fowner%2Fname/HEAD",
    "https://huggingface.co/owner/name": "hf/owner%2Fname/HEAD",
    "https://huggingface.co/spaces/owner/name/blob/main/app.py": "hf/spaces%2Fowner%2Fname/HEAD",
    "https://doi.org/10.5281/zenodo.3242074": "zenodo/10.5281/zenodo.3242074",
    "https://zenodo.org/doi/10.5281/zenodo.3242074": "zenodo/10.5281/zenodo.3242074",
    "https://zenodo.org/records/3242074": "invenio/zenodo.org%2Frecords%2F3242074",
    "https://data.caltech.edu/records/z4ybk-cb307": "invenio/data.caltech.edu%2Frecords%2Fz4ybk-cb307",
    "10.5281/zenodo.3242074": "zenodo/10.5281/zenodo.3242074",
    "10.7910/DVN/TJCLKP": "dataverse/10.7910/DVN/TJCLKP",
    "doi:10.6084/m9.figshare.9782777.v1": "figshare/10.6084/m9.figshare.9782777.v1",
    "https://doi.org/10.7910/DVN/TJCLKP": "dataverse/10.7910/DVN/TJCLKP",
    "https://dataverse.harvard.edu/dataset.xhtml?persistentId=doi:10.7910/DVN/TJCLKP": "dataverse/10.7910/DVN/TJCLKP",
    "https://www.hydroshare.org/resource/142c59757ed54de1816777828c9716e7/": f"hydroshare/{RESOURCE}",
    "https://doi.org/10.4211/hs.142c59757ed54de1816777828c9716e7": f"hydroshare/{RESOURCE}",
    "https://osf.io/ezcuj/": "osf/ezcuj",
    "https://doi.org/10.17605/OSF.IO/EZCUJ": "osf/EZCUJ",
    "https://archive.softwareheritage.org/swh:1:rev:1111111111111111111111111111111111111111;origin=https://x/y": (
        f"swh/swh%3A1%3Arev%3A{REVISION}"
    ),
    "https://gitlab.com/g/p/-/blob/main/a.ipynb": "git/https%3A%2F%2Fgitlab.com%2Fg%2Fp/main?labpath=a.ipynb",
}


_IN_JAVASCRIPT = """
import { launchPath, recognise } from "./links.mjs";
const [texts, displays] = JSON.parse(process.argv[2]);
console.log(JSON.stringify(texts.map((text) => {
  const target = recognise(text, displays);
  return launchPath(target, displays.find((each) => each.id === target.provider));
})));
"""


def test_the_forms_script_recognises_the_same(tmp_path: Path) -> None:
    node = shutil.which("node")
    need(node is not None, "Node.js: apt-get install nodejs")
    (tmp_path / "links.mjs").write_text((Path(web.__file__).parent / "static" / "links.js").read_text())
    (tmp_path / "main.mjs").write_text(_IN_JAVASCRIPT)
    given_to_it = json.dumps([list(PASTED), [provider.display for provider in _REAL.values()]])
    done = subprocess.run(
        [str(node), "main.mjs", given_to_it], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    assert json.loads(done.stdout) == [f"v2/{link}" for link in PASTED.values()]


@pytest.mark.parametrize("text", PASTED)
def test_pasted_addresses_are_recognised(text: str) -> None:
    displays: list[Any] = [provider.display for provider in _REAL.values()]
    target = recognise(text, displays)
    path = launch_path(target, next(each for each in displays if each["id"] == target.provider))
    assert path == f"v2/{PASTED[text]}"
    provider, _, spec = PASTED[text].partition("?")[0].partition("/")
    assert _REAL[provider].parse(spec).provider == provider
