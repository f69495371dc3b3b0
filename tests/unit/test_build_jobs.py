"""Jobs of builds as they are described, and what the cluster's and the Job's own words mean."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bindery.cluster import Cluster
from bindery.errors import BuildOutOfMemory, BuildTimedOut, ClusterRefused, EngineUnavailable
from bindery.settings import BuildBackEnd, KubernetesSettings
from builder.engines import kubernetes_status as status
from builder.engines.kubernetes_job import HOLD, Parcel, job, job_name, secret
from builder.engines.kubernetes_jobs import Jobs, holders
from builder.engines.kubernetes_placement import ranked, with_preference
from builder.job import buildah, buildkit, cache, memory
from builder.job.back_end import Site
from builder.job.buildah_progress import BuildahProgress
from builder.job.order import Order
from builder.job.records import LAST_WORDS_BYTES, Reason, Record, Speaker, Verdict
from builder.told import marks
from db.event_log import LoggedEvent

ORDER = Order(
    context="registry.example.org/bindery-context:x",
    target="registry.example.org/image:1",
    reads=("/srv/env/bindery.json",),
    build_args={"HTTPS_PROXY": "http://user:password@proxy:3128"},
    labels={"bindery.version": "1"},
)


def described(**build: Any) -> dict[str, Any]:
    settings = KubernetesSettings.model_validate({"build": {"image": "builder:1", **build}})
    return job(settings, "bindery-build-1", "bindery-build-1-ab", ORDER, "b1", ())


def pod_of(found: dict[str, Any]) -> dict[str, Any]:
    return dict(found["spec"]["template"]["spec"])


class TestNames:
    def test_the_same_image_is_made_by_the_same_job(self) -> None:
        assert job_name("bindery", "a:1", "FROM x") == job_name("bindery", "a:1", "FROM x")
        assert len({job_name("bindery", *words) for words in (("a:1", "x"), ("a:2", "x"), ("a:1", "y"))}) == 3

    def test_a_name_fits_into_a_label(self) -> None:
        name = job_name("a" * 41, "b:1", "")
        assert len(name) <= 63
        assert name.replace("-", "").isalnum()


class TestJob:
    def test_it_runs_once_within_limits_and_without_the_api(self) -> None:
        found = described(memory_bytes=512 * 2**20, memory_request_bytes=2**40, cpus=1.5, keep_seconds=60)
        spec, pod = found["spec"], pod_of(found)
        assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (0, 60)
        assert spec["activeDeadlineSeconds"] > ORDER.timeout_seconds
        assert (pod["restartPolicy"], pod["automountServiceAccountToken"]) == ("Never", False)
        resources = pod["containers"][0]["resources"]
        assert resources["limits"] == {"memory": str(512 * 2**20), "cpu": "1.5"}
        assert resources["requests"]["memory"] == str(512 * 2**20)
        assert found["metadata"]["annotations"] == {f"{HOLD}b1": "wanted"}
        assert holders(found) == ["b1"]

    def test_buildah_gets_two_capabilities_and_no_root(self) -> None:
        pod = pod_of(described())
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["SETUID", "SETGID"]}
        assert pod_of(described(as_root=True))["securityContext"]["runAsUser"] == 0

    def test_a_client_of_buildkit_gets_nothing(self) -> None:
        pod = pod_of(described(back_end="buildkit", address="tcp://buildkit:1234"))
        rights = pod["containers"][0]["securityContext"]
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert rights["allowPrivilegeEscalation"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True

    def test_only_the_docker_back_end_sees_the_nodes_socket(self) -> None:
        pod = pod_of(described(back_end="docker", address="unix:///run/docker.sock"))
        assert [volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume] == ["/run/docker.sock"]
        assert not any("hostPath" in volume for volume in pod_of(described())["volumes"])

    def test_a_folder_of_the_node_is_given_to_the_user_who_builds(self) -> None:
        pod = pod_of(described(cache_path="/var/cache/bindery"))
        assert pod["initContainers"][0]["command"] == ["chown", "1000:1000", "/cache"]
        assert pod["initContainers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
        assert any(volume.get("hostPath", {}).get("path") == "/var/cache/bindery" for volume in pod["volumes"])
        assert "initContainers" not in pod_of(described())

    def test_the_operator_has_the_last_word_but_for_labels(self) -> None:
        patch = {"metadata": {"labels": {"app.kubernetes.io/component": "x"}}, "spec": {"hostUsers": False}}
        found = described(patch=patch, node_selector={"pool": "builds"}, tolerations=[{"operator": "Exists"}])
        assert pod_of(found)["hostUsers"] is False
        assert pod_of(found)["nodeSelector"] == {"pool": "builds"}
        assert pod_of(found)["tolerations"] == [{"operator": "Exists"}]
        assert found["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "build"

    def test_what_is_secret_is_in_the_secret_alone(self) -> None:
        parcel = Parcel(ORDER, b'{"auths": {}}', {"bindery-settings": b"UV_DEFAULT_INDEX=https://u:p@index"})
        made = secret(KubernetesSettings(), "x", parcel, "b")
        assert set(made["data"]) == {"order.json", "config.json", "secret-bindery-settings"}
        assert "password" not in json.dumps(described())


class TestPlacement:
    NODES = tuple(f"node-{number}" for number in range(10))

    def test_a_key_prefers_the_same_nodes_whoever_asks(self) -> None:
        assert ranked("a", self.NODES) == ranked("a", self.NODES[::-1])
        assert {ranked(str(key), self.NODES)[0] for key in range(200)} == set(self.NODES)

    def test_a_node_that_goes_moves_only_its_own_keys(self) -> None:
        fewer = self.NODES[1:]
        for key in map(str, range(100)):
            if ranked(key, self.NODES)[0] != "node-0":
                assert ranked(key, fewer)[0] == ranked(key, self.NODES)[0]

    def test_it_is_a_wish_beside_the_operators_rules(self) -> None:
        rules = {"podAntiAffinity": {"x": 1}, "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}
        found = with_preference(rules, "key", self.NODES)
        assert found["podAntiAffinity"] == {"x": 1}
        assert "requiredDuringSchedulingIgnoredDuringExecution" in found["nodeAffinity"]
        terms = found["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        assert [term["weight"] for term in terms] == [100, 50]
        assert rules["nodeAffinity"] == {"requiredDuringSchedulingIgnoredDuringExecution": {}}

    def test_where_there_is_no_choice_nothing_is_said(self) -> None:
        assert with_preference({}, "key", ["one"]) == {}


class TestStatus:
    def test_what_holds_a_build_up_is_explained(self) -> None:
        waiting = pod(waiting={"reason": "ImagePullBackOff", "message": 'Back-off pulling image "b:1"'})
        problem = status.stuck(waiting, "b:1")
        assert isinstance(problem, EngineUnavailable)
        assert "cannot pull the builder's image b:1" in problem.message
        assert status.stuck(pod(waiting={"reason": "ContainerCreating"}), "b:1") is None

    def test_what_holds_up_the_container_before_it_counts_too(self) -> None:
        state = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}
        later = {"waiting": {"reason": "PodInitializing"}}
        found = status.read(
            {
                "metadata": {"name": "p", "uid": "u"},
                "status": {
                    "initContainerStatuses": [{"name": "cache", "state": state}],
                    "containerStatuses": [{"name": "build", "state": later}],
                },
            }
        )
        assert status.stuck(found, "b:1") is not None

    @pytest.mark.parametrize("message", ['secret "x-1" not found', "failed to sync secret cache: timed out waiting"])
    def test_a_secret_that_is_not_there_yet_is_waited_for(self, message: str) -> None:
        waiting = pod(waiting={"reason": "CreateContainerConfigError", "message": message})
        assert status.stuck(waiting, "b:1") is None

    def test_what_no_node_has_is_named(self) -> None:
        message = "0/3 nodes are available: 3 Insufficient memory. preemption: 0/3 nodes are available."
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        found = pod(conditions=[condition])
        assert "within 5 seconds: 3 Insufficient memory." in status.unplaced(found, 5).message

    def test_a_node_that_does_nothing_is_not_waited_for_without_end(self) -> None:
        found = pod(waiting={"reason": "ContainerCreating"})
        assert "did not begin within 600 seconds: ContainerCreating" in status.idle(found, 600).message

    def test_endings_that_have_a_cure(self) -> None:
        killed = pod(terminated={"reason": "OOMKilled", "exitCode": 137})
        problem = status.ending(killed, 256 * 2**20)
        assert isinstance(problem, BuildOutOfMemory)
        assert "256 MiB" in problem.message
        assert "MEMORY_BYTES" in problem.hint
        assert isinstance(status.ending(pod(reason="DeadlineExceeded"), 1), BuildTimedOut)
        assert status.ending(pod(reason="Evicted"), 1) is None

    def test_the_last_words_are_read_where_the_log_is_lost(self) -> None:
        words = Speaker(lambda line: None).end(Verdict(Reason.DISK, "no space"))
        ended = pod(terminated={"reason": "Error", "exitCode": 1, "message": words})
        assert ended.over
        assert ended.verdict is not None
        assert ended.verdict.reason is Reason.DISK
        assert pod(terminated={"exitCode": 1, "message": "Traceback"}).verdict is None


class TestRecords:
    def test_they_come_back_as_they_were(self) -> None:
        verdict = Verdict(Reason.STEP, "words", "output", {"/a": b"\x00\xff"})
        record = Record(3, 1.5, verdict=verdict)
        assert Record.decode(record.encode()) == record
        assert Record.decode(Record(4, 1.0, "é\n").encode()) == Record(4, 1.0, "é\n")

    @pytest.mark.parametrize("line", ["", "Killed", "[1]", "3", '{"n": 1}', '{"n": "x", "t": 1}'])
    def test_what_others_write_is_none(self, line: str) -> None:
        assert Record.decode(line) is None

    def test_last_words_fit_where_little_is_kept(self) -> None:
        said: list[str] = []
        words = Speaker(said.append).end(Verdict(Reason.STEP, "é" * 9000, "x" * 9000, {"/a": b"x" * 9000}))
        assert len(words.encode()) <= LAST_WORDS_BYTES
        short, whole = Record.decode(words), Record.decode(said[0])
        assert short is not None
        assert short.verdict is not None
        assert short.verdict.reason is Reason.STEP
        assert whole is not None
        assert whole.verdict is not None
        assert len(whole.verdict.output) == 9000

    def test_a_log_goes_on_after_the_last_line_that_was_told(self) -> None:
        lines = ["a:1", "a:2", "b:7", "", "a:x", "b:1"]
        events = [LoggedEvent(number, json.dumps({"message": "", "at": at})) for number, at in enumerate(lines)]
        assert marks([LoggedEvent(0, '{"message": ""}'), *events]) == {"a": 2, "b": 1}


class TestBackEnds:
    SITE = Site(Path("/w"), Path("/w/context"), Path("/w/recipe/Dockerfile"), {"ca": Path("/s/ca")}, Path("/l"), {})

    def test_an_order_comes_back_as_it_was(self) -> None:
        assert Order.from_json(ORDER.to_json()) == ORDER

    def test_buildahs_command_line_has_no_values_of_arguments(self) -> None:
        words = buildah.build_words(ORDER, self.SITE)
        assert words[:3] == ["build", "--isolation", "chroot"]
        assert words[words.index("--build-arg") + 1] == "HTTPS_PROXY"
        assert words[words.index("--secret") + 1] == "id=ca,src=/s/ca"
        assert words[-1] == "/w/context"
        assert "--layers=false" in words
        assert words[words.index("--cap-drop") + 1] == "CAP_SYS_CHROOT"

    def test_buildahs_cache_is_in_the_registry(self) -> None:
        words = buildah.build_words(Order("c:1", "r/i:1", cache="r/cache"), self.SITE)
        assert words[words.index("--cache-to") + 1] == words[words.index("--cache-from") + 1] == "r/cache"

    def test_only_named_registries_are_spoken_to_in_the_clear(self) -> None:
        text = buildah.registry_settings(replace(ORDER, plain_http=("10.0.0.1:5000",)))
        assert 'location = "10.0.0.1:5000"\ninsecure = true' in text
        assert "insecure" not in buildah.registry_settings(replace(ORDER, plain_http=()))

    def test_images_of_ours_are_reached_through_the_relay(self) -> None:
        order = replace(ORDER, target="r.io/team/i:1", cache="r.io/team/c", relay="relay:8586", location="r.io/team")
        read = tomllib.loads(buildah.registry_settings(order))["registry"]
        assert {"prefix": "r.io/team", "location": "relay:8586/team", "insecure": True} in read
        words = buildah.build_words(order, self.SITE)
        assert words[words.index("--cache-to") + 1] == "relay:8586/team/c"
        assert words[words.index("--tag") + 1] == "r.io/team/i:1"
        assert order.reached(order.target) == "relay:8586/team/i:1"

    def test_buildkits_command_line(self) -> None:
        order = Order(
            "c:1",
            "r.example.org:5000/i:1",
            BuildBackEnd.BUILDKIT,
            "tcp://buildkit:1234",
            build_args={"A": "b"},
            labels={"l": "m"},
            plain_http=("r.example.org:5000",),
            cache="r.example.org:5000/cache",
        )
        words = buildkit.build_words(order, self.SITE)
        assert words[:5] == ["--addr", "tcp://buildkit:1234", "build", "--frontend", "dockerfile.v0"]
        assert "build-arg:A=b" in words
        assert "label:l=m" in words
        assert "id=ca,src=/s/ca" in words
        assert words[-1] == "type=image,name=r.example.org:5000/i:1,push=true,registry.insecure=true"
        exported = words[words.index("--export-cache") + 1]
        assert exported.startswith("type=registry,ref=r.example.org:5000/cache,mode=max")

    def test_buildahs_own_words_are_told_apart(self) -> None:
        progress = BuildahProgress(headings=True)
        lines = [
            ("STEP 1/2: FROM docker.io/library/debian:12", "Step 1/2: FROM docker.io/library/debian:12\n"),
            ("Trying to pull docker.io/library/debian:12...", "Bringing docker.io/library/debian:12\n"),
            ("Getting image source signatures", None),
            ("Copying blob sha256:0123", None),
            ("hello", "hello\n"),
            ("10 %\r20 %\r100 %", "100 %\n"),
            ('time="2026-01-01" level=warning msg="x"', None),
            ('Error: building at STEP "RUN false": while running runtime: exit status 66', None),
        ]
        for line, told in lines:
            assert progress.read(f"{line}\n") == told
        assert list(progress.output) == ["hello\n", "100 %\n"]
        assert "exit code: 66" in progress.words[0]

    def test_the_first_job_of_a_node_is_alone_with_its_folder_until_it_shares_it(self, tmp_path: Path) -> None:
        with cache.used(tmp_path / "cache") as first:
            assert first.alone
            first.share()
            with cache.used(tmp_path / "cache") as second:
                assert not second.alone
        with cache.used(tmp_path / "cache") as third:
            assert third.alone

    def test_kills_for_memory_are_counted_in_both_kinds_of_control_groups(self, tmp_path: Path) -> None:
        second, first = tmp_path / "memory.events", tmp_path / "memory.oom_control"
        first.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
        assert memory.kills((second, first)) == 2
        second.write_text("low 0\noom 1\noom_kill 3\n")
        assert memory.kills((second, first)) == 3
        assert memory.kills((tmp_path / "none",)) == 0
        (tmp_path / "max").write_text("max\n")
        (tmp_path / "limit").write_text("268435456\n")
        assert memory.limit((tmp_path / "max", tmp_path / "limit")) == 268435456
        assert memory.limit((tmp_path / "max",)) is None


def pod(
    *,
    waiting: dict[str, Any] | None = None,
    terminated: dict[str, Any] | None = None,
    conditions: list[dict[str, Any]] | None = None,
    reason: str = "",
) -> status.BuildPod:
    state = {"waiting": waiting} if waiting else {"terminated": terminated} if terminated else {}
    return status.read(
        {
            "metadata": {"name": "p", "uid": "u"},
            "status": {
                "phase": "Pending",
                "reason": reason,
                "conditions": conditions or [],
                "containerStatuses": [{"name": "build", "state": state}],
            },
        }
    )


class JobEndsMeanwhile(Cluster):
    """A cluster in which the Job changes just before it is removed, and may be held by another build then."""

    def __init__(self, taken: bool) -> None:
        super().__init__(KubernetesSettings(namespace="builds"))
        self.taken = taken
        self.version = 1
        self.there = True

    async def ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """What the API says of the one Job that there is."""
        if method == "DELETE":
            if more["body"]["preconditions"]["resourceVersion"] != str(self.version):
                raise ClusterRefused("the object has been modified", answer=409, reason="Conflict")
            self.there = False
            return {}
        held = {f"{HOLD}another": "wanted"} if self.taken and method == "GET" else {}
        answer = {"metadata": {"name": "job", "resourceVersion": str(self.version), "annotations": held}}
        if method == "PATCH":
            self.version += 1
        return answer


@pytest.mark.parametrize("taken", [False, True])
async def test_a_job_that_ends_as_it_is_released_is_removed_unless_it_was_taken(taken: bool) -> None:
    cluster = JobEndsMeanwhile(taken)
    await Jobs(cluster, KubernetesSettings()).release("job", "b1")
    assert cluster.there == taken
