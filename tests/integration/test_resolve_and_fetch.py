"""Providers, resolver and fetch against real Git over HTTP."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from bindery.errors import (
    AuthenticationRequired,
    BinderyError,
    HostRefused,
    HostUnreachable,
    InvalidSpec,
    RefNotFound,
    RepositoryEmpty,
    RepositoryNotFound,
    RepositoryTooLarge,
    UnknownProvider,
)
from bindery.settings import FetchSettings, GitHubSettings, ProviderSettings
from builder import git
from builder.fetch import fetch, read_tree
from builder.guard import Guard, GuardedClient
from builder.providers import providers
from builder.providers.git import GitProvider
from builder.providers.over_git import from_git
from builder.resolver import Resolver
from db.engine import Database
from db.resolutions import ResolutionStore
from tests.support.git_server import GitServer, Repository, serve_git

NO_REF = "f" * 40


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with serve_git(tmp_path / "served") as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient(Guard(allow_private=True, timeout_seconds=5)) as client:
        yield client


@pytest.fixture
async def resolver(server: GitServer, client: GuardedClient, tmp_path: Path) -> AsyncIterator[Resolver]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/bindery.db")
    await database.open()
    settings = ProviderSettings(gh=GitHubSettings(url=server.url), resolve_timeout_seconds=5)
    local = GitProvider(client, ("http", "https", "file"), 5)
    yield Resolver(providers(settings, client), local, ResolutionStore(database), 60)
    await database.close()


@pytest.fixture
def repository(server: GitServer) -> Repository:
    return server.repository("o/r")


class TestResolve:
    async def test_a_branch_is_matched_exactly(self, resolver: Resolver, repository: Repository) -> None:
        wanted = repository.commit({"a": "1"})
        repository.git("checkout", "-q", "-b", "a/main")
        repository.commit({"a": "2"})
        resolved = await resolver.resolve("gh", "o/r/main")
        assert resolved.ref == wanted
        assert resolved.spec == f"o/r/{wanted}"
        assert resolved.ref_url.endswith(f"/o/r/tree/{wanted}")
        assert resolved.branch == "refs/heads/main"

    async def test_an_annotated_tag_is_its_commit(self, resolver: Resolver, repository: Repository) -> None:
        wanted = repository.commit({"a": "1"})
        repository.git("tag", "-a", "v1.0", "-m", "first")
        assert (await resolver.resolve("gh", "o/r/v1.0")).ref == wanted

    async def test_a_branch_beats_a_tag(self, resolver: Resolver, repository: Repository) -> None:
        repository.commit({"a": "1"})
        repository.git("tag", "both")
        repository.git("checkout", "-q", "-b", "both")
        wanted = repository.commit({"a": "2"})
        assert (await resolver.resolve("gh", "o/r/both")).ref == wanted

    async def test_refs_may_have_slashes_and_specs_a_trailing_one(
        self, resolver: Resolver, repository: Repository
    ) -> None:
        repository.commit({"a": "1"})
        repository.git("checkout", "-q", "-b", "feature/save_world")
        wanted = repository.commit({"a": "2"})
        assert (await resolver.resolve("gh", "o/r.git/feature/save_world/")).ref == wanted

    async def test_git_links_are_percent_encoded(
        self, resolver: Resolver, repository: Repository, server: GitServer
    ) -> None:
        wanted = repository.commit({"a": "1"})
        encoded = quote(f"{server.url}/o/r", safe="")
        resolved = await resolver.resolve("git", f"{encoded}/HEAD")
        assert resolved.ref == wanted
        assert resolved.spec == f"{encoded}/{wanted}"

    async def test_credentials_are_dropped_at_the_door(
        self, resolver: Resolver, repository: Repository, server: GitServer
    ) -> None:
        repository.commit({"a": "1"})
        secret = server.url.replace("http://", "http://user:hunter2@")
        resolved = await resolver.resolve("git", f"{quote(f'{secret}/o/r', safe='')}/HEAD")
        assert "hunter2" not in resolved.to_json()

    async def test_a_renamed_default_branch_still_works(self, resolver: Resolver, repository: Repository) -> None:
        wanted = repository.commit({"a": "1"})
        resolved = await resolver.resolve("gh", "o/r/master")
        assert resolved.ref == wanted
        assert "Trying again with HEAD instead of master" in resolved.notice

    async def test_a_mistyped_ref_gets_its_neighbours(self, resolver: Resolver, repository: Repository) -> None:
        repository.commit({"a": "1"})
        repository.git("checkout", "-q", "-b", "development")
        with pytest.raises(RefNotFound) as caught:
            await resolver.resolve("gh", "o/r/developmnet")
        assert caught.value.message.startswith("Could not resolve ref for gh:o/r/developmnet. Double check your URL")
        assert "Did you mean development?" in caught.value.hint

    async def test_a_short_commit_id_says_what_to_do(self, resolver: Resolver, repository: Repository) -> None:
        commit = repository.commit({"a": "1"})
        with pytest.raises(RefNotFound) as caught:
            await resolver.resolve("gh", f"o/r/{commit[:7]}")
        assert "all 40 characters" in caught.value.hint

    async def test_a_server_of_the_old_protocol(
        self, resolver: Resolver, repository: Repository, server: GitServer
    ) -> None:
        wanted = repository.commit({"a": "1"})
        repository.git("tag", "-a", "v1.0", "-m", "first")
        server.old_protocol = True
        assert (await resolver.resolve("gh", "o/r/v1.0")).ref == wanted
        with pytest.raises(RefNotFound):
            await resolver.resolve("gh", "o/r/v1.1")

    @pytest.mark.parametrize(
        ("status", "body"),
        [(500, b""), (302, b""), (200, b"<html>"), (200, b"0009hello"), (200, b"00ffshort"), (200, b"0" * 100)],
    )
    async def test_what_a_host_may_answer_for_refs(
        self, resolver: Resolver, repository: Repository, server: GitServer, status: int, body: bytes
    ) -> None:
        repository.commit({"a": "1"})
        server.faults["/o/r/git-upload-pack"] = (status, {}, body)
        with pytest.raises(BinderyError) as caught:
            await resolver.resolve("gh", "o/r/main")
        assert caught.value.hint

    async def test_an_empty_repository(self, resolver: Resolver, repository: Repository) -> None:
        with pytest.raises(RepositoryEmpty):
            await resolver.resolve("gh", "o/r/HEAD")

    async def test_a_missing_repository(self, resolver: Resolver) -> None:
        with pytest.raises(RepositoryNotFound):
            await resolver.resolve("gh", "o/nosuch/HEAD")

    @pytest.mark.parametrize(
        ("status", "headers", "body", "error"),
        [
            (401, {"WWW-Authenticate": "Basic"}, b"", AuthenticationRequired),
            (403, {}, b"", AuthenticationRequired),
            (410, {}, b"", RepositoryNotFound),
            (429, {}, b"", HostUnreachable),
            (500, {}, b"", HostUnreachable),
            (200, {"Content-Type": "text/html"}, b"<h1>hello</h1>", RepositoryNotFound),
            (302, {"Location": "/somewhere/else"}, b"", RepositoryNotFound),
            (302, {"Location": "ftp://example.org/x"}, b"", HostRefused),
            (302, {"Location": "http://[bad"}, b"", HostUnreachable),
            (302, {"Location": "/o/r/info/refs"}, b"", HostUnreachable),
        ],
    )
    async def test_what_a_host_may_answer(
        self,
        resolver: Resolver,
        server: GitServer,
        status: int,
        headers: dict[str, str],
        body: bytes,
        error: type[BinderyError],
    ) -> None:
        server.faults["/o/r/"] = (status, headers, body)
        with pytest.raises(error) as caught:
            await resolver.resolve("gh", "o/r/HEAD")
        assert caught.value.hint

    async def test_a_moved_repository_is_followed(
        self, resolver: Resolver, server: GitServer, repository: Repository
    ) -> None:
        wanted = repository.commit({"a": "1"})
        location = f"{server.url}/o/r/info/refs?service=git-upload-pack"
        server.faults["/old/r/"] = (301, {"Location": location}, b"")
        assert (await resolver.resolve("gh", "old/r/HEAD")).ref == wanted

    async def test_a_silent_host_is_given_up(self, server: GitServer) -> None:
        server.silent.add("/o/r/")
        async with GuardedClient(Guard(allow_private=True, timeout_seconds=0.3)) as client:
            with pytest.raises(HostUnreachable, match="took too long"):
                await git.contact(client, f"{server.url}/o/r")

    async def test_private_hosts_are_refused_unless_allowed(self, server: GitServer) -> None:
        async with GuardedClient(Guard(allow_private=False, timeout_seconds=5)) as client:
            port = server.url.rpartition(":")[2]
            for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"):
                with pytest.raises(HostRefused):
                    await git.contact(client, f"http://{host}:{port}/o/r")
        assert server.requests == []

    async def test_answers_are_remembered_for_a_while(
        self, resolver: Resolver, server: GitServer, repository: Repository
    ) -> None:
        first = repository.commit({"a": "1"})
        assert (await resolver.resolve("gh", "o/r/main")).ref == first
        asked = len(server.requests)
        repository.commit({"a": "2"})
        assert (await resolver.resolve("gh", "o/r/main")).ref == first
        assert len(server.requests) == asked

    @pytest.mark.parametrize(
        ("provider", "spec", "error", "text"),
        [
            ("gh", "user", InvalidSpec, 'Spec is not of the form "user/repo/ref", provided: "user".'),
            ("gh", "user/repo", InvalidSpec, 'provided: "user/repo". Did you mean "user/repo/HEAD"?'),
            ("gh", "user/main", InvalidSpec, 'provided: "user/main".'),
            ("gh", "../../x/HEAD", InvalidSpec, "Spec"),
            ("gh", "u/r/--upload-pack=x", InvalidSpec, "cannot be the name"),
            ("gh", "u/r/a..b", InvalidSpec, "cannot be the name"),
            ("git", "https%3A%2F%2Fexample.org%2Fr", InvalidSpec, "Spec is not of the form"),
            ("git", "ftp%3A%2F%2Fx/main", HostRefused, "Unsupported git url ftp://x, protocol ftp not in https, http."),
            ("git", "file%3A%2F%2F%2Fetc/HEAD", HostRefused, "protocol file not in"),
            ("git", "ext%3A%3Ash%20-c%20id/HEAD", InvalidSpec, "characters that no address has"),
            ("git", "%2Fetc%2Fpasswd/HEAD", HostRefused, "not in https"),
            ("nosuch", "x/y", UnknownProvider, "No provider found for prefix nosuch"),
        ],
    )
    async def test_bad_specs(
        self, resolver: Resolver, provider: str, spec: str, error: type[BinderyError], text: str
    ) -> None:
        with pytest.raises(error) as caught:
            await resolver.resolve(provider, spec)
        assert text in caught.value.message or text == "Spec"

    async def test_only_the_operator_names_local_folders(self, resolver: Resolver, repository: Repository) -> None:
        commit = repository.commit({"a": "1"})
        spec = f"{quote(f'file://{repository.folder}', safe='')}/HEAD"
        with pytest.raises(HostRefused):
            await resolver.resolve("git", spec)
        assert (await resolver.resolve("git", spec, operator=True)).ref == commit

    async def test_ssh_forms_become_https(self, resolver: Resolver) -> None:
        _, parsed = resolver.parse("git", "git%40example.org%3Ao%2Fr.git/HEAD")
        assert parsed.repo_url == "https://example.org/o/r.git"


class TestFetch:
    @pytest.mark.parametrize("single", ["true", "false"])
    async def test_one_commit_comes(
        self, server: GitServer, client: GuardedClient, repository: Repository, tmp_path: Path, single: str
    ) -> None:
        wanted = repository.commit({"a.txt": "one", "folder/b.txt": "two"})
        repository.commit({"a.txt": "later"})
        server.configure("o/r", "uploadpack.allowAnySHA1InWant", single)
        remote = await git.contact(client, f"{server.url}/o/r")
        folder = tmp_path / "fetched.git"
        await fetch(remote, wanted, folder, FetchSettings(), lambda line: None)
        tree = await read_tree(folder, wanted, FetchSettings())
        assert sorted(tree.entries) == ["a.txt", "folder/b.txt"]
        assert tree.read_object(tree.entries["a.txt"].object_id, 100) == b"one"

    async def test_a_server_that_refuses_single_commits(
        self, server: GitServer, repository: Repository, tmp_path: Path, client: GuardedClient
    ) -> None:
        wanted = repository.commit({"a.txt": "one"})
        repository.commit({"a.txt": "later"})
        server.old_protocol = True
        said: list[str] = []
        remote = await git.contact(client, f"{server.url}/o/r")
        await fetch(remote, wanted, tmp_path / "fetched.git", FetchSettings(), said.append)
        assert said == ["The server does not hand out single commits: fetching all branches and tags.\n"]
        assert (await read_tree(tmp_path / "fetched.git", wanted, FetchSettings())).entries.keys() == {"a.txt"}

    async def test_who_has_just_resolved_is_not_greeted_again(
        self, server: GitServer, resolver: Resolver, client: GuardedClient, repository: Repository, tmp_path: Path
    ) -> None:
        repository.commit({"a.txt": "one"})
        resolved = await resolver.resolve("git", f"{quote(f'{server.url}/o/r', safe='')}/HEAD")
        server.requests.clear()
        for number in range(2):
            await from_git(client, resolved, tmp_path / f"{number}.git", FetchSettings(), lambda line: None)
        assert server.requests == ["/o/r/git-upload-pack"] * 2
        at, remote = client.greeted.pop(resolved.repo_url)
        client.greeted[resolved.repo_url] = (at - git.GREETING_SECONDS, remote)
        await from_git(client, resolved, tmp_path / "later.git", FetchSettings(), lambda line: None)
        assert server.requests[2:] == ["/o/r/info/refs", "/o/r/git-upload-pack"]

    async def test_an_unknown_commit(
        self, server: GitServer, client: GuardedClient, repository: Repository, tmp_path: Path
    ) -> None:
        repository.commit({"a.txt": "one"})
        remote = await git.contact(client, f"{server.url}/o/r")
        with pytest.raises(RefNotFound):
            await fetch(remote, NO_REF, tmp_path / "fetched.git", FetchSettings(), lambda line: None)

    async def test_a_huge_repository_is_given_up_while_it_comes(
        self, server: GitServer, client: GuardedClient, repository: Repository, tmp_path: Path
    ) -> None:
        commit = repository.commit({"big.bin": os.urandom(64 * 1024 * 1024)})
        remote = await git.contact(client, f"{server.url}/o/r")
        limits = FetchSettings(max_bytes=1024 * 1024)
        started = time.monotonic()
        folder = tmp_path / "fetched.git"

        async def fetched() -> None:
            await fetch(remote, commit, folder, limits, lambda line: None)
            await read_tree(folder, commit, limits)

        with pytest.raises(RepositoryTooLarge):
            await fetched()
        assert time.monotonic() - started < 20

    async def test_too_many_files(
        self, server: GitServer, client: GuardedClient, repository: Repository, tmp_path: Path
    ) -> None:
        commit = repository.commit({f"{n}.txt": "x" for n in range(20)})
        remote = await git.contact(client, f"{server.url}/o/r")
        await fetch(remote, commit, tmp_path / "fetched.git", FetchSettings(), lambda line: None)
        with pytest.raises(RepositoryTooLarge):
            await read_tree(tmp_path / "fetched.git", commit, FetchSettings(max_files=10))

    async def test_a_bomb_of_shared_trees_is_not_unfolded(
        self, server: GitServer, client: GuardedClient, repository: Repository, tmp_path: Path
    ) -> None:
        commit = _tree_bomb(repository)
        remote = await git.contact(client, f"{server.url}/o/r")
        await fetch(remote, commit, tmp_path / "fetched.git", FetchSettings(), lambda line: None)
        with pytest.raises(RepositoryTooLarge):
            await read_tree(tmp_path / "fetched.git", commit, FetchSettings(max_files=5000))


def _tree_bomb(repository: Repository) -> str:
    """Ten levels of ten times the same folder: 10^10 files in a dozen objects."""
    (repository.folder / "leaf").write_text("x")
    blob = repository.git("hash-object", "-w", "leaf")
    rows = "".join(f"100644 blob {blob}\tf{n}\n" for n in range(10))
    for _ in range(9):
        (repository.folder / "rows").write_text(rows)
        tree = repository.git("-c", "alias.mk=!git mktree < rows", "mk")
        rows = "".join(f"040000 tree {tree}\td{n}\n" for n in range(10))
    commit = repository.git("commit-tree", tree, "-m", "bomb")
    repository.git("update-ref", "refs/heads/main", commit)
    return commit
