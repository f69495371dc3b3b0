"""What pods of ours have in common: their labels, where they may run, and what an operator merges into them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bindery.settings import PodSettings

NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"

#: A secret that is made right after its pod, or that a busy node has not read yet: the node tries again by itself.
_NOT_READ_YET = re.compile(r'secret "[^"]+" not found|failed to sync (secret|configmap) cache: timed out')


def labels(instance: str, component: str) -> dict[str, str]:
    """By which what one service has in the cluster is known."""
    return {NAME_LABEL: "bindery", INSTANCE_LABEL: instance, COMPONENT_LABEL: component}


def selector(wanted: Mapping[str, str]) -> str:
    """Labels as the API wants them."""
    return ",".join(f"{name}={value}" for name, value in wanted.items())


def passing(message: str) -> bool:
    """Whether what keeps a node from making a container ends without anybody's help; `message` is the node's."""
    return _NOT_READ_YET.search(message) is not None


def placement(chosen: PodSettings) -> dict[str, Any]:
    """Where pods may run and as what, in the words of a pod's spec."""
    words: dict[str, Any] = {
        "serviceAccountName": chosen.service_account,
        "runtimeClassName": chosen.runtime_class,
        "priorityClassName": chosen.priority_class,
        "nodeSelector": dict(chosen.node_selector),
        "affinity": dict(chosen.affinity),
        "tolerations": [dict(item) for item in chosen.tolerations],
        "imagePullSecrets": [{"name": name} for name in chosen.image_pull_secrets],
    }
    return {name: value for name, value in words.items() if value}


def merge(base: Any, patch: Any) -> Any:
    """A patch merged in: objects by key, lists of named things by name, else replaced; None removes."""
    if isinstance(base, Mapping) and isinstance(patch, Mapping):
        merged = {key: merge(base.get(key), value) for key, value in patch.items() if value is not None}
        return {**{key: value for key, value in base.items() if key not in patch}, **merged}
    if _named(base) and _named(patch):
        changes = {item["name"]: item for item in patch}
        kept = [merge(item, changes.pop(item["name"], {})) for item in base]
        return [*kept, *changes.values()]
    return patch


def _named(value: Any) -> bool:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return is_list and bool(value) and all(isinstance(item, Mapping) and "name" in item for item in value)
