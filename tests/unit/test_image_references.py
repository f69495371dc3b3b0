"""Names of images: ours never collide, BinderHub's are as it gives them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bindery.settings import ProviderSettings
from builder.guard import Guard, GuardedClient
from builder.providers import providers
from builder.providers.base import ParsedSpec
from registry.names import Reference
from registry.reference import ImageNames, binderhub_prefix

OURS = ImageNames("r.example.org/team/", "runtime")
THEIRS = replace(OURS, binderhub="r.example.org/proj/bh-")
SHA = "0123456789" * 4

SPECS = {
    "gh": ("o/r/HEAD", "a/b-c/HEAD", "a-b/c/HEAD"),
    "gist": ("o/8a658f7f63b13768d1e75fa2464f5092",),
    "git": ("https%3A%2F%2Fgithub.com%2Fo%2Fr/HEAD", "https%3A%2F%2Fgit.example.org%2Fo%2Fr/HEAD"),
    "gl": ("o%2Fr/HEAD", "a%2Fb%2Fc/HEAD"),
    "zenodo": ("10.5281/zenodo.3242074",),
    "figshare": ("10.6084/m9.figshare.9782777.v1",),
    "hydroshare": ("142c59757ed54de1816777828c9716e7",),
    "dataverse": ("10.7910/DVN/TJCLKP",),
    "ckan": (
        "https%3A%2F%2Fdemo.ckan.org%2Fdataset%2Fmy-sample-dataset-001",
        "https%3A%2F%2Fevil.example.org%2Fdataset%2Fmy-sample-dataset-001",
    ),
    "bitbucket": ("o/r/HEAD",),
    "codeberg": ("o/r/HEAD",),
    "hf": ("spaces%2Fo%2Fr/HEAD", "datasets%2Fo%2Fr/HEAD", "o%2Fr/HEAD"),
    "osf": ("abcde",),
    "swh": (f"swh:1:rev:{SHA}",),
    "invenio": ("https%3A%2F%2Fone.example.org%2Frecords%2F1", "https%3A%2F%2Ftwo.example.org%2Frecords%2F1"),
}


def _parsed() -> list[ParsedSpec]:
    known = providers(ProviderSettings(), GuardedClient(Guard(False, 1)))
    assert set(SPECS) == set(known), "every provider is asked"
    return [known[name].parse(spec) for name, specs in SPECS.items() for spec in specs]


def test_no_two_repositories_of_any_provider_share_a_name() -> None:
    names = [OURS.of(each.provider, each.repo_url, each.slug, "1") for each in _parsed()]
    assert len(set(names)) == len(names)
    for name, each in zip(names, _parsed(), strict=True):
        assert name.startswith(f"r.example.org/team/{each.provider}-")
        assert str(Reference.parse(name)) == name


@pytest.mark.parametrize("other", ["https://git.example.org/o/r", "http://github.com/o/r", "https://github.com/o/r2"])
def test_the_host_is_part_of_the_name(other: str) -> None:
    slug = "o-r"
    assert OURS.of("git", "https://github.com/o/r", slug, SHA) != OURS.of("git", other, slug, SHA)
    assert OURS.of("gh", "https://github.com/o/r", slug, SHA) != OURS.of("git", "https://github.com/o/r", slug, SHA)


@pytest.mark.parametrize(
    ("provider", "slug", "ref", "name"),
    [
        ("gh", "user-repo", SHA, f"user-2drepo-397df2:{SHA}"),
        ("gh", "binder-examples-octave", SHA, f"binder-2dexamples-2doctave-03025a:{SHA}"),
        ("gh", "user-cached", SHA, f"user-2dcached-c8e792:{SHA}"),
        ("gl", "gitlab_-org-gitlab_-foss", "A_b", None),
    ],
)
def test_binderhubs_names(provider: str, slug: str, ref: str, name: str | None) -> None:
    found = THEIRS.of(provider, "https://example.org/x", slug, ref)
    if name is not None:
        assert found == f"r.example.org/proj/bh-{name}"
    assert re.fullmatch(r"r\.example\.org/proj/bh-[a-z0-9-]+-[0-9a-f]{6}:[a-z0-9.-]+", found)


def test_binderhub_calls_git_repositories_by_their_address() -> None:
    found = THEIRS.of("git", "https://git.example.org/o/r", "whatever", SHA)
    assert found.startswith("r.example.org/proj/bh-https-3a-2f-2fgit-2eexample-2eorg-2fo-2fr-")


@given(st.text(min_size=1, max_size=400))
def test_binderhubs_names_are_never_too_long(slug: str) -> None:
    name = THEIRS.of("gh", "", slug, SHA).rpartition(":")[0]
    assert len(name) <= 255


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("r.example.org/proj/bh-", "r.example.org/proj/bh-"),
        ("localhost:5000/bh-", "localhost:5000/bh-"),
        ("localhost/bh-", "localhost/bh-"),
        ("someuser/bh-", "docker.io/someuser/bh-"),
        ("bh-", "bh-"),
    ],
)
def test_docker_hub_is_meant_where_no_host_is_named(given: str, full: str) -> None:
    assert binderhub_prefix(given) == full
