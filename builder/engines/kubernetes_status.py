"""What the cluster says about a build's pod and Job, and what that means for the build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bindery.errors import BinderyError, BuildOutOfMemory, BuildTimedOut, EngineUnavailable
from bindery.pods import passing
from builder.engines.kubernetes_job import CONTAINER
from builder.job.records import Record, Verdict

#: Reasons for which a container that waits will go on waiting until an operator does something.
_STUCK = frozenset(
    {
        *("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerError", "RunContainerError"),
        "CreateContainerConfigError",
    }
)
_LINE = 300


@dataclass(frozen=True)
class BuildPod:
    """A build's pod. `waiting` is why its container does not run, `message` the words for that."""

    name: str
    uid: str
    phase: str
    node: str = ""
    started: bool = False
    unschedulable: str = ""
    waiting: str = ""
    message: str = ""
    ended: str = ""
    exit_code: int | None = None
    reason: str = ""
    last_words: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.phase in ("Succeeded", "Failed") or self.exit_code is not None

    @property
    def verdict(self) -> Verdict | None:
        """What the program said last, as far as the cluster keeps it."""
        record = Record.decode(self.last_words)
        return None if record is None else record.verdict


def read(pod: Mapping[str, Any]) -> BuildPod:
    """What counts of a pod as the API describes it."""
    status = pod.get("status") or {}
    found = [item for item in status.get("containerStatuses") or () if item["name"] == CONTAINER]
    state: Mapping[str, Any] = (found[0].get("state") or {}) if found else {}
    waiting, ended = _waiting(status) or state.get("waiting") or {}, state.get("terminated") or {}
    conditions = {item["type"]: item for item in status.get("conditions") or ()}
    placed = conditions.get("PodScheduled") or {}
    stuck = placed.get("status") == "False" and placed.get("reason") == "Unschedulable"
    return BuildPod(
        name=pod["metadata"]["name"],
        uid=pod["metadata"]["uid"],
        phase=status.get("phase", "Pending"),
        node=(pod.get("spec") or {}).get("nodeName") or "",
        started="running" in state or "terminated" in state,
        unschedulable=placed.get("message", "") if stuck else "",
        waiting=waiting.get("reason", ""),
        message=waiting.get("message") or status.get("message", ""),
        ended=ended.get("reason", ""),
        exit_code=ended.get("exitCode"),
        reason=status.get("reason", ""),
        last_words=ended.get("message", ""),
    )


def _waiting(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Why a container that comes before the build's does not run."""
    states = [item.get("state") or {} for item in status.get("initContainerStatuses") or ()]
    return next((state["waiting"] for state in states if "waiting" in state), {})


def stuck(pod: BuildPod, image: str) -> BinderyError | None:
    """Why the pod will never start as things are, if so."""
    if pod.waiting not in _STUCK or passing(pod.message):
        return None
    if "Image" in pod.waiting:
        return EngineUnavailable(
            f"The cluster cannot pull the builder's image {image}: {pod.message[:_LINE] or pod.waiting}",
            hint="The operator has to look at BINDERY_KUBERNETES__BUILD__IMAGE and at its pull secrets.",
        )
    return EngineUnavailable(
        f"The build's container cannot be made: {pod.message[:_LINE] or pod.waiting}",
        hint="The operator has to look at the settings of the builds' pods.",
    )


def unplaced(pod: BuildPod, seconds: float) -> BinderyError:
    """No node took the pod in time."""
    return EngineUnavailable(
        f"No node had room for the build within {seconds:g} seconds: {shortage(pod.unschedulable)}.",
        hint="Try again later. The operator can add nodes, or ask for less memory and fewer processors for builds.",
    )


def idle(pod: BuildPod, seconds: float) -> BinderyError:
    """The pod's node did not begin in time."""
    return EngineUnavailable(
        f"The node {pod.node or 'of the build'} did not begin within {seconds:g} seconds: "
        f"{pod.message[:_LINE] or pod.waiting or 'it gives no reason'}",
        hint="The operator has to look at the pod's events, and at what it mounts.",
    )


def shortage(message: str) -> str:
    """What the scheduler misses, without the count of nodes."""
    _, _, reasons = message.partition(": ")
    return (reasons or message).partition(" preemption:")[0].strip().rstrip(".")[:_LINE] or "no node took it"


def ending(pod: BuildPod, memory_bytes: int) -> BinderyError | None:
    """Why the cluster ended the pod, where trying again would not help."""
    if pod.ended == "OOMKilled":
        return out_of_memory(f"The build used up its memory of {memory_bytes / 2**20:.0f} MiB, so it was ended.")
    if pod.reason == "DeadlineExceeded":
        return BuildTimedOut("The build took longer than its Job may.")
    return None


def out_of_memory(words: str) -> BinderyError:
    """The error for a build that needed more memory than it has."""
    return BuildOutOfMemory(
        words,
        hint="Install less at a time, or wheels instead of sources. The operator can give builds more memory: "
        "BINDERY_KUBERNETES__BUILD__MEMORY_BYTES.",
    )


def timed_out(job: Mapping[str, Any]) -> bool:
    """Whether the cluster ended a Job because it took too long."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Failed" and item.get("reason") == "DeadlineExceeded" for item in conditions)
