"""Which part of a service a process may be alone."""

from __future__ import annotations

import pytest

from bindery.errors import RoleRefused
from bindery.roles import check
from bindery.settings import Settings

SHARED = {"database": {"url": "postgresql://h/d"}, "engine": "docker"}


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ({"role": "worker", "engine": "docker"}, "BINDERY_DATABASE__URL"),
        ({**SHARED, "role": "worker", "engine": "process"}, "--role all"),
        ({**SHARED, "role": "web"}, "BINDERY_BUILD_TOKEN__SECRET"),
        ({"kubernetes": {"build": {"relay_address": "relay:8586"}}}, "BINDERY_BUILD_TOKEN__SECRET"),
    ],
)
def test_what_cannot_work_is_refused_with_its_cure(given: dict[str, object], cure: str) -> None:
    with pytest.raises(RoleRefused) as refused:
        check(Settings.model_validate(given))
    assert cure in refused.value.hint


@pytest.mark.parametrize("role", ["all", "web", "worker", "proxy"])
def test_parts_that_share_a_database_may_be_alone(role: str) -> None:
    check(Settings.model_validate({**SHARED, "role": role, "build_token": {"secret": "x" * 32}}))
