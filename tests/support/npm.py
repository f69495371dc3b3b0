"""Published npm packages that the tests need, fetched once into the tests' cache by the machine's own npm."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.needs import need

#: What is unpacked as it was published: version, and the digest that the published file must have.
PACKED = {
    "thebe-core": (
        "0.5.0",
        "LIAbySgyoH8PPojNOwTwnjHta332CXtqVMPtgC3wBuIkHkgQpJYZUkWGvZR+T6pkgmjIei/WkKMFtV1jstXwWA==",
    ),
    "thebe": ("0.9.3", "Rb/7kVhtlffXra3kIe7OuIGE7awsm2/fGWxw21DiNfnWLnUQiDl9AWqYdshPwZPG/5DzLpsJRPix2xtCPtJmQQ=="),
}
#: What is installed together with what it depends on.
INSTALLED = {
    "binderhub-client": (
        *("@jupyterhub/binderhub-client@0.5.0", "@microsoft/fetch-event-source@2.0.1", "event-iterator@2.0.0"),
        "esbuild@0.25.0",
    ),
    "kubernetes-models": (
        "kubernetes-models@5.1.0",
        "@kubernetes-models/gateway-api@2.0.0",
        "@kubernetes-models/prometheus-operator@6.0.0",
    ),
}
_TIMEOUT_SECONDS = 180


def packed(name: str) -> Path:
    """The folder of a package of `PACKED`."""
    version, digest = PACKED[name]
    folder = _cache() / f"{name}-{version}"
    if not folder.exists():
        with _fresh(folder) as place:
            _npm(place, "pack", "--silent", f"{name}@{version}")
            [archive] = place.glob("*.tgz")
            found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
            assert found == digest, f"{name} {version} is not the file that was published: sha512-{found}"
            with tarfile.open(archive) as opened:
                opened.extractall(place, filter="data")
            archive.unlink()
            _keep(place, folder)
    return folder / "package"


def installed(name: str) -> Path:
    """A folder with the packages of `INSTALLED` in its `node_modules`."""
    folder = _cache() / name
    if not folder.exists():
        with _fresh(folder) as place:
            _npm(place, "install", "--silent", "--no-package-lock", "--no-audit", "--no-fund", *INSTALLED[name])
            _keep(place, folder)
    return folder


def _cache() -> Path:
    root = Path(os.environ.get("BINDERY_TEST_CACHE", Path.home() / ".cache" / "bindery-tests"))
    folder = root / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _npm(place: Path, *words: str) -> None:
    need(shutil.which("npm"), "npm: apt-get install npm")
    (place / "package.json").write_text('{"private": true}')
    subprocess.run(["npm", *words], cwd=place, check=True, timeout=_TIMEOUT_SECONDS)


@contextlib.contextmanager
def _fresh(folder: Path) -> Iterator[Path]:
    """A temporary folder beside the one to be made, so that it can be renamed."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-", ignore_cleanup_errors=True) as place:
        yield Path(place)


def _keep(place: Path, folder: Path) -> None:
    """Give a complete folder its name; another run may have been first."""
    try:
        place.rename(folder)
    except OSError:
        if not folder.exists():
            raise
