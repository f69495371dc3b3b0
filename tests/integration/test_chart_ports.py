"""The ports of the chart's pods: all that leads to one follows from the settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.helm import Manifest, pod_specs, render

CHANGED = {"port": 9000, "kubernetes": {"build": {"relay_port": 9001}}}


def numbers(manifests: list[Manifest]) -> Iterator[tuple[str, Any]]:
    """Every port by what it is for: of containers, of the network's rules, of the address that builds are told."""
    for _, spec in pod_specs(manifests):
        for container in spec["containers"]:
            yield from ((port["name"], port["containerPort"]) for port in container.get("ports", []))
    for each in manifests:
        if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == "b-bindery-service":
            yield from zip(
                ("http", "relay"), (rule["ports"][0]["port"] for rule in each["spec"]["ingress"]), strict=True
            )
        if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == "b-bindery-build":
            yield "relay", each["spec"]["egress"][-1]["ports"][0]["port"]
        if each["kind"] == "Service" and each["metadata"]["name"] == "b-bindery-worker":
            yield "relay", next(port["port"] for port in each["spec"]["ports"] if port["name"] == "relay")
        if each["kind"] == "ConfigMap" and "BINDERY_ENGINE" in each["data"]:
            yield "http", int(each["data"]["BINDERY_PORT"])
            build = json.loads(each["data"]["BINDERY_KUBERNETES"])["build"]
            yield "relay", int(build["relay_address"].rpartition(":")[2])


@pytest.mark.parametrize(
    ("settings", "ports"), [({}, {"http": 8585, "relay": 8586}), (CHANGED, {"http": 9000, "relay": 9001})]
)
def test_agree(settings: dict[str, Any], ports: dict[str, int]) -> None:
    found = list(numbers(render({"settings": settings})))
    assert {name for name, _ in found} == {"http", "relay"}
    assert set(found) == set(ports.items())
