"""Every provider with a host of its own on loopback, and an example of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

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
from builder.guard import Guard, GuardedClient
from builder.providers import ORDER, providers
from builder.providers.base import Provider, Resolved
from builder.providers.swh import SoftwareHeritageProvider
from tests.support.git_server import GitServer, serve_git
from tests.support.provider_apis import Dataset, Files, ProviderApis, serve_apis, zip_of

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
        """What a link of the provider means now."""
        place = self.known[provider]
        return await place.resolve(place.parse(spec))

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings = LIMITS) -> str:
        """Fetch it as a build does; returns the commit."""
        # What a build's row keeps, and no more.
        kept = replace(resolved, slug="", branch="", notice="")
        return await self.known[resolved.provider].fetch(kept, folder, limits, lambda line: None)

    def break_all(self, fault: tuple[int, dict[str, str], bytes]) -> None:
        """Let every host give this answer to everything."""
        self.git.faults["/"] = self.apis.faults["/"] = fault


def settings(git_url: str, apis: ProviderApis) -> ProviderSettings:
    """Settings that know no other hosts."""
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


@asynccontextmanager
async def open_world(tmp_path: Path) -> AsyncIterator[World]:
    """All hosts, with one of everything."""
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


def encoded(text: str) -> str:
    """The text as one segment of a link."""
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
        *("git", f"{encoded(w.git.url)}%2Fo%2Fr/v1", f"{encoded(w.git.url)}%2Fo%2Fr/{w.commit}", w.commit),
        *(f"{w.git.url}/o/r", "127-0-0-1-o-r", FILES, f"{encoded(w.git.url)}%2Fo%2Fnosuch/HEAD"),
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
        *("hydroshare", f"10.4211%2Fhs.{RESOURCE}", encoded(f"{w.apis.url}/resource/{RESOURCE}")),
        *(f"{RESOURCE}.v1569427757", f"{w.apis.url}/resource/{RESOURCE}", f"hydroshare-{RESOURCE}.v1569427757"),
        *(FILES, "f" * 32),
    ),
    "dataverse": lambda w: Case(
        *("dataverse", "10.7910/DVN/TJCLKP", "10.7910/DVN/TJCLKP", "7.v2.1", f"{w.apis.doi_url}/10.7910/DVN/TJCLKP"),
        *("dataverse-dvn-2ftjclkp", FILES, "10.7910/DVN/NOSUCH"),
    ),
    "ckan": lambda w: Case(
        *("ckan", encoded(f"{w.apis.url}/portal/dataset/sample"), encoded(f"{w.apis.url}/portal/dataset/sample")),
        *("sample.v1643771045", f"{w.apis.url}/portal/dataset/sample", "ckan-sample"),
        *(FLAT, encoded(f"{w.apis.url}/portal/dataset/nosuch")),
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
        *("invenio", encoded(f"{w.apis.url}/records/z4ybk-cb307"), encoded(f"{w.apis.url}/records/z4ybk-cb307")),
        *("z4ybk-cb307", f"{w.apis.url}/records/z4ybk-cb307"),
        f"{w.apis.url.removeprefix('http://')}-z4ybk-cb307",
        *({"a.txt": b"1", "b": b"2"}, encoded(f"{w.apis.url}/records/nosuch")),
    ),
}
