"""The chart's objects, looked at by a real cluster's API without making any."""

from __future__ import annotations

from typing import Any

import pytest

from bindery.cluster import Cluster
from tests.integration.test_chart import SETS
from tests.support.chart_release import Release
from tests.support.cluster import cluster
from tests.support.helm import render

#: What only a cluster with further controllers has.
FOREIGN = {"HTTPRoute", "ServiceMonitor"}


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
async def test_a_cluster_takes_all_objects(values: dict[str, Any]) -> None:
    found = cluster()
    async with Cluster(found.settings()) as api:
        release = Release(api, render(values, namespace=found.namespace))
        await release.check()
    assert release.left_out <= FOREIGN
