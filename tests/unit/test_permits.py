"""Permits of builds."""

from __future__ import annotations

import pytest
from yarl import URL

from bindery.errors import RegistryRefused
from registry.permits import Permit, Permits

PERMIT = Permit(frozenset({"team/image"}), frozenset({"team/base"}))


def test_who_may_write_may_read() -> None:
    assert PERMIT.allows("team/image", push=True)
    assert PERMIT.allows("team/image", push=False)
    assert PERMIT.allows("team/base", push=False)
    assert not PERMIT.allows("team/base", push=True)
    assert not PERMIT.allows("team/other", push=False)


def test_one_image_of_a_repository_is_not_the_others() -> None:
    permit = Permit(frozenset({"team/environment:mine"}), frozenset({"team/context:mine", "team/base"}))
    assert permit.allows("team/environment", "mine", push=True)
    assert not permit.allows("team/environment", "another", push=True)
    assert not permit.allows("team/environment", "another", push=False)
    assert permit.allows("team/context", "mine", push=False)
    assert not permit.allows("team/context", "another", push=False)
    assert not permit.allows("team/context", "mine", push=True)
    assert permit.allows("team/base", "any", push=False)
    assert permit.allows("team/environment", push=False)
    assert not permit.allows("team/other", push=False)
    assert permit.allows("team/environment", push=True)


def test_every_worker_with_the_secret_reads_a_permit() -> None:
    assert Permits("a secret").read(Permits("a secret").issue(PERMIT, 60)) == PERMIT


@pytest.mark.parametrize("token", ["", "no token", "é", "a.b.c"])
def test_what_is_none_is_refused(token: str) -> None:
    with pytest.raises(RegistryRefused):
        Permits("a secret").read(token)


def test_another_secrets_permit_is_refused() -> None:
    with pytest.raises(RegistryRefused):
        Permits("another").read(Permits("a secret").issue(PERMIT, 60))


def test_a_permit_ends() -> None:
    token = Permits("a secret", clock=lambda: 1_000_000_000).issue(PERMIT, 60)
    with pytest.raises(RegistryRefused):
        Permits("a secret").read(token)


def test_an_upload_goes_on_in_its_own_repository_only() -> None:
    permits, place = Permits("a secret"), URL("https://r.example.org/v2/team/image/blobs/uploads/1?_state=a%2Bb%3D")
    sealed = permits.seal("team/image", place)
    assert str(permits.unseal("team/image", sealed)) == str(place)
    with pytest.raises(RegistryRefused, match="another"):
        permits.unseal("team/other", sealed)


def test_a_permit_is_no_upload_and_an_upload_no_permit() -> None:
    permits = Permits("a secret")
    with pytest.raises(RegistryRefused):
        permits.unseal("team/image", permits.issue(PERMIT, 60))
    with pytest.raises(RegistryRefused):
        permits.read(permits.seal("team/image", URL("https://r.example.org/")))
