"""The interfaces of the hosts of archives, as their documentation describes them, on loopback, with the faults that
tests ask for: GitHub's gists, Zenodo and other InvenioRDM servers, Figshare, Dataverse, HydroShare, CKAN, OSF, Software
Heritage, and the resolver of DOIs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import tarfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Files = Mapping[str, bytes]


def zip_of(files: Files) -> bytes:
    """A zip archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def tar_of(files: Files, top: str) -> bytes:
    """A tar.gz archive with one top folder."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass
class Dataset:
    """A dataset of Dataverse. `restricted` and `tables` are names of its files; a table has a form of its own."""

    id: int
    versions: dict[str, Files]
    restricted: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()


@dataclass
class ProviderApis:
    """The server. Its attributes are what the hosts have; `url` is the base of all hosts but `doi_url`'s."""

    url: str = ""
    doi_url: str = ""
    #: Paths below which another answer is given: path prefix -> (status, headers, body).
    faults: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    #: Paths whose answer does not come before the server ends.
    silent: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    #: What was sent with each request's `Authorization`.
    logins: list[str] = field(default_factory=list)

    dois: dict[str, str] = field(default_factory=dict)
    gists: dict[str, bool] = field(default_factory=dict)
    records: dict[str, Files] = field(default_factory=dict)
    concepts: dict[str, str] = field(default_factory=dict)
    articles: dict[str, list[Files]] = field(default_factory=dict)
    datasets: dict[str, Dataset] = field(default_factory=dict)
    #: DOIs of single files of datasets.
    file_dois: dict[str, str] = field(default_factory=dict)
    resources: dict[str, tuple[str, Files]] = field(default_factory=dict)
    packages: dict[str, tuple[str, Files]] = field(default_factory=dict)
    activities: dict[str, tuple[str, Files]] = field(default_factory=dict)
    projects: dict[str, tuple[str, str, Files]] = field(default_factory=dict)
    #: Software Heritage's objects: path below /api/1/ -> answer; folders and how many looks each takes to prepare.
    heritage: dict[str, object] = field(default_factory=dict)
    folders: dict[str, Files] = field(default_factory=dict)
    cooking: dict[str, int] = field(default_factory=dict)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.requests.append(f"{request.method} {request.path_qs}")
        self.logins.append(request.headers.get("Authorization", ""))
        if any(request.path.startswith(path) for path in self.silent):
            await asyncio.Event().wait()
        for path, (status, headers, body) in self.faults.items():
            if request.path.startswith(path):
                return web.Response(status=status, headers=headers, body=body)
        for prefix, handler in self._routes().items():
            if request.path.startswith(prefix):
                return handler(request.path.removeprefix(prefix), request)
        return _missing({"message": "Not Found"})

    def _routes(self) -> dict[str, Callable[[str, web.Request], web.Response]]:
        return {
            "/10.": self._doi,
            "/gists/": self._gist,
            "/doi/10.5281/zenodo.": self._doi_page,
            "/records/": self._record_page,
            "/api/records/": self._record,
            "/v2/articles/": self._article,
            "/figshare/": self._figshare_file,
            "/citation": lambda rest, request: web.Response(text="<html>", content_type="text/html"),
            "/api/datasets/": self._dataset,
            "/api/files/:persistentId": self._file_of_dataset,
            "/api/access/datafile/": self._datafile,
            "/hsapi/resource/": self._resource,
            "/resource/": self._resource_file,
            "/portal/api/3/action/": self._package,
            "/portal/files/": self._package_file,
            "/v2/guids/": self._guid,
            "/v2/nodes/": self._node,
            "/v1/resources/": self._storage,
            "/api/1/": self._heritage,
        }

    # --- doi.org, GitHub ---

    def _doi(self, rest: str, request: web.Request) -> web.Response:
        target = self.dois.get(f"10.{rest}")
        if target is None:
            return web.Response(status=404, text="<html>DOI Not Found</html>", content_type="text/html")
        return web.Response(status=302, headers={"Location": target}, text="<html>", content_type="text/html")

    def _gist(self, gist: str, request: web.Request) -> web.Response:
        if gist not in self.gists:
            return _missing({"message": "Not Found", "documentation_url": "https://docs.github.com/rest/gists"})
        history = [{"version": "0" * 40, "committed_at": "2020-01-01T00:00:00Z"}]
        return _json({"id": gist, "public": self.gists[gist], "files": {}, "history": history, "truncated": False})

    # --- InvenioRDM, as Zenodo answers ---

    def _doi_page(self, record: str, request: web.Request) -> web.Response:
        return _found(f"/records/{self.concepts.get(record, record)}")

    def _record_page(self, record: str, request: web.Request) -> web.Response:
        if record in self.concepts:
            return _found(f"/records/{self.concepts[record]}")
        return web.Response(status=200 if record in self.records else 404, text="<html>", content_type="text/html")

    def _record(self, rest: str, request: web.Request) -> web.Response:
        record, _, tail = rest.partition("/")
        base = f"{self.url}/api/records"
        if record in self.concepts:
            return _found(f"{base}/{self.concepts[record]}")
        if record not in self.records:
            return _missing({"status": 404, "message": "The persistent identifier does not exist."})
        files = self.records[record]
        if tail == "files":
            entries = [_entry(f"{base}/{record}/files", name, content) for name, content in files.items()]
            return _json({"enabled": True, "links": {"self": f"{base}/{record}/files"}, "entries": entries})
        if tail:
            return _content(files[tail.removeprefix("files/").removesuffix("/content")])
        identity: object = int(record) if record.isdecimal() else record
        links = {"self": f"{base}/{record}", "files": f"{base}/{record}/files"}
        return _json({"id": identity, "links": links, "metadata": {"access_right": "open"}, "state": "done"})

    # --- Figshare ---

    def _article(self, rest: str, request: web.Request) -> web.Response:
        article, _, tail = rest.partition("/versions")
        if article not in self.articles:
            return _missing({"message": "Entity not found: article", "code": "EntityNotFound"})
        versions = self.articles[article]
        if not tail:
            base = f"{self.url}/v2/articles/{article}/versions"
            return _json([{"version": n + 1, "url": f"{base}/{n + 1}"} for n in range(len(versions))])
        number = int(tail.split("/")[1])
        if number > len(versions):
            return _missing({"message": "Entity not found: article version", "code": "EntityNotFound"})
        page, size = int(request.query.get("page", "1")), int(request.query.get("page_size", "10"))
        files = [self._figshare_entry(article, number, name) for name in versions[number - 1]]
        return _json(files[(page - 1) * size : page * size])

    def _figshare_entry(self, article: str, version: int, name: str) -> dict[str, object]:
        content = self.articles[article][version - 1][name]
        return {
            "id": 1,
            "name": name,
            "size": len(content),
            "is_link_only": name.endswith(".url"),
            "download_url": f"{self.url}/figshare/{article}/{version}/{quote(name)}",
            "supplied_md5": _md5(content),
            "computed_md5": _md5(content),
            "mimetype": "text/plain",
        }

    def _figshare_file(self, rest: str, request: web.Request) -> web.Response:
        article, version, name = rest.split("/", 2)
        if "signed" not in request.query:
            return _found(f"{request.path}?signed=yes")
        return _content(self.articles[article][int(version) - 1][name])

    # --- Dataverse ---

    def _dataset(self, rest: str, request: web.Request) -> web.Response:
        if not rest.startswith(":persistentId"):
            number, _, version, _ = rest.split("/")
            return _json({"status": "OK", "data": self._listing(int(number), version)})
        doi = request.query["persistentId"].removeprefix("doi:")
        if doi not in self.datasets:
            return _missing({"status": "ERROR", "message": f"Dataset with Persistent ID doi:{doi} not found."})
        authority, _, identifier = doi.partition("/")
        dataset = self.datasets[doi]
        newest = list(dataset.versions)[-1]
        major, _, minor = newest.partition(".")
        latest = {
            "versionNumber": int(major),
            "versionMinorNumber": int(minor),
            "versionState": "RELEASED",
            "files": self._listing(dataset.id, newest),
        }
        data = {
            "id": dataset.id,
            "identifier": identifier,
            "persistentUrl": f"{self.doi_url}/{doi}",
            "protocol": "doi",
            "authority": authority,
            "latestVersion": latest,
        }
        return _json({"status": "OK", "data": data})

    def _listing(self, number: int, version: str) -> list[dict[str, object]]:
        dataset = next(each for each in self.datasets.values() if each.id == number)
        listing = []
        for place, (path, content) in enumerate(dataset.versions[version].items()):
            folder, _, name = path.rpartition("/")
            table = path in dataset.tables
            file = {
                "id": number * 1000 + list(dataset.versions).index(version) * 100 + place,
                "filename": f"{name}.tab" if table else name,
                "filesize": 7 if table else len(content),
                "md5": _md5(b"another form" if table else content),
            } | ({"originalFileName": name} if table else {})
            entry: dict[str, object] = {"label": file["filename"], "restricted": path in dataset.restricted}
            listing.append(entry | ({"directoryLabel": folder} if folder else {}) | {"dataFile": file})
        return listing

    def _file_of_dataset(self, rest: str, request: web.Request) -> web.Response:
        dataset = self.file_dois.get(request.query["persistentId"].removeprefix("doi:"))
        if dataset is None:
            return _missing({"status": "ERROR", "message": "File with Persistent ID not found."})
        return _json({"status": "OK", "data": {"datasetVersion": {"datasetPersistentId": f"doi:{dataset}"}}})

    def _datafile(self, rest: str, request: web.Request) -> web.Response:
        number, place = divmod(int(rest), 1000)
        dataset = next(each for each in self.datasets.values() if each.id == number)
        path, content = list(list(dataset.versions.values())[place // 100].items())[place % 100]
        if path in dataset.restricted:
            return web.json_response({"status": "ERROR", "code": 403}, status=403)
        return _content(b"another form" if path in dataset.tables and "format" not in request.query else content)

    # --- HydroShare ---

    def _resource(self, rest: str, request: web.Request) -> web.Response:
        resource, _, tail = rest.partition("/")
        if resource not in self.resources:
            return _missing({"detail": f"No resource was found for resource id:{resource}"})
        modified, files = self.resources[resource]
        if tail == "scimeta/elements/":
            dates = [{"type": "created", "start_date": "2010-01-01T00:00:00Z", "end_date": None}]
            return _json({"title": "t", "dates": [*dates, {"type": "modified", "start_date": modified}]})
        page = int(request.query.get("page", "1"))
        names = list(files)[page - 1 : page]
        base = f"{self.url}/resource/{resource}/data/contents"
        listed = [
            {"file_name": name, "url": f"{base}/{quote(name)}", "size": len(files[name]), "content_type": "text/plain"}
            for name in names
        ]
        more = f"{self.url}/hsapi/resource/{resource}/files/?page={page + 1}" if page < len(files) else None
        return _json({"count": len(files), "next": more, "previous": None, "results": listed})

    def _resource_file(self, rest: str, request: web.Request) -> web.Response:
        resource, _, path = rest.partition("/data/contents/")
        return _content(self.resources[resource][1][path])

    # --- CKAN, below a prefix ---

    def _package(self, action: str, request: web.Request) -> web.Response:
        identity = request.query["id"]
        known = self.packages if action == "package_show" else self.activities
        if identity not in known:
            error = {"__type": "Not Found Error", "message": "Not found"}
            return _missing({"success": False, "error": error})
        modified, files = known[identity]
        resources = [
            {"id": f"id-{place}", "name": "a name", "url": f"{self.url}/portal/files/{identity}/{quote(name)}"}
            for place, name in enumerate(files)
        ]
        result = {"name": identity, "metadata_modified": modified, "resources": [*resources, {"id": "x", "url": ""}]}
        return _json({"success": True, "result": result})

    def _package_file(self, rest: str, request: web.Request) -> web.Response:
        identity, _, name = rest.partition("/")
        return _content({**self.packages, **self.activities}[identity][1][name])

    # --- OSF ---

    def _guid(self, rest: str, request: web.Request) -> web.Response:
        guid = rest.strip("/")
        if guid not in self.projects:
            return _missing({"errors": [{"detail": "Not found."}], "meta": {"version": "2.0"}})
        return _found(f"/v2/nodes/{guid}/")

    def _node(self, rest: str, request: web.Request) -> web.Response:
        kind, modified, _ = self.projects[rest.strip("/")]
        attributes = {"title": "t", "public": True, "date_modified": modified}
        return _json({"data": {"id": rest.strip("/"), "type": kind, "attributes": attributes}})

    def _storage(self, rest: str, request: web.Request) -> web.Response:
        guid, _, _ = rest.partition("/")
        assert "zip" in request.query
        return web.Response(body=zip_of(self.projects[guid][2]), content_type="application/zip")

    # --- Software Heritage ---

    def _heritage(self, path: str, request: web.Request) -> web.Response:
        if path.startswith("vault/flat/"):
            return self._vault(path.split("/")[2], path, request)
        found = self.heritage.get(path.rstrip("/"))
        if found is None:
            return _missing({"exception": "NotFoundExc", "reason": "Object not found."})
        if path.startswith("snapshot/") and isinstance(found, dict):
            name = request.query["branches_from"]
            found = {"id": "x", "branches": {key: value for key, value in found.items() if key >= name}}
        return _json(found)

    def _vault(self, swhid: str, path: str, request: web.Request) -> web.Response:
        folder = swhid.rpartition(":")[2]
        if folder not in self.folders:
            return _missing({"exception": "NotFoundExc", "reason": f"{swhid} not found."})
        if path.endswith("/raw/"):
            return web.Response(body=tar_of(self.folders[folder], swhid), content_type="application/gzip")
        left = self.cooking.get(folder, 0)
        self.cooking[folder] = max(left - 1, 0)
        status = "failed" if left < 0 else "done" if not left else "pending" if request.method == "GET" else "new"
        fetch_url = f"{self.url}/api/1/vault/flat/{swhid}/raw/"
        return _json({"id": 1, "status": status, "swhid": swhid, "fetch_url": fetch_url, "progress_message": None})


def _entry(listing: str, name: str, content: bytes) -> dict[str, object]:
    own = f"{listing}/{quote(name, safe='')}"
    return {
        "key": name,
        "checksum": f"md5:{_md5(content)}",
        "size": len(content),
        "status": "completed",
        "links": {"self": own, "content": f"{own}/content"},
    }


def _json(value: object) -> web.Response:
    return web.json_response(value)


def _missing(value: object) -> web.Response:
    return web.json_response(value, status=404)


def _found(location: str) -> web.Response:
    return web.Response(status=302, headers={"Location": location})


def _content(content: bytes) -> web.Response:
    return web.Response(body=content, content_type="application/octet-stream")


@contextlib.asynccontextmanager
async def serve_apis(host: str = "127.0.0.1") -> AsyncIterator[ProviderApis]:
    """Serve all of them on two loopback ports of their own."""
    apis = ProviderApis()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", apis.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    for _ in range(2):
        await web.TCPSite(runner, host, 0).start()
    apis.url, apis.doi_url = (f"http://{host}:{address[1]}" for address in runner.addresses)
    try:
        yield apis
    finally:
        await runner.cleanup()
