"""The way of one session's pod to its server, as its visitor reads it, from what the cluster says happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bindery.errors import BinderyError, SessionFailed
from bindery.pods import passing
from launcher.spawners.kubernetes_status import PodView, no_room, shortage, unpullable

#: Lines that one visitor reads at most.
MOST = 40
_LINE = 300


@dataclass
class Steps:
    """One session's lines, and what they lead to.

    `wait_seconds` and `pull_seconds` are how long a place and an image may take.
    """

    image: str
    wait_seconds: float
    pull_seconds: float
    clock: Callable[[], float] = time.monotonic
    lines: list[str] = field(default_factory=list)
    failure: BinderyError | None = None
    _placed: bool = False
    _running: bool = False
    _pulling_since: float | None = None
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self._since = self.clock()

    def see(self, pod: PodView) -> None:
        """The pod is now like this."""
        if pod.unplaceable and not self._placed:
            self._say(f"No node has room right now: {shortage(pod.unplaceable)}. Waiting for one...")
        if pod.placed and not self._placed:
            self._placed, self._since = True, self.clock()
            self._say("Found a node for the server.")
        if pod.waiting == "ErrImagePull" and pod.message:
            self._not_pulled(pod.message)
        if pod.running and not self._running:
            self._running = True
            self._say("The server starts; waiting for its first answer...")

    def hear(self, event: Mapping[str, Any]) -> None:
        """The cluster reports this."""
        reason, message = event.get("reason"), str(event.get("message", ""))
        if reason == "Pulling":
            self._pulling_since = self.clock()
            self._say(f"The node fetches the image {self.image}...")
        elif reason == "Pulled":
            self._pulled(message)
        elif reason == "Failed" and "pull" in message:
            self._not_pulled(message)
        elif reason in ("FailedMount", "FailedCreatePodSandBox") and not passing(message):
            self._say(f"The node has difficulties: {message[:_LINE]}")

    def overdue(self, pod: PodView) -> BinderyError | None:
        """Why the visitor need not wait any longer, if it took too long."""
        waited = self.clock() - self._since
        if not pod.placed and waited > self.wait_seconds:
            return no_room(pod.unplaceable)
        if pod.placed and not pod.running and waited > self.pull_seconds:
            return slow(self.image, self.pull_seconds)
        return None

    def _pulled(self, message: str) -> None:
        if "already present" in message:
            self._say("The node has the image.")
        elif self._pulling_since is not None:
            self._say(f"The image is there after {self.clock() - self._pulling_since:.1f} s.")

    def _not_pulled(self, message: str) -> None:
        self.failure = self.failure or unpullable(message, self.image)
        if self.failure is None:
            self._say(f"The image could not be fetched, trying again: {message[:_LINE]}")

    def _say(self, line: str) -> None:
        if len(self.lines) < MOST and line not in self.lines:
            self.lines.append(line)


def slow(image: str, seconds: float) -> BinderyError:
    """The node did not begin in time."""
    return SessionFailed(
        f"The node did not start {image} within {seconds:g} seconds.",
        hint="Try again in a few minutes. The operator can look at the node, and at the way to the registry.",
    )
