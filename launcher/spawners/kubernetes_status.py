"""What the cluster says about a session's pod, reduced to what a spawner needs, and what it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bindery.errors import BinderyError, QuotaReached, SessionFailed
from bindery.pods import passing
from launcher.spawners.base import Running
from launcher.spawners.endings import KILLED, ended_with, too_much_memory
from launcher.spawners.kubernetes_pod import CONTAINER, SESSION_LABEL

#: Reasons for which a container that waits will wait for ever.
_HOPELESS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "InvalidImageName", "ErrImageNeverPull", "RunContainerError"}
)
_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"})
_MISSING_IMAGE = re.compile(r"not ?found|manifest unknown|does not exist", re.IGNORECASE)
_REFUSED_IMAGE = re.compile(r"unauthori[sz]ed|denied|forbidden|authentication required|no basic auth", re.IGNORECASE)
_LINE = 300


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod. `waiting` and `ended` are the container's reasons, `message` the words that go with what holds it up."""

    session: str
    uid: str
    phase: str
    address: str = ""
    deleting: bool = False
    placed: bool = False
    unplaceable: str = ""
    waiting: str = ""
    message: str = ""
    running: bool = False
    ended: str = ""
    exit_code: int | None = None
    #: Why the cluster ended the whole pod, such as Evicted or DeadlineExceeded.
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether it will never run again."""
        return self.phase in ("Succeeded", "Failed") or self.exit_code is not None

    @property
    def finished(self) -> bool:
        """Whether nothing of it is left but its name."""
        return self.deleting and not self.running


def read(pod: Mapping[str, Any]) -> PodView:
    """What counts of a pod as the API describes it."""
    metadata, status = pod["metadata"], pod.get("status", {})
    conditions = {item["type"]: item for item in status.get("conditions") or ()}
    placed = conditions.get("PodScheduled", {})
    state = _container(status).get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    stuck = placed.get("status") == "False" and placed.get("reason") == "Unschedulable"
    return PodView(
        session=metadata["labels"].get(SESSION_LABEL, ""),
        uid=metadata["uid"],
        phase=status.get("phase", "Pending"),
        address=status.get("podIP", ""),
        deleting="deletionTimestamp" in metadata,
        placed=placed.get("status") == "True",
        unplaceable=placed.get("message", "") if stuck else "",
        waiting=waiting.get("reason", ""),
        message=waiting.get("message") or status.get("message", ""),
        running="running" in state,
        ended=ended.get("reason", ""),
        exit_code=ended.get("exitCode"),
        reason=status.get("reason", ""),
    )


def _container(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found = [item for item in status.get("containerStatuses") or () if item["name"] == CONTAINER]
    return found[0] if found else {}


def running(pod: PodView) -> Running:
    """Whether the server is there. A pod that the cluster is removing serves nobody any more."""
    if pod.finished:
        return Running.MISSING
    if pod.over or pod.deleting:
        return Running.EXITED
    return Running.RUNNING if pod.running else Running.STARTING


def failure(pod: PodView, image: str, limit_bytes: int) -> BinderyError | None:
    """Why the pod ended or will never run, if so."""
    if pod.over:
        return _ended(pod, limit_bytes)
    if pod.deleting:
        return SessionFailed("The session's pod was removed from the cluster.", hint="Launch again.")
    if pod.waiting in _HOPELESS and not passing(pod.message):
        return SessionFailed(
            f"The session's container cannot be made: {pod.message[:_LINE] or pod.waiting}",
            hint="The operator has to look at the pods' settings.",
        )
    return unpullable(pod.message, image) if pod.waiting in _PULLING else None


def _ended(pod: PodView, limit_bytes: int) -> BinderyError:
    if pod.ended == "OOMKilled" and pod.exit_code == KILLED:
        return too_much_memory(limit_bytes)
    if pod.reason == "DeadlineExceeded":
        return SessionFailed("The session reached the longest time a pod may run.", hint="Launch again.")
    if pod.reason:
        return SessionFailed(
            f"The cluster ended the session ({pod.reason}): {pod.message[:_LINE]}", hint="Launch again."
        )
    return ended_with(pod.exit_code if pod.exit_code is not None else -1)


def unpullable(message: str, image: str) -> SessionFailed | None:
    """Why no node will ever get the image; None when trying again may help. `message` is the container runtime's."""
    if _REFUSED_IMAGE.search(message):
        return SessionFailed(
            f"The cluster may not pull the image {image}.",
            hint="The operator has to give the nodes a login, with image_pull_secrets.",
        )
    if _MISSING_IMAGE.search(message):
        return SessionFailed(f"The image {image} is not here any more.", hint="Launch again to build it anew.")
    return None


def shortage(message: str) -> str:
    """What the scheduler misses, without the count of nodes: `2 Insufficient memory, 1 node(s) had taints`."""
    _, _, reasons = message.partition(": ")
    return (reasons or message).partition(" preemption:")[0].strip().rstrip(".")[:_LINE]


def no_room(message: str) -> QuotaReached:
    """No node had room for the session in time."""
    return QuotaReached(
        f"The cluster has no room for another session: {shortage(message) or 'no node took it'}.",
        hint="Try again in a few minutes. The operator can add nodes, or look at node selectors and taints.",
    )
