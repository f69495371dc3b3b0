"""A published record, end to end: the real service, a server that answers as Zenodo does, a real kernel."""

from __future__ import annotations

from pathlib import Path

from tests.support.git_server import serve_git
from tests.support.jupyter import notebook
from tests.support.provider_apis import serve_apis, zip_of
from tests.support.service import serving


async def test_a_records_archive_becomes_a_notebook(tmp_path: Path) -> None:
    files = {"paper/requirements.txt": b"six\n", "paper/data.txt": b"from the record"}
    async with serve_git(tmp_path / "git") as git, serve_apis() as apis:
        apis.records["2"] = {"paper.zip": zip_of(files)}
        apis.concepts["1"] = "2"
        for number in ("1", "2"):
            apis.dois[f"10.5281/zenodo.{number}"] = f"{apis.url}/doi/10.5281/zenodo.{number}"
        hosts = {"BINDERY_PROVIDERS__ZENODO__URL": apis.url, "BINDERY_PROVIDERS__DOI_URL": apis.doi_url}
        async with serving(tmp_path / "data", git, **hosts) as service:
            visit = await service.stream("zenodo/10.5281/zenodo.1/").read()
            assert visit.last["phase"] == "ready", visit.text
            assert visit.last["binder_persistent_request"] == "v2/zenodo/10.5281/zenodo.2"
            assert "zenodo-zenodo-2-" in visit.last["image"]
            async with notebook(visit.last) as server, server.kernel() as kernel:
                done = await kernel.run("import six, os; print(open('data.txt').read(), os.environ['BINDER_REPO_URL'])")
            assert done.text == "from the record 10.5281/zenodo.2\n"
            # The version's own DOI is the same image: nothing is built again.
            again = await service.stream("zenodo/10.5281/zenodo.2").read()
            assert again.phases[-2:] == ["launching", "ready"]
            assert "fetching" not in again.phases
