"""The main job, end to end: the real service, real Git over HTTP, real packages, real kernels."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import uuid

import aiohttp
import pytest

from tests.support.git_server import GitServer, Repository
from tests.support.jupyter import notebook
from tests.support.service import Service, processes_of, sessions_that_run
from tests.support.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOTEBOOK = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
SLOW_POST_BUILD = "#!/bin/sh\nfor i in $(seq 1 600); do echo tick $i; sleep 0.1; done\n"


def fresh(git_server: GitServer) -> tuple[Repository, str]:
    """A repository of its own, and its name."""
    name = f"o/{uuid.uuid4().hex[:12]}"
    return git_server.repository(name), name


class TestMainJob:
    async def test_a_repository_becomes_a_notebook_with_its_packages_and_files(
        self, service: Service, git_server: GitServer
    ) -> None:
        repository, name = fresh(git_server)
        files = {
            "requirements.txt": "numpy\nmatplotlib\n",
            "index.ipynb": NOTEBOOK,
            "data/secret.txt": "from the repository",
        }
        commit = repository.commit(files)
        visit = await service.stream(f"gh/{name}/HEAD").read()
        assert visit.last["phase"] == "ready", visit.text
        assert visit.phases[:3] == ["waiting", "fetching", "building"]
        assert visit.phases[-3:] == ["built", "launching", "ready"]
        async with notebook(visit.last) as server, server.kernel() as kernel:
            done = await kernel.run(
                "import numpy, matplotlib.pyplot as plt, os\n"
                "print(numpy.arange(4).sum(), open('data/secret.txt').read(), os.environ['BINDER_REQUEST'])\n"
            )
            assert done.status == "ok", done.text
            assert f"6 from the repository v2/gh/{name}/HEAD" in done.text
            plot = await kernel.run("%matplotlib inline\nplt.plot([1, 2])\nplt.show()")
            assert "image/png" in plot.mime_types
            git = await kernel.run("!git status --porcelain; git log -1 --format=%H; git remote get-url origin")
            assert git.text.split() == [commit, f"{git_server.url}/{name}"]

    async def test_a_second_visitor_gets_a_session_of_the_same_image_at_once(
        self, service: Service, git_server: GitServer
    ) -> None:
        repository, name = fresh(git_server)
        repository.commit({"requirements.txt": "six\n"})
        first = await service.stream(f"gh/{name}/HEAD").read()
        second = await service.stream(f"gh/{name}/HEAD").read()
        assert second.phases == ["built", "launching", "ready"]
        assert first.last["image"] == second.last["image"]
        assert first.last["url"] != second.last["url"]
        async with notebook(first.last) as one, notebook({**second.last, "token": first.last["token"]}) as other:
            assert (await one.get("api/status"))["kernels"] == 0
            async with other.client.get(f"{other.url}api/kernels") as response:
                assert response.status == 403

    async def test_a_commit_that_changes_only_the_notebook_builds_no_environment(
        self, service: Service, git_server: GitServer
    ) -> None:
        repository, name = fresh(git_server)
        repository.commit({"requirements.txt": "six==1.17.0\n", "a.ipynb": NOTEBOOK})
        await service.stream(f"gh/{name}/HEAD").read()
        repository.commit({"a.ipynb": NOTEBOOK + " "})
        visit = await service.stream(f"gh/{name}/HEAD").read()
        assert visit.last["phase"] == "ready"
        assert "reused" in visit.text
        assert "Installed" not in visit.text
        plans = [event for event in visit.events if "plan" in event]
        assert [event["environment"] for event in plans] == ["reused"]

    async def test_visitors_at_the_same_time_share_one_build_and_see_all_of_it(
        self, service: Service, git_server: GitServer
    ) -> None:
        repository, name = fresh(git_server)
        repository.commit({"requirements.txt": "tabulate\n"})
        visits = await asyncio.gather(*(service.stream(f"gh/{name}/HEAD").read() for _ in range(3)))
        logs = [[event["message"] for event in visit.events if event.get("phase") == "building"] for visit in visits]
        assert logs[0] == logs[1] == logs[2]
        assert len({visit.last["url"] for visit in visits}) == 3
        with sqlite3.connect(service.data_dir / "bindery.db") as database:
            counted = database.execute("SELECT count(*) FROM builds WHERE repo_url LIKE ?", (f"%{name}",)).fetchone()
        assert counted == (1,)

    async def test_a_terminal_has_the_environment_and_a_clean_work_tree(
        self, service: Service, git_server: GitServer
    ) -> None:
        repository, name = fresh(git_server)
        commit = repository.commit({"requirements.txt": "six\n"})
        visit = await service.stream(f"gh/{name}/HEAD").read()
        assert visit.last["phase"] == "ready", visit.text
        line = "python -c 'import six; print(six.__name__ * 2)'; git status --short; git rev-parse HEAD; echo en''d"
        async with notebook(visit.last) as server:
            shown = await server.terminal(line, "end")
        assert "sixsix" in shown
        assert commit in shown
        assert "??" not in shown

    async def test_post_build_and_start_run(self, service: Service, git_server: GitServer) -> None:
        repository, name = fresh(git_server)
        repository.commit(
            {
                "binder/requirements.txt": "six\n",
                "binder/postBuild": "#!/bin/bash\nset -e\necho built-here > made.txt\npip install tabulate\n",
                "binder/start": '#!/bin/bash\nexport FROM_START=started\nexec "$@"\n',
            }
        )
        visit = await service.stream(f"gh/{name}/HEAD").read()
        assert visit.last["phase"] == "ready", visit.text
        async with notebook(visit.last) as server, server.kernel() as kernel:
            done = await kernel.run("import os, tabulate; print(os.environ['FROM_START'], open('made.txt').read())")
            assert "started built-here" in done.text

    async def test_a_repository_with_a_server_extension_gets_one_environment_for_both(
        self, service: Service, git_server: GitServer
    ) -> None:
        repository, name = fresh(git_server)
        repository.commit({"requirements.txt": "jupyter-server-proxy\n"})
        visit = await service.stream(f"gh/{name}/HEAD").read()
        assert visit.last["phase"] == "ready", visit.text
        async with notebook(visit.last) as server:
            async with server.client.get(f"{server.url}server-proxy/servers-info") as response:
                assert response.status == 200
            async with server.kernel() as kernel:
                assert "ok" in (await kernel.run("import jupyterlab, jupyter_server_proxy; print('ok')")).text

    async def test_what_a_session_installs_stays_in_it(self, service: Service, git_server: GitServer) -> None:
        repository, name = fresh(git_server)
        repository.commit({"requirements.txt": "six\n"})
        first = await service.stream(f"gh/{name}/HEAD").read()
        second = await service.stream(f"gh/{name}/HEAD").read()
        async with notebook(first.last) as server, server.kernel() as kernel:
            done = await kernel.run("!pip install -q tabulate\nimport tabulate; print('installed')")
            assert "installed" in done.text, done.text
        async with notebook(second.last) as server, server.kernel() as kernel:
            assert "ModuleNotFoundError" in (await kernel.run("import tabulate")).text


class TestRecords:
    async def test_a_build_survives_the_death_of_its_service(self, service: Service, git_server: GitServer) -> None:
        repository, name = fresh(git_server)
        repository.commit({"requirements.txt": "six\n", "postBuild": "#!/bin/sh\nsleep 3\necho done-with-it\n"})
        before = await service.stream(f"gh/{name}/HEAD").read(until_text="Running postBuild")
        await service.stop(signal.SIGKILL)
        await until(lambda: not processes_of(service.data_dir), what="nothing of it is left")
        await service.start()
        after = await service.stream(f"gh/{name}/HEAD", before.ids[-1]).read()
        assert after.last["phase"] == "ready", after.text
        assert "building again, attempt 2" in after.text
        ids = before.ids + after.ids
        assert len(ids) == len(set(ids))
        numbers = [int(place.rpartition(".b")[2]) for place in ids if ".b" in place]
        assert numbers == list(range(1, len(numbers) + 1))

    async def test_a_session_does_not_outlive_its_service_and_says_so(
        self, service: Service, git_server: GitServer
    ) -> None:
        repository, name = fresh(git_server)
        repository.commit({"requirements.txt": "six\n"})
        visit = await service.stream(f"gh/{name}/HEAD").read()
        path = visit.last["url"].partition("/user/")[2]
        await service.stop(signal.SIGKILL)
        await until(lambda: not processes_of(service.data_dir), what="nothing of it is left")
        await service.start()
        lab = f"{service.url}user/{path}lab"
        async with aiohttp.ClientSession() as client, client.get(lab, headers={"Accept": "text/html"}) as response:
            assert response.status == 424
            assert f"v2/gh/{name}/HEAD" in await response.text()
        assert not list((service.data_dir / "sessions").glob("o-*"))

    async def test_a_returning_client_never_starts_a_second_session(
        self, service: Service, git_server: GitServer
    ) -> None:
        repository, name = fresh(git_server)
        repository.commit({"requirements.txt": "six\n"})
        visit = await service.stream(f"gh/{name}/HEAD").read()
        again = await service.stream(f"gh/{name}/HEAD", visit.ids[-1]).read()
        assert (again.status, again.events) == (204, [])
        missed = await service.stream(f"gh/{name}/HEAD", visit.ids[-3]).read()
        assert missed.last["url"] == visit.last["url"]

    async def test_ctrl_c_leaves_nothing_running(self, service: Service, git_server: GitServer) -> None:
        repository, name = fresh(git_server)
        repository.commit({"requirements.txt": "six\n"})
        ready = await service.stream(f"gh/{name}/HEAD").read()
        async with notebook(ready.last) as server, server.kernel() as kernel:
            await kernel.run("import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
        repository.commit({"postBuild": SLOW_POST_BUILD})
        await service.stream(f"gh/{name}/HEAD").read(until_text="tick")
        assert await service.stop(signal.SIGINT) == 0
        assert processes_of(service.data_dir) == []
        assert sessions_that_run(service.data_dir) == 0


class TestBadInput:
    @pytest.mark.parametrize(
        ("files", "code", "words"),
        [
            ({"requirements.txt": "numpy==99.99\n"}, "unsatisfiable_requirements", "numpy"),
            ({"requirements.txt": "six==1.16.0\nsix==1.17.0\n"}, "unsatisfiable_requirements", "six"),
            ({"requirements.txt": "nosuch-package-for-certain-93\n"}, "unsatisfiable_requirements", "nosuch"),
            ({"requirements.txt": "six\nthis is not a requirement !\n"}, "invalid_dependency_file", "line 2"),
            ({"requirements.txt": bytes(range(256)) * 4}, "invalid_dependency_file", "requirements.txt"),
            ({"postBuild": "#!/bin/sh\necho on its way\nexit 3\n"}, "post_build_failed", "3"),
            ({"environment.yml": "dependencies: [numpy]\n"}, "engine_cannot_serve", "environment.yml"),
            ({"Dockerfile": "FROM scratch\n"}, "engine_cannot_serve", "Dockerfile"),
            ({"apt.txt": "tree\n"}, "engine_cannot_serve", "apt.txt"),
            ({"apt.txt": "tree; touch /tmp/pwned\n"}, "invalid_dependency_file", "apt.txt"),
            ({"runtime.txt": "python-2.7\n"}, "python_unavailable", "2.7"),
            ({"binder/requirements.txt": "six", ".binder/requirements.txt": "six"}, "conflicting_files", "binder"),
        ],
    )
    async def test_a_repository_that_cannot_be_built_says_why(
        self, service: Service, git_server: GitServer, files: dict[str, str], code: str, words: str
    ) -> None:
        repository, name = fresh(git_server)
        repository.commit(files)
        visit = await service.stream(f"gh/{name}/HEAD").read()
        assert visit.last["phase"] == "failed", visit.text
        assert visit.last["code"] == code, visit.last
        assert words in visit.last["message"], visit.last
        assert visit.last["hint"]
        assert visit.phases.count("failed") == 1

    @pytest.mark.parametrize(
        ("link", "code"),
        [
            ("gh/o/nosuch/HEAD", "repository_not_found"),
            ("gh/o", "invalid_spec"),
            ("nosuch/x", "unknown_provider"),
            ("git/https%3A%2F%2Fno-such-host.invalid%2Fr/HEAD", "host_unreachable"),
            ("git/file%3A%2F%2F%2Fetc/HEAD", "host_refused"),
            ("gh/%00/%ff/x", "invalid_spec"),
            ("gh/" + "x" * 5000 + "/y/z", "repository_not_found"),
        ],
    )
    async def test_a_link_that_leads_nowhere_says_why(self, service: Service, link: str, code: str) -> None:
        visit = await service.stream(link).read()
        assert [event["phase"] for event in visit.events] == ["failed"]
        assert visit.last["code"] == code, visit.last
        assert visit.last["hint"]

    async def test_an_empty_repository(self, service: Service, git_server: GitServer) -> None:
        _, name = fresh(git_server)
        visit = await service.stream(f"gh/{name}/HEAD").read()
        assert visit.last["code"] == "repository_empty"

    async def test_looking_at_a_link_starts_nothing(self, service: Service, git_server: GitServer) -> None:
        _, name = fresh(git_server)
        async with aiohttp.ClientSession() as client:
            async with client.head(f"{service.url}build/gh/{name}/HEAD") as response:
                assert response.status == 405
            async with client.options(f"{service.url}build/gh/{name}/HEAD") as response:
                assert response.status == 200

    async def test_the_service_goes_on(self, service: Service) -> None:
        async with aiohttp.ClientSession() as client, client.get(f"{service.url}health") as response:
            assert (await response.json())["ok"] is True


async def test_apt_packages_can_be_done_without_loudly(service: Service, git_server: GitServer) -> None:
    await service.stop()
    await service.start("--allow-missing-apt")
    repository, name = fresh(git_server)
    repository.commit({"requirements.txt": "six\n", "apt.txt": "tree\n"})
    visit = await service.stream(f"gh/{name}/HEAD").read()
    await service.stop()
    assert visit.last["phase"] == "ready", visit.text
    assert "WARNING" in visit.text
