"""A session's pod, what the cluster says of it, and what its visitor reads."""

from __future__ import annotations

from typing import Any

import pytest

from bindery.errors import BinderyError
from bindery.settings import MIB, KubernetesSettings, SessionSettings
from launcher.spawners.base import Running, SessionRequest
from launcher.spawners.kubernetes_pod import Place, describe, pod_name, token_secret
from launcher.spawners.kubernetes_status import PodView, failure, read, running
from launcher.spawners.kubernetes_steps import Steps

REQUEST = SessionRequest("o-r-1234", "registry.example/i:1", "/user/o-r-1234/", "s3cret", {"A": "$(HOME) $$"})
LIMIT = 2048 * MIB
NO_MEMORY = "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had taints that the pod didn't tolerate."


def described(**session: object) -> dict[str, Any]:
    settings = KubernetesSettings.model_validate({"session": session})
    return describe(REQUEST, Place(settings, SessionSettings(memory_bytes=LIMIT, cpus=1.5)), "bindery-o-r-1234")


def pod(phase: str = "Pending", *, deleting: bool = False, conditions: Any = (), **state: Any) -> PodView:
    metadata: dict[str, Any] = {"name": "p", "uid": "u", "labels": {}}
    if deleting:
        metadata["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    statuses = [{"name": "session", "state": state}] if state else []
    status = {"phase": phase, "podIP": "10.0.0.1", "conditions": list(conditions), "containerStatuses": statuses}
    return read({"metadata": metadata, "status": status})


def placed(truth: str = "True", **more: str) -> list[dict[str, str]]:
    return [{"type": "PodScheduled", "status": truth, **more}]


SINCE = {"startedAt": "2030-01-01T00:00:00Z"}


class TestPod:
    def test_it_is_what_restricted_namespaces_accept(self) -> None:
        spec = described()["spec"]
        container = spec["containers"][0]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["restartPolicy"] == "Never"

    def test_it_asks_for_less_than_it_may_use(self) -> None:
        resources = described()["spec"]["containers"][0]["resources"]
        assert resources == {
            "limits": {"memory": str(LIMIT), "cpu": "1.5"},
            "requests": {"memory": str(512 * MIB), "cpu": "0.1"},
        }

    def test_the_token_is_in_its_secret_only(self) -> None:
        assert REQUEST.token not in str(described())
        place = Place(KubernetesSettings(), SessionSettings())
        secret = token_secret(REQUEST, place, "bindery-o-r-1234", "the-uid")
        assert secret["stringData"] == {"token": REQUEST.token}
        assert secret["metadata"]["ownerReferences"][0]["uid"] == "the-uid"

    def test_the_token_is_read_from_a_file_which_nodes_try_again_soon(self) -> None:
        spec = described()["spec"]
        container = spec["containers"][0]
        assert {"name": "secret", "secret": {"secretName": "bindery-o-r-1234"}} in spec["volumes"]
        assert {"name": "secret", "mountPath": "/run/bindery", "readOnly": True} in container["volumeMounts"]
        assert {"name": "JUPYTER_TOKEN_FILE", "value": "/run/bindery/token"} in container["env"]
        assert all("valueFrom" not in variable for variable in container["env"])

    def test_nothing_is_expanded_in_variables_and_arguments(self) -> None:
        container = described()["spec"]["containers"][0]
        assert {"name": "A", "value": "$$(HOME) $$$$"} in container["env"]
        assert "$(" not in str(container["args"]).replace("$$", "")

    def test_what_the_operator_says_is_merged_last_but_hides_no_session(self) -> None:
        patch = {
            "metadata": {"name": "other", "labels": {"app.kubernetes.io/component": "other", "team": "a"}},
            "spec": {
                "enableServiceLinks": None,
                "containers": [{"name": "session", "env": [{"name": "A", "value": "b"}]}, {"name": "helper"}],
            },
        }
        found = described(patch=patch, node_selector={"pool": "users"})
        assert found["metadata"]["name"] == "bindery-o-r-1234"
        assert found["metadata"]["labels"]["app.kubernetes.io/component"] == "session"
        assert found["metadata"]["labels"]["team"] == "a"
        assert "enableServiceLinks" not in found["spec"]
        assert found["spec"]["nodeSelector"] == {"pool": "users"}
        first, second = found["spec"]["containers"]
        assert {"name": "A", "value": "b"} in first["env"]
        assert first["image"] == REQUEST.image
        assert second == {"name": "helper"}

    @pytest.mark.parametrize("session", ["", "../../etc", "a" * 61, "-a", "a_", "a b", "a\n"])
    def test_names_that_no_session_can_have(self, session: str) -> None:
        assert pod_name("bindery", session) is None

    def test_names_are_names_of_hosts_and_collide_for_nobody(self) -> None:
        assert pod_name("bindery", "o-r-1234") == "bindery-o-r-1234"
        names = {pod_name("bindery", name) for name in ("o_r-1", "o.r-1", "O-r-1", "o-r-1", "o-" + "r" * 58)}
        assert len(names) == 5
        assert all(name and len(name) <= 63 and name == name.lower() and "_" not in name for name in names)


class TestStatus:
    @pytest.mark.parametrize(
        ("view", "state"),
        [
            (pod(), Running.STARTING),
            (pod(conditions=placed(), waiting={"reason": "ContainerCreating"}), Running.STARTING),
            (pod("Running", running=SINCE), Running.RUNNING),
            (pod("Running", deleting=True, running=SINCE), Running.EXITED),
            (pod("Failed", terminated={"exitCode": 3, "reason": "Error"}), Running.EXITED),
            (pod("Failed", deleting=True, terminated={"exitCode": 3}), Running.MISSING),
            (pod(deleting=True), Running.MISSING),
        ],
    )
    def test_whether_it_runs(self, view: PodView, state: Running) -> None:
        assert running(view) is state

    @pytest.mark.parametrize(
        ("view", "words"),
        [
            (pod("Failed", terminated={"exitCode": 137, "reason": "OOMKilled"}), "more than its 2048 MiB"),
            (pod("Failed", terminated={"exitCode": 3, "reason": "Error"}), "exit code 3"),
            (pod("Running", deleting=True, running=SINCE), "removed from the cluster"),
            (pod(waiting={"reason": "ErrImagePull", "message": "x: not found"}), "not here any more"),
            (pod(waiting={"reason": "ImagePullBackOff", "message": "401 Unauthorized"}), "may not pull"),
            (pod(waiting={"reason": "CreateContainerConfigError", "message": "no such key"}), "no such key"),
            (pod(waiting={"reason": "InvalidImageName", "message": ""}), "InvalidImageName"),
        ],
    )
    def test_why_it_never_will(self, view: PodView, words: str) -> None:
        found = failure(view, "i:1", LIMIT)
        assert found is not None
        assert words in found.message

    @pytest.mark.parametrize(
        "view",
        [
            pod(),
            pod("Running", running=SINCE),
            pod(waiting={"reason": "ErrImagePull", "message": "dial tcp: i/o timeout"}),
            pod(waiting={"reason": "CreateContainerConfigError", "message": 'secret "bindery-o-r-1" not found'}),
            pod(
                waiting={
                    "reason": "CreateContainerConfigError",
                    "message": "failed to sync secret cache: timed out waiting for the condition",
                }
            ),
        ],
    )
    def test_what_may_pass(self, view: PodView) -> None:
        assert failure(view, "i:1", LIMIT) is None


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def steps(clock: Clock) -> Steps:
    return Steps("i:1", wait_seconds=300, pull_seconds=600, clock=clock)


class TestSteps:
    def test_each_step_is_told_once(self, steps: Steps, clock: Clock) -> None:
        for view in (pod(), pod(conditions=placed()), pod(conditions=placed())):
            steps.see(view)
        steps.hear({"reason": "Pulling", "message": 'Pulling image "i:1"'})
        clock.now = 2.5
        steps.hear({"reason": "Pulled", "message": 'Successfully pulled image "i:1" in 2.4s'})
        steps.see(pod("Running", conditions=placed(), running=SINCE))
        assert steps.lines == [
            "Found a node for the server.",
            "The node fetches the image i:1...",
            "The image is there after 2.5 s.",
            "The server starts; waiting for its first answer...",
        ]
        assert steps.failure is None

    def test_a_full_cluster_says_what_it_lacks_and_gives_up_in_the_end(self, steps: Steps, clock: Clock) -> None:
        full = pod(conditions=placed("False", reason="Unschedulable", message=NO_MEMORY))
        steps.see(full)
        assert "1 Insufficient memory, 2 node(s) had taints" in steps.lines[0]
        clock.now = 299
        assert steps.overdue(full) is None
        clock.now = 301
        error = steps.overdue(full)
        assert error is not None
        assert "Insufficient memory" in error.message
        assert error.retryable

    def test_an_image_that_cannot_be_had_is_told_apart_from_a_bad_moment(self, steps: Steps) -> None:
        steps.hear({"reason": "Failed", "message": "Failed to pull image: dial tcp: i/o timeout"})
        assert "i/o timeout" in steps.lines[0]
        assert steps.failure is None
        steps.hear({"reason": "Failed", "message": "Failed to pull image: manifest unknown"})
        assert isinstance(steps.failure, BinderyError)

    def test_a_node_that_does_not_begin_is_not_waited_for_for_ever(self, steps: Steps, clock: Clock) -> None:
        waiting = pod(conditions=placed(), waiting={"reason": "ContainerCreating"})
        clock.now = 200
        steps.see(waiting)
        clock.now = 799
        assert steps.overdue(waiting) is None
        clock.now = 801
        assert steps.overdue(waiting) is not None
        assert steps.overdue(pod("Running", conditions=placed(), running=SINCE)) is None

    def test_what_passes_by_itself_is_not_told(self, steps: Steps) -> None:
        for reason in ('secret "bindery-o-r-1234" not found', "failed to sync secret cache: timed out waiting"):
            steps.hear({"reason": "FailedMount", "message": f'MountVolume.SetUp failed for volume "secret" : {reason}'})
        assert steps.lines == []

    def test_a_noisy_cluster_does_not_flood_the_visitor(self, steps: Steps) -> None:
        for number in range(1000):
            steps.hear({"reason": "FailedMount", "message": f"{number}"})
        assert len(steps.lines) <= 40
