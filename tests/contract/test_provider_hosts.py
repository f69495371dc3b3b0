"""What is special about single kinds of hosts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bindery.errors import (
    BinderyError,
    HostBusy,
    HostUnreachable,
    RefNotFound,
    RepositoryEmpty,
    RepositoryNotFound,
    RepositoryTooLarge,
)
from bindery.settings import (
    MIB,
    FetchSettings,
    GistSettings,
)
from builder.fetch import read_tree
from builder.providers import providers
from tests.support.provider_apis import Dataset
from tests.support.provider_world import (
    ARCHIVES,
    CASES,
    FILES,
    FLAT,
    FOLDER,
    GIST,
    GIT,
    LIMITS,
    ORIGIN,
    RELEASE,
    RESOURCE,
    REVISION,
    SNAPSHOT,
    World,
    encoded,
    open_world,
    settings,
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


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
        changed = GistSettings(url=world.git.url, api_url=world.apis.url, token="hidden")
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
            spec = encoded(f"{world.apis.url}/portal/dataset/sample{tail}")
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
            found = await world.resolve("swh", encoded(f"swh:1:{kind}:{identity}{tail}"))
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
