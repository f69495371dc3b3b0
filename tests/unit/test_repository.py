"""What a person types for a repository on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bindery.errors import BinderyError, InvalidSpec, RepositoryNotFound
from bindery.repository import read, spec
from tests.support.link_vectors import PROVIDERS


@pytest.mark.parametrize(
    ("typed", "provider", "named"),
    [
        ("owner/name", "gh", "owner/name/HEAD"),
        ("https://github.com/owner/name/tree/v1", "gh", "owner/name/v1"),
        ("git@github.com:owner/name.git", "gh", "owner/name/HEAD"),
        ("https://example.org/some/name", "git", "https%3A%2F%2Fexample.org%2Fsome%2Fname/HEAD"),
        ("https://gitlab.com/group/name/-/tree/v1", "gl", "group%2Fname/v1"),
    ],
)
def test_is_what_the_form_takes(typed: str, provider: str, named: str) -> None:
    target = read(typed, "", "", PROVIDERS)
    assert (target.provider, spec(target, PROVIDERS)) == (provider, named)


def test_a_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    target = read("owner/name", "", "", PROVIDERS)
    assert (target.provider, target.repo) == ("git", (tmp_path / "owner" / "name").as_uri())


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        *(("./nowhere", RepositoryNotFound), (".", RepositoryNotFound)),
        *(("name", InvalidSpec), ("two words", InvalidSpec), ("owner/", InvalidSpec)),
    ],
)
def test_what_names_nothing_is_refused_with_a_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, error: type[BinderyError]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as refused:
        read(typed, "", "", PROVIDERS)
    assert refused.value.hint
    assert not isinstance(refused.value, InvalidSpec) or f"“{typed}”" in refused.value.message
