"""Which nodes a build would rather run on: those that have built the same environment before."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

#: Weights of the first choices; the scheduler adds them to its own points.
WEIGHTS = (100, 50)
HOST_LABEL = "kubernetes.io/hostname"


def ranked(key: str, nodes: Collection[str]) -> list[str]:
    """The nodes, best first: each key has an order of its own, and a node that comes or goes moves no others."""
    return sorted(set(nodes), key=lambda node: hashlib.sha256(f"{key}\n{node}".encode()).digest(), reverse=True)


def with_preference(affinity: Mapping[str, Any], key: str, nodes: Collection[str]) -> dict[str, Any]:
    """An affinity that also prefers the key's nodes, and that still lets the scheduler choose any other."""
    if len(set(nodes)) < 2:
        return dict(affinity)
    terms: Sequence[Mapping[str, Any]] = [
        {"weight": weight, "preference": {"matchExpressions": [_on(node)]}}
        for weight, node in zip(WEIGHTS, ranked(key, nodes), strict=False)
    ]
    node_affinity = dict(affinity.get("nodeAffinity") or {})
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    node_affinity[preferred] = [*(node_affinity.get(preferred) or []), *terms]
    return {**affinity, "nodeAffinity": node_affinity}


def _on(node: str) -> dict[str, Any]:
    return {"key": HOST_LABEL, "operator": "In", "values": [node]}
