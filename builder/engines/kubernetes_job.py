"""What a build's Job is: a pure function of its order and the settings."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bindery import pods
from bindery.settings import BuildBackEnd, KubernetesSettings
from builder.engines.kubernetes_placement import with_preference
from builder.job.order import AUTHORITIES, FOLDER, LOGINS, ORDER, SECRET_PREFIX, Order

CONTAINER = "build"
#: Begins the annotations that say which builds want a Job.
HOLD = "builds.bindery.io/"
#: Seconds between asking a build to end and killing it.
GRACE_SECONDS = 5
#: How much longer than a build may take its Job does, in seconds: to bring the image and the context, and to push.
NET_SECONDS = 900

_ORDER = "order"
_WORK = "/work"
_CACHE = "/cache"
_USER = 1000
_SOCKET = "unix://"
_MOST_NAME = 63


@dataclass(frozen=True)
class Parcel:
    """What goes into the Job's Secret: the order, the login for its registry, and the secrets of steps."""

    order: Order
    logins: bytes | None
    secrets: Mapping[str, bytes]
    authorities: bytes | None = None


def job_name(instance: str, target: str, dockerfile: str) -> str:
    """The name of the Job that makes an image: two builds that want the same one share it."""
    digest = hashlib.sha256(f"{instance}\n{target}\n{dockerfile}".encode()).hexdigest()[:16]
    return f"{instance[: _MOST_NAME - len(digest) - 7].rstrip('-')}-build-{digest}"


def build_labels(settings: KubernetesSettings) -> dict[str, str]:
    """By which the builds of this service are known."""
    return pods.labels(settings.instance, "build")


def secret(settings: KubernetesSettings, name: str, parcel: Parcel, build_id: str) -> dict[str, Any]:
    """The Secret of a Job, which names the build that makes it as long as the Job is not there to own it."""
    files = {ORDER: parcel.order.to_json().encode()}
    files |= {f"{SECRET_PREFIX}{key}": data for key, data in parcel.secrets.items()}
    if parcel.logins is not None:
        files[LOGINS] = parcel.logins
    if parcel.authorities is not None:
        files[AUTHORITIES] = parcel.authorities
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": build_labels(settings), "annotations": {f"{HOLD}{build_id}": "wanted"}},
        "data": {key: base64.b64encode(data).decode() for key, data in files.items()},
        "immutable": True,
    }


def job(
    settings: KubernetesSettings, name: str, secret_name: str, order: Order, build_id: str, nodes: Collection[str]
) -> dict[str, Any]:
    """The Job, as it is sent to the API; what the operator's settings say is merged into its pod last."""
    chosen, known = settings.build, build_labels(settings)
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": _pod_rights(settings),
        "containers": [_container(settings, order)],
        "volumes": [
            {"name": _ORDER, "secret": {"secretName": secret_name, "defaultMode": 0o440}},
            {"name": "work", "emptyDir": {"sizeLimit": str(chosen.storage_bytes)}},
            *_socket(settings)[0],
            *_cache(settings)[0],
        ],
        **_cache_owner(settings),
        **pods.placement(chosen),
    }
    if affinity := with_preference(chosen.affinity, name, nodes):
        spec["affinity"] = affinity
    template = {
        "metadata": {"labels": {**chosen.labels, **known}, "annotations": dict(chosen.annotations)},
        "spec": spec,
    }
    template = pods.merge(template, chosen.patch)
    # Whatever is patched, it is found again.
    template["metadata"]["labels"] |= known
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": known, "annotations": {f"{HOLD}{build_id}": "wanted"}},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(order.timeout_seconds + NET_SECONDS),
            "ttlSecondsAfterFinished": chosen.keep_seconds,
            "template": template,
        },
    }


