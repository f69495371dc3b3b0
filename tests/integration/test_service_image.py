"""The service's image, made by real Docker from its own Dockerfile."""

from __future__ import annotations

import json

import pytest

from bindery import __version__
from tests.support.docker import engine
from tests.support.service_image import service_image

#: As a pod of the chart runs it.
CLOSED = ("--rm", "--read-only", "--tmpfs=/tmp", "--tmpfs=/data:uid=1000", "--cap-drop=ALL", "--network=none")


@pytest.fixture(scope="module")
def image() -> str:
    return service_image()


def run(image: str, *words: str, entrypoint: str = "") -> str:
    replaced = ["--entrypoint", entrypoint] if entrypoint else []
    return engine().run("run", *CLOSED, *replaced, image, *words)


def test_it_runs_without_rights_and_without_writing(image: str) -> None:
    assert run(image, "--version") == __version__
    assert "BINDERY_DATABASE__URL" in run(image, "settings")


def test_it_has_what_a_service_on_a_cluster_needs(image: str) -> None:
    code = "import kubernetes, psycopg, os, shutil; print(os.getuid(), shutil.which('git'), psycopg.pq.__impl__)"
    assert run(image, "-c", code, entrypoint="python") == "1000 /usr/bin/git binary"
    upgraded = run(image, "db", "upgrade")
    assert "up to date now" in upgraded


def test_it_has_nothing_that_only_its_making_needed(image: str) -> None:
    code = "import importlib.util as u; print([name for name in ('pip', 'setuptools', 'pytest') if u.find_spec(name)])"
    assert run(image, "-c", code, entrypoint="/opt/bindery/bin/python") == "[]"
    found = json.loads(engine().run("image", "inspect", image))[0]
    assert found["Config"]["User"] == "1000:1000"
    assert found["Size"] < 800 * 10**6


def test_the_program_is_a_small_layer_on_those_of_its_packages(image: str) -> None:
    sizes = engine().run("history", "--human=false", "--format", "{{.Size}}", image).split()
    program, packages = [int(size) for size in sizes if int(size)][:2]
    assert program < 10 * 10**6 < packages
