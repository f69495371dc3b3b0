"""What a session's pod is: a pure function of the request and the settings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bindery import pods
from bindery.settings import KubernetesSettings, SessionSettings
from launcher.jupyter import networked_arguments
from launcher.serving import PORT, serving
from launcher.spawners.base import SessionRequest
from launcher.spawners.leftovers import MARK

SESSION_LABEL = "bindery.io/session"
#: The container of the server, where it finds its secret, and the key of that which has its token.
CONTAINER = "session"
SECRET_FOLDER = "/run/bindery"  # noqa: S105
TOKEN_KEY = "token"  # noqa: S105
#: The user of every session, as on Binder.
USER = 1000
#: Seconds between asking a server to end and killing it.
GRACE_SECONDS = 2
#: How much longer than a session may live its pod does, in seconds, should nobody end it.
NET_SECONDS = 600
#: Longest name of a session: with what stands before it, it is the name of a pod and its host.
MAX_NAME = 60

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_PLAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_HOST_NAME = 63


@dataclass(frozen=True)
class Place:
    """Where pods are put, and what they are allowed."""

    settings: KubernetesSettings
    limits: SessionSettings
    allow_origins: Sequence[str] = ()

    @property
    def labels(self) -> dict[str, str]:
        """By which the sessions of this service are known."""
        return pods.labels(self.settings.instance, "session")


def pod_name(instance: str, session: str) -> str | None:
    """The name of a session's pod; None if no session can have the name."""
    if len(session) > MAX_NAME or not _NAME.fullmatch(session):
        return None
    plain = f"{instance}-{session}"
    if _PLAIN.fullmatch(session) and len(plain) <= _HOST_NAME:
        return plain
    digest = hashlib.sha256(session.encode()).hexdigest()[:16]
    slug = re.sub(r"[^a-z0-9]+", "-", session.lower()).strip("-")
    return f"{instance}-{slug[: _HOST_NAME - len(instance) - len(digest) - 2].strip('-')}-{digest}"


def describe(request: SessionRequest, place: Place, name: str) -> dict[str, Any]:
    """The pod, as it is sent to the API; what the operator's settings say is merged last."""
    chosen = place.settings.session
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "activeDeadlineSeconds": int(_longest(place)),
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(request, place)],
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(place.limits.shared_memory_bytes)}},
            # A node that cannot read it yet tries again after half a second, with a variable from it after ten.
            {"name": "secret", "secret": {"secretName": name}},
        ],
        **pods.placement(chosen),
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {**chosen.labels, **place.labels, SESSION_LABEL: request.name},
            "annotations": dict(chosen.annotations),
        },
        "spec": spec,
    }
    merged: dict[str, Any] = pods.merge(pod, chosen.patch)
    # Whatever is patched, it is found again.
    merged["metadata"]["name"] = name
    merged["metadata"]["labels"] |= {**place.labels, SESSION_LABEL: request.name}
    return merged


def _container(request: SessionRequest, place: Place) -> dict[str, Any]:
    flags = networked_arguments(port=PORT, base_url=request.base_url, allow_origins=place.allow_origins)
    plain = {**place.limits.environment, **request.environment, MARK: request.name}
    # Whoever may read pods, and that are many, must not read tokens: they are in a secret.
    plain["JUPYTER_TOKEN_FILE"] = f"{SECRET_FOLDER}/{TOKEN_KEY}"
    return {
        "name": CONTAINER,
        "image": request.image,
        "imagePullPolicy": "IfNotPresent",
        "args": [literal(word) for word in serving(flags)],
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": [{"name": key, "value": literal(value)} for key, value in plain.items()],
        "resources": _resources(request, place),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
            {"name": "secret", "mountPath": SECRET_FOLDER, "readOnly": True},
        ],
    }


def literal(value: str) -> str:
    """A word in which Kubernetes replaces nothing."""
    return value.replace("$", "$$")


def _resources(request: SessionRequest, place: Place) -> dict[str, Any]:
    memory, cpus = memory_limit(request, place.limits), request.cpus or place.limits.cpus
    return {
        "limits": {"memory": str(memory), "cpu": f"{cpus:g}"},
        "requests": {
            "memory": str(min(place.settings.memory_request_bytes, memory)),
            "cpu": f"{min(place.settings.cpu_request, cpus):g}",
        },
    }


def memory_limit(request: SessionRequest, limits: SessionSettings) -> int:
    """How much memory the session may use, in bytes."""
    return request.memory_bytes or limits.memory_bytes


def _longest(place: Place) -> float:
    # The cluster counts from the moment at which a node has taken the pod.
    limits = place.limits
    return limits.max_age_seconds + place.settings.pull_timeout_seconds + limits.start_timeout_seconds + NET_SECONDS


def token_secret(request: SessionRequest, place: Place, name: str, uid: str) -> dict[str, Any]:
    """The secret of a pod's token. The cluster removes it with the pod."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}
    labels = {**place.labels, SESSION_LABEL: request.name}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "stringData": {TOKEN_KEY: request.token},
        "immutable": True,
    }
