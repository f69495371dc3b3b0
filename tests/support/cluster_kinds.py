"""The kinds of objects that a cluster has, which may be older than what the chart asks for.

Run as a program, with the API versions that a cluster has as its arguments, it is a post-renderer for Helm: it writes
the objects that it reads as that cluster knows them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from bindery.cluster import Cluster

#: Versions with the same fields under older names.
_OLDER = {"policy/v1": "policy/v1beta1", "autoscaling/v2": "autoscaling/v2beta2"}
#: What the cluster itself makes of others' objects, and takes away after them.
_DERIVED = {"Endpoints", "EndpointSlice", "Event"}


@dataclass(frozen=True)
class Kind:
    """One kind, in one of its versions."""

    version: str
    name: str
    plural: str
    namespaced: bool
    listed: bool

    def path(self, namespace: str) -> str:
        """Where objects of the kind are."""
        base = f"/apis/{self.version}" if "/" in self.version else f"/api/{self.version}"
        return f"{base}/namespaces/{namespace}/{self.plural}" if self.namespaced else f"{base}/{self.plural}"


async def kinds(api: Cluster) -> list[Kind]:
    """All that the cluster has."""
    groups = (await api.ask("GET", "/apis"))["groups"]
    versions = ["v1", *(each["groupVersion"] for group in groups for each in group["versions"])]
    return [kind for found in await asyncio.gather(*(_of(api, each) for each in versions)) for kind in found]


async def _of(api: Cluster, version: str) -> list[Kind]:
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return [
        Kind(version, each["kind"], each["name"], each["namespaced"], "list" in each["verbs"])
        for each in (await api.ask("GET", base))["resources"]
        if "/" not in each["name"]
    ]


async def objects(api: Cluster) -> set[tuple[str, str]]:
    """Kind and name of everything in the namespace that somebody made and nobody has removed.

    What is removed is not counted, though a node may take a minute to say that a pod is gone.
    """
    asked = [each for each in await kinds(api) if each.namespaced and each.listed and each.name not in _DERIVED]
    answers = await asyncio.gather(*(api.ask("GET", each.path(api.namespace)) for each in asked))
    return {
        (kind.name, item["metadata"]["name"])
        for kind, answer in zip(asked, answers, strict=True)
        for item in answer["items"]
        if "deletionTimestamp" not in item["metadata"]
    }


def known(objects: Iterable[dict[str, Any]], versions: Collection[str]) -> list[dict[str, Any]]:
    """The objects in versions that a cluster has, without those that it has in none."""
    renamed = [{**each, "apiVersion": _known(each["apiVersion"], versions)} for each in objects]
    return [each for each in renamed if each["apiVersion"]]


def _known(version: str, versions: Collection[str]) -> str:
    older = _OLDER.get(version, "")
    return next((each for each in (version, older) if each in versions), "")


if __name__ == "__main__":
    rendered = [each for each in yaml.safe_load_all(sys.stdin) if each]
    # As JSON: what Python's YAML writes without quotes, such as 1e3, others read as a number.
    for each in known(rendered, sys.argv[1:]):
        print("---", json.dumps(each), sep="\n")
