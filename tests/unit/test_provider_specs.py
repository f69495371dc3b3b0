"""Specs, pasted addresses, and the providers that other packages add."""

from __future__ import annotations

import json
import random
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
from tests.support.link_vectors import ADDRESSES
from tests.support.needs import need
from tests.support.provider_world import encoded
from web.links import Target, launch_path, shown
from web.pasted import RULES, recognise

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


_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}[A-Za-z0-9]", fullmatch=True).filter(
    lambda name: not name.endswith(".git")
)
_REFS = st.lists(st.from_regex(r"[A-Za-z0-9_#é+&][A-Za-z0-9_%é-]{0,6}", fullmatch=True), min_size=1, max_size=3).map(
    "/".join
)
_OWNED = st.tuples(_NAMES, _NAMES).map("/".join)
_REPOSITORIES: dict[str, st.SearchStrategy[str]] = {
    **dict.fromkeys(("gh", "bitbucket", "codeberg"), _OWNED),
    "gl": st.lists(_NAMES, min_size=2, max_size=4).map("/".join),
    "git": _OWNED.map("https://git.example.org/{}".format),
    "hf": st.tuples(st.sampled_from(["", "spaces/", "datasets/"]), _OWNED)
    .map("".join)
    .filter(lambda name: name.count("/") == 2 or not name.startswith(("spaces/", "datasets/", "models/"))),
    "zenodo": st.integers(1, 10**9).map("10.5281/zenodo.{}".format),
    "figshare": st.integers(1, 10**9).map("10.6084/m9.figshare.{}.v1".format),
    "dataverse": _NAMES.map("10.7910/DVN/{}".format),
    "hydroshare": st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    "osf": st.from_regex(r"[a-z0-9]{5}", fullmatch=True),
    "swh": st.from_regex(r"swh:1:(rev|dir|rel|snp):[0-9a-f]{40}", fullmatch=True),
    "ckan": _NAMES.map("https://data.example.org/dataset/{}".format),
    # A record's id has no underscore.
    "invenio": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.-]{0,8}[A-Za-z0-9]", fullmatch=True).map(
        "data.example.org/records/{}".format
    ),
    "gist": st.tuples(_NAMES, st.from_regex(r"[0-9a-f]{32}", fullmatch=True)).map("/".join),
}


@given(data=st.data(), name=st.sampled_from(sorted(_REPOSITORIES)), path=st.sampled_from(["", "a b/c.ipynb", "ü.md"]))
def test_a_link_says_again_what_it_was_made_of(data: st.DataObject, name: str, path: str) -> None:
    display = _REAL[name].display
    repo = data.draw(_REPOSITORIES[name])
    ref = data.draw(st.just("f" * 40) if name == "gist" else _REFS) if display["ref"]["enabled"] else ""
    target = Target(name, repo, ref, path)
    link = launch_path(target, display)
    parsed = _REAL[name].parse(link.partition("?")[0].split("/", 2)[2])
    assert not ref or parsed.ref == ref
    displays = [each.display for each in _REAL.values()]
    assert recognise(f"https://bindery.example.org/{link}", displays) == target
    assert shown(parsed.spec, display) == (repo, ref)


def test_every_provider_is_in_the_round() -> None:
    assert set(_REPOSITORIES) == set(ORDER)


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


_IN_JAVASCRIPT = """
import { launchPath } from "./links.mjs";
import { recognise } from "./pasted.mjs";
import { readFileSync } from "node:fs";
const [texts, displays, rules] = JSON.parse(readFileSync(0));
console.log(JSON.stringify(texts.map((text) => {
  const target = recognise(text, displays, rules);
  return launchPath(target, displays.find((each) => each.id === target.provider));
})));
"""


_PARTS = (
    *("https://", "github.com/", "gitlab.com/", "codeberg.org/", "git@", "h.example/", "osf.io/", "zenodo.org/"),
    *("records/", "12345", "o/", "r", "/tree/", "/blob/", "/-/", "src/branch/", "main", "a.ipynb", "feature/", "?x=1"),
    *("#y", ".git", "/dataset/", "10.5281/", "zenodo.", "v2/gh/", "?labpath=b", "swh:1:rev:" + "1" * 40, "spaces/"),
    *("%2F", "ü", " ", ":"),
)


def _jumbled(count: int) -> list[str]:
    """Texts that are almost addresses; the same ones each time."""
    chance = random.Random(1)
    return ["".join(chance.choices(_PARTS, k=chance.randint(1, 8))) for _ in range(count)]


def test_the_forms_script_recognises_the_same(tmp_path: Path) -> None:
    node = need(shutil.which("node"), "Node.js: apt-get install nodejs")
    for name in ("links", "pasted"):
        script = Path(web.__file__).parent / "static" / f"{name}.js"
        (tmp_path / f"{name}.mjs").write_text(script.read_text())
    (tmp_path / "main.mjs").write_text(_IN_JAVASCRIPT)
    texts = [*ADDRESSES, *_jumbled(2000)]
    displays = [provider.display for provider in _REAL.values()]
    given_to_it = json.dumps([texts, displays, RULES])
    argv = [node, "main.mjs"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True, text=True, input=given_to_it)
    for text, link in zip(texts, json.loads(done.stdout), strict=True):
        assert (text, link) == (text, _link(text))


def _link(text: str) -> str:
    displays: list[Any] = [provider.display for provider in _REAL.values()]
    target = recognise(text, displays)
    return launch_path(target, next(each for each in displays if each["id"] == target.provider))


@pytest.mark.parametrize("text", ADDRESSES)
def test_pasted_addresses_are_recognised(text: str) -> None:
    assert _link(text) == f"v2/{ADDRESSES[text]}"
    provider, _, spec = ADDRESSES[text].partition("?")[0].partition("/")
    assert _REAL[provider].parse(spec).provider == provider
