"""The chart's objects, looked at by a real cluster's API without making any."""

from __future__ import annotations

from typing import Any

import pytest

from bindery.cluster import Cluster
from tests.integration.test_chart import SETS
from tests.support.cluster import cluster
from tests.support.cluster_kinds import kinds, known
from tests.support.helm import render

#: What only a cluster with further controllers has.
FOREIGN = {"HTTPRoute", "ServiceMonitor"}


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
async def test_a_cluster_takes_all_objects(values: dict[str, Any]) -> None:
    found = cluster()
    rendered = render(values, namespace=found.namespace)
    async with Cluster(found.settings()) as api:
        paths = {(each.version, each.name): each.path(found.namespace) for each in await kinds(api)}
        taken = known(rendered, {version for version, _ in paths})
        for each in taken:
            await api.ask("POST", paths[each["apiVersion"], each["kind"]], query={"dryRun": "All"}, body=each)
    assert {each["kind"] for each in rendered} - {each["kind"] for each in taken} <= FOREIGN
