"""What a service has to be allowed in its namespace, and whether it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from bindery.cluster import Cluster

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True)
class Right:
    """One verb on one kind of thing; `part` is a subresource such as `log`."""

    verb: str
    kind: str
    part: str = ""
    group: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.kind}" + (f"/{self.part}" if self.part else "")


def _rights(kind: str, *verbs: str, part: str = "", group: str = "") -> tuple[Right, ...]:
    return tuple(Right(verb, kind, part, group) for verb in verbs)


BUILDS = (
    *_rights("jobs", "get", "list", "create", "patch", "delete", group="batch"),
    *_rights("pods", "get", "list", "watch"),
    *_rights("pods", "get", part="log"),
    *_rights("secrets", "list", "create", "patch", "delete"),
)
SESSIONS = (
    *_rights("pods", "get", "list", "watch", "create", "delete"),
    *_rights("pods", "get", part="log"),
    *_rights("secrets", "create"),
    *_rights("events", "list", "watch"),
)


async def missing(cluster: Cluster, rights: Iterable[Right]) -> list[Right]:
    """Those of the rights that the cluster would not grant."""
    wanted = list(dict.fromkeys(rights))
    granted = await asyncio.gather(*(_granted(cluster, right) for right in wanted))
    return [right for right, good in zip(wanted, granted, strict=True) if not good]


async def _granted(cluster: Cluster, right: Right) -> bool:
    asked = {
        "namespace": cluster.namespace,
        "verb": right.verb,
        "group": right.group,
        "resource": right.kind,
        "subresource": right.part,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {name: value for name, value in asked.items() if value}},
    }
    answer = await cluster.ask("POST", _REVIEWS, body=body)
    return bool(answer.get("status", {}).get("allowed"))