def owned(secret_name: str, name: str, uid: str) -> dict[str, Any]:
    """What is merged into a Secret, so that the cluster removes it with its Job."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}
    return {"metadata": {"name": secret_name, "ownerReferences": [owner]}}


def secret_of(found: Mapping[str, Any]) -> str:
    """The name of the Secret that a Job's pod wants."""
    volumes = found["spec"]["template"]["spec"].get("volumes") or []
    return next((item["secret"]["secretName"] for item in volumes if item["name"] == _ORDER), "")


def _container(settings: KubernetesSettings, order: Order) -> dict[str, Any]:
    chosen = settings.build
    memory = chosen.memory_bytes
    return {
        "name": CONTAINER,
        "image": chosen.image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": name, "value": value} for name, value in _variables(settings).items()],
        "resources": {
            "limits": {"memory": str(memory), "cpu": f"{chosen.cpus:g}"},
            "requests": {
                "memory": str(min(chosen.memory_request_bytes, memory)),
                "cpu": f"{min(chosen.cpu_request, chosen.cpus):g}",
            },
        },
        "securityContext": _rights(settings),
        "volumeMounts": [
            {"name": _ORDER, "mountPath": str(FOLDER), "readOnly": True},
            {"name": "work", "mountPath": _WORK},
            *_socket(settings)[1],
            *_cache(settings)[1],
        ],
    }


def _variables(settings: KubernetesSettings) -> dict[str, str]:
    cached = {"BINDERY_JOB_CACHE": _CACHE} if _has_cache(settings) else {}
    return {"BINDERY_JOB_WORK": _WORK, **cached}


def _has_cache(settings: KubernetesSettings) -> bool:
    return settings.build.back_end is BuildBackEnd.BUILDAH and bool(settings.build.cache_path)


def _cache(settings: KubernetesSettings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volume and mount of the node's folder for layers."""
    if not _has_cache(settings):
        return [], []
    volume = {"name": "cache", "hostPath": {"path": settings.build.cache_path, "type": "DirectoryOrCreate"}}
    return [volume], [{"name": "cache", "mountPath": _CACHE}]


def _cache_owner(settings: KubernetesSettings) -> dict[str, Any]:
    """Gives that folder to the user who builds, for the kubelet makes it root's."""
    if not _has_cache(settings) or _is_root(settings):
        return {}
    rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}
    owner = {
        "name": "cache",
        "image": settings.build.image,
        "command": ["chown", f"{_USER}:{_USER}", _CACHE],
        "securityContext": {"runAsNonRoot": False, "runAsUser": 0, **rights},
        "volumeMounts": _cache(settings)[1],
    }
    return {"initContainers": [owner]}


def _is_root(settings: KubernetesSettings) -> bool:
    # A node's Docker socket is root's.
    chosen = settings.build
    return chosen.back_end is BuildBackEnd.DOCKER or (chosen.back_end is BuildBackEnd.BUILDAH and chosen.as_root)


def _pod_rights(settings: KubernetesSettings) -> dict[str, Any]:
    if _is_root(settings):
        return {"runAsUser": 0, "runAsGroup": 0}
    return {"runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER, "fsGroup": _USER}


def _rights(settings: KubernetesSettings) -> dict[str, Any]:
    """The least that each back end can do with.

    Buildah makes a user namespace with newuidmap and newgidmap, each of which takes one capability from its file; as
    root it makes one by itself, with the capabilities that containers usually have.
    """
    chosen = settings.build
    if chosen.back_end is BuildBackEnd.BUILDAH:
        if chosen.as_root:
            return {}
        return {"allowPrivilegeEscalation": True, "capabilities": {"drop": ["ALL"], "add": ["SETUID", "SETGID"]}}
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _socket(settings: KubernetesSettings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volume and mount of the node's Docker socket, where that builds."""
    chosen = settings.build
    if chosen.back_end is not BuildBackEnd.DOCKER or not chosen.address.startswith(_SOCKET):
        return [], []
    path = chosen.address.removeprefix(_SOCKET)
    volume = {"name": "docker", "hostPath": {"path": path, "type": "Socket"}}
    return [volume], [{"name": "docker", "mountPath": path}]
