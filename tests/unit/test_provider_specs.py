"""Specs, pasted addresses, and the providers that other packages add."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import web
from bindery.errors import (
    BinderyError,
    InvalidSpec,
)
from bindery.settings import (
    ProviderSettings,
)
from builder.guard import Guard, GuardedClient
from builder.providers import ORDER, providers
from tests.support.needs import need
from tests.support.provider_world import (
    GIST,
    RESOURCE,
    REVISION,
    encoded,
)
from web.links import launch_path, recognise

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
    segment = encoded(text)
    for name, spec in (("gl", f"{segment}/HEAD"), ("gh", f"{segment}/r/HEAD"), ("hf", f"o%2F{segment}/HEAD")):
        try:
            parsed = _REAL[name].parse(spec)
        except InvalidSpec:
            continue
        # Slashes around a repository's name are forgiven.
        assert unquote(segment).strip("/") in parsed.repo_url
        assert ".." not in parsed.repo_url.split("/")


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
