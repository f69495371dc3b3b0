"""The chart, rendered by Helm with many values: what must hold of every object, and what values change."""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bindery.rights import BUILDS, SESSIONS, Right
from bindery.settings import Settings
from bindery.settings_table import rows
from tests.support.chart_docs import CHART
from tests.support.helm import Manifest, Refusal, lint, pod_specs, render
from tests.support.kubernetes_models import faults

EVERYTHING: dict[str, Any] = {
    "imagePullSecrets": [{"name": "pull"}],
    "image": {"digest": "sha256:" + "a" * 64},
    "registry": {"existingSecret": "login"},
    "web": {"autoscaling": {"enabled": True}, "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]},
    "proxy": {"autoscaling": {"enabled": True}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "hosts": ["binder.example.org"],
        "tls": [{"hosts": ["binder.example.org"], "secretName": "certificate"}],
    },
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["binder.example.org"]},
    "resourceQuota": {"enabled": True, "hard": {"pods": "500"}},
    "priorityClasses": {"create": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prePuller": {"enabled": True, "images": ["registry.example.org/runtime:1"]},
    "networkPolicy": {"registry": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]},
    "sessionHosts": {"enabled": True, "domain": "sessions.example.org", "tlsSecretName": "wildcard"},
    "settings": {"session": {"idle_seconds": 600}, "limits": {"most_waiting": 50}},
}
TRIAL: dict[str, Any] = {
    "registry": {"url": ""},
    "database": {"existingSecret": ""},
    "trial": {"registry": {"enabled": True}, "postgresql": {"enabled": True}},
}
SMALL: dict[str, Any] = {
    "proxy": {"enabled": False},
    "migration": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "rbac": {"create": False},
    "settings": {"base_url": "/binder/"},
}
SETS = {"defaults": {}, "everything": EVERYTHING, "trial": TRIAL, "small": SMALL}


@pytest.fixture(scope="module", params=SETS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(SETS[request.param])


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def containers(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for owner, spec in pod_specs(manifests):
        for each in [*spec["containers"], *spec.get("initContainers", [])]:
            yield f"{owner}: {each['name']}", each


def told(manifests: list[Manifest], role: str) -> dict[str, str]:
    """The variables of a role's pods, as the cluster gives them to the program."""
    spec = one(manifests, "Deployment", f"b-bindery-{role}")["spec"]["template"]["spec"]
    variables = [each for each in spec["containers"][0]["env"] if "value" in each]
    assert len(variables) == len({each["name"] for each in variables})
    return {each["name"]: each["value"].replace("$$", "$") for each in variables}


class TestEveryObject:
    def test_names_are_told_apart(self, manifests: list[Manifest]) -> None:
        names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
        assert len(names) == len(set(names))

    def test_all_carry_the_labels(self, manifests: list[Manifest]) -> None:
        for each in manifests:
            labels = each["metadata"]["labels"]
            assert labels["app.kubernetes.io/name"] == "bindery"
            assert labels["app.kubernetes.io/instance"] == "b-bindery"

    def test_no_pod_has_more_rights_than_it_needs(self, manifests: list[Manifest]) -> None:
        for owner, spec in pod_specs(manifests):
            rights = spec["securityContext"]
            assert rights["runAsNonRoot"] is True, owner
            assert rights["runAsUser"] == 1000, owner
            assert rights["seccompProfile"] == {"type": "RuntimeDefault"}, owner
            assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), owner
            assert spec["enableServiceLinks"] is False, owner
            assert not any("hostPath" in volume for volume in spec.get("volumes", [])), owner

    def test_no_container_has_more_rights_than_it_needs(self, manifests: list[Manifest]) -> None:
        for name, each in containers(manifests):
            rights = each["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False, name
            assert rights["readOnlyRootFilesystem"] is True, name
            assert rights["capabilities"] == {"drop": ["ALL"]}, name
            assert each["resources"]["limits"]["memory"], name
            assert each["resources"]["requests"], name

    def test_only_who_asks_the_cluster_has_a_token(self, manifests: list[Manifest]) -> None:
        having = {owner for owner, spec in pod_specs(manifests) if spec["automountServiceAccountToken"]}
        assert having == {"Deployment b-bindery-web", "Deployment b-bindery-worker"}

    def test_rights_are_of_one_namespace_and_of_workers_alone(self, manifests: list[Manifest]) -> None:
        assert not {"ClusterRole", "ClusterRoleBinding"} & {each["kind"] for each in manifests}
        roles = [each for each in manifests if each["kind"] == "Role"]
        for role in roles:
            assert all("*" not in [*rule["resources"], *rule["verbs"]] for rule in role["rules"])
        bound = [each["subjects"] for each in manifests if each["kind"] == "RoleBinding"]
        assert bound in ([], [[{"kind": "ServiceAccount", "name": "b-bindery-worker", "namespace": "binder"}]])

    def test_secrets_are_in_secrets_alone(self, manifests: list[Manifest]) -> None:
        for each in manifests:
            assert each["kind"] == "Secret" or "postgresql://" not in json.dumps(each)
        for name, each in containers(manifests):
            for variable in each.get("env", []):
                secret = re.search(r"DATABASE__URL|TOKEN|SECRET|PASSWORD", variable["name"])
                assert not secret or "secretKeyRef" in variable["valueFrom"], name

    def test_selectors_find_the_pods_they_are_for(self, manifests: list[Manifest]) -> None:
        for each in manifests:
            if each["kind"] in ("Deployment", "StatefulSet", "DaemonSet"):
                wanted = each["spec"]["selector"]["matchLabels"]
                assert wanted.items() <= each["spec"]["template"]["metadata"]["labels"].items()
            if each["kind"] == "Service":
                assert "app.kubernetes.io/component" in each["spec"]["selector"]


class TestPublishedTypes:
    def test_every_object_is_what_its_version_says(self, manifests: list[Manifest]) -> None:
        found = zip(manifests, faults(manifests), strict=True)
        assert {f"{each['kind']} {each['metadata']['name']}": wrong for each, wrong in found if wrong} == {}

    def test_a_wrong_value_and_an_unknown_name_are_seen(self) -> None:
        route = one(render(EVERYTHING), "HTTPRoute", "b-bindery")
        rule = route["spec"]["rules"][0]
        rule["timeouts"] = {"request": "none"}
        rule["backendRef"] = rule.pop("backendRefs")[:1]
        [[wrong, *unknown]] = faults([route])
        assert "timeouts/request must match pattern" in wrong
        assert "/spec/rules/0/backendRef is unknown" in unknown


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_the_linter_is_content(values: dict[str, Any]) -> None:
    assert "0 chart(s) failed" in lint(values)


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_the_pods_settings_are_settings(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for row in rows():
        monkeypatch.delenv(row.variable, raising=False)
    for name, value in told(render(values), "worker").items():
        if name.startswith("BINDERY_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("BINDERY_DATABASE__URL", "postgresql://h/d")
    settings = Settings()
    assert settings.engine.value == "kubernetes"
    assert settings.kubernetes.instance == "b-bindery"
    assert settings.database.url.get_secret_value() == "postgresql://h/d"
    assert settings.database.migrate is (values in (SMALL, TRIAL))
    assert settings.registry.url.startswith("b-bindery-registry.binder.svc" if values is TRIAL else "registry.example")
    if values is EVERYTHING:
        assert settings.session.idle_seconds == 600
        assert settings.session.host == "{name}.sessions.example.org"
        assert settings.kubernetes.session.image_pull_secrets == ("pull", "login")
        assert settings.kubernetes.build.priority_class == "b-bindery-build"


class TestValues:
    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"wep": {}}, "Additional property wep is not allowed"),
            ({"settings": {"session": {"idle_secondz": 1}}}, "idle_secondz is not allowed"),
            ({"settings": {"session": {"idle_seconds": "soon"}}}, "Expected: number"),
            ({"web": {"replicas": 0}}, "web.replicas: Must be greater than or equal to 1"),
            ({"image": {"digest": "latest"}}, "image.digest: Does not match pattern"),
            ({"registry": {"url": ""}}, "registry.url is needed"),
            ({"builder": {"image": ""}}, "builder.image is needed"),
            ({"database": {"existingSecret": ""}}, "database.url or database.existingSecret is needed"),
            ({"ingress": {"enabled": True}}, "ingress.hosts is needed"),
            ({"sessionHosts": {"enabled": True}}, "sessionHosts.domain is needed"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_wrong_ones_are_refused_in_words(self, values: dict[str, Any], words: str) -> None:
        with pytest.raises(Refusal) as refused:
            render(values)
        assert words in refused.value.text

    def test_the_schema_knows_all_defaults(self) -> None:
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        known = json.loads((CHART / "values.schema.json").read_text())["properties"]
        assert set(known) - {"global"} == set(values)

    def test_the_workers_role_is_what_they_need_and_nothing_else(self) -> None:
        rules = one(render({}), "Role", "b-bindery-worker")["rules"]
        allowed = {
            Right(verb, kind, part, group)
            for rule in rules
            for group in rule["apiGroups"]
            for kind, _, part in (named.partition("/") for named in rule["resources"])
            for verb in rule["verbs"]
        }
        assert allowed == {*BUILDS, *SESSIONS}

    def test_secrets_that_are_there_are_used_and_none_made(self) -> None:
        found = render({"secrets": {"existingSecret": "mine"}})
        assert [each for each in found if each["kind"] == "Secret"] == []
        (web,) = [spec for owner, spec in pod_specs(found) if owner.endswith("-web")]
        named = {
            each["valueFrom"]["secretKeyRef"]["name"] for each in web["containers"][0]["env"] if "valueFrom" in each
        }
        assert named == {"mine", "bindery-database"}

    def test_keys_are_made_at_random(self) -> None:
        made = [one(render({}), "Secret", "b-bindery-secrets")["data"] for _ in range(2)]
        keys = {base64.b64decode(value) for data in made for value in data.values()}
        assert len(keys) == 4
        assert all(len(key) == 48 for key in keys)

    @pytest.mark.parametrize(("proxy", "carrier"), [(True, "b-bindery-proxy"), (False, "b-bindery-web")])
    def test_traffic_goes_to_proxies_where_there_are_some(self, proxy: bool, carrier: str) -> None:
        found = render({**EVERYTHING, "proxy": {"enabled": proxy}})
        paths = one(found, "Ingress", "b-bindery")["spec"]["rules"][0]["http"]["paths"]
        assert paths[0]["backend"]["service"]["name"] == carrier
        rules = one(found, "HTTPRoute", "b-bindery")["spec"]["rules"]
        assert rules[0]["backendRefs"][0]["name"] == carrier
        assert paths[-1]["backend"]["service"]["name"] == rules[-1]["backendRefs"][0]["name"] == "b-bindery-web"

    @pytest.mark.parametrize(("proxy", "carrier"), [(True, "b-bindery-proxy"), (False, "b-bindery-web")])
    def test_a_host_for_each_session_needs_one_static_route(self, proxy: bool, carrier: str) -> None:
        found = render({**EVERYTHING, "proxy": {"enabled": proxy}})
        rule = one(found, "Ingress", "b-bindery")["spec"]["rules"][-1]
        (path,) = rule["http"]["paths"]
        assert (rule["host"], path["path"]) == ("*.sessions.example.org", "/user/")
        assert path["backend"]["service"]["name"] == carrier
        route = one(found, "HTTPRoute", "b-bindery-sessions")["spec"]
        assert route["hostnames"] == ["*.sessions.example.org"]
        assert route["rules"][0]["backendRefs"][0]["name"] == carrier

    def test_variables_of_the_operators_own_win(self) -> None:
        more = [{"name": "BINDERY_LOG_JSON", "value": "false"}]
        found = render({"web": {"extraEnv": more}})
        assert told(found, "web")["BINDERY_LOG_JSON"] == "false"
        assert told(found, "worker")["BINDERY_LOG_JSON"] == "true"

    def test_settings_reach_the_program_as_they_are_written(self) -> None:
        banner = 'costs $(HOME) or $5, "$$": ü'
        site = json.loads(told(render({"settings": {"site": {"banner": banner}}}), "web")["BINDERY_SITE"])
        assert site == {"banner": banner}

    def test_pods_start_anew_for_another_database(self) -> None:
        values = [{"database": {"existingSecret": "", "url": f"postgresql://h/{name}"}} for name in "aab"]
        first, same, other = [
            one(render(each), "Deployment", "b-bindery-web")["spec"]["template"]["metadata"] for each in values
        ]
        assert first == same != other

    def test_hooks_leave_nothing_behind(self) -> None:
        hooks = [each["metadata"] for each in render({"database": {"existingSecret": "", "url": "postgresql://h/d"}})]
        hooks = [each for each in hooks if "helm.sh/hook" in each.get("annotations", {})]
        assert {each["name"] for each in hooks} == {"b-bindery-migration"}
        assert all("hook-succeeded" in each["annotations"]["helm.sh/hook-delete-policy"] for each in hooks)

    def test_probes_are_asked_below_the_prefix(self) -> None:
        (web,) = [spec for owner, spec in pod_specs(render(SMALL)) if owner.endswith("-web")]
        assert web["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/binder/health/ready"

    def test_pods_that_carry_sessions_have_time_to_let_them_go_on(self) -> None:
        specs = dict(pod_specs(render({"shutdown": {"delaySeconds": 7, "drainSeconds": 300}})))
        times = {owner.split("-")[-1]: spec.get("terminationGracePeriodSeconds") for owner, spec in specs.items()}
        assert (times["web"], times["proxy"], times["worker"]) == (337, 337, 37)

    def test_and_as_much_as_the_settings_say(self) -> None:
        values = {"settings": {"shutdown": {"drain_seconds": 600.5}}}
        specs = dict(pod_specs(render(values)))
        times = {owner.split("-")[-1]: spec.get("terminationGracePeriodSeconds") for owner, spec in specs.items()}
        assert (times["web"], times["proxy"], times["worker"]) == (636, 636, 35)
        shutdown = told(render(values), "web")["BINDERY_SHUTDOWN"]
        assert json.loads(shutdown) == {"delay_seconds": 5, "drain_seconds": 600.5}


@functools.cache
def _policies() -> dict[str, Any]:
    found = [each for each in render(EVERYTHING) if each["kind"] == "NetworkPolicy"]
    return {each["metadata"]["name"].removeprefix("b-bindery-"): each["spec"] for each in found}


class TestNetwork:
    @pytest.fixture
    def policies(self) -> dict[str, Any]:
        return _policies()

    def test_nothing_is_allowed_at_first(self, policies: dict[str, Any]) -> None:
        deny = policies["default-deny"]
        assert deny["policyTypes"] == ["Ingress", "Egress"]
        assert not {"ingress", "egress"} & deny.keys()

    def test_sessions_reach_names_and_the_public_internet_alone(self, policies: dict[str, Any]) -> None:
        dns, public = policies["session"]["egress"]
        assert {port["port"] for port in dns["ports"]} == {53}
        blocked = public["to"][0]["ipBlock"]["except"]
        for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"):
            assert network in blocked
        assert public["to"][1]["ipBlock"]["cidr"] == "2000::/3"

    def test_only_the_service_comes_to_sessions(self, policies: dict[str, Any]) -> None:
        (rule,) = policies["session"]["ingress"]
        (source,) = rule["from"]
        assert "namespaceSelector" not in source
        assert source["podSelector"]["matchExpressions"][0]["values"] == ["web", "worker", "proxy"]

    def test_builds_reach_the_registry_through_the_workers(self, policies: dict[str, Any]) -> None:
        _, _, relay = policies["build"]["egress"]
        assert relay["ports"] == [{"port": 8586}]
        (worker,) = relay["to"]
        assert worker["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "worker"
        assert "ingress" not in policies["build"]
        _, coming = policies["service"]["ingress"]
        assert coming["ports"] == [{"port": 8586}]
        (build,) = coming["from"]
        assert build["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "build"

    @pytest.mark.parametrize(
        "values",
        [
            {"builder": {"relay": {"enabled": False}}},
            {"settings": {"kubernetes": {"build": {"back_end": "buildkit", "address": "tcp://buildkitd:1234"}}}},
        ],
    )
    def test_without_it_builds_reach_the_registry_themselves(self, values: dict[str, Any]) -> None:
        manifests = render({**EVERYTHING, **values})
        build = one(manifests, "NetworkPolicy", "b-bindery-build")["spec"]
        assert {"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]} in build["egress"]
        assert len(one(manifests, "NetworkPolicy", "b-bindery-service")["spec"]["ingress"]) == 1
        assert "8586" not in json.dumps(manifests)

    def test_builds_are_told_where_the_workers_are(self) -> None:
        manifests = render({})
        settings = json.loads(told(manifests, "worker")["BINDERY_KUBERNETES"])
        assert settings["build"]["relay_address"] == "b-bindery-worker.binder.svc:8586"
        ports = one(manifests, "Service", "b-bindery-worker")["spec"]["ports"]
        assert {"name": "relay", "port": 8586, "targetPort": "relay"} in ports
        assert len(one(manifests, "Service", "b-bindery-web")["spec"]["ports"]) == 1

    def test_a_database_of_ours_is_ours_alone(self) -> None:
        spec = one(render(TRIAL), "NetworkPolicy", "b-bindery-postgresql")["spec"]
        (rule,) = spec["ingress"]
        assert rule["from"][0]["podSelector"]["matchExpressions"][0]["values"] == ["web", "worker", "proxy"]
        assert "egress" not in spec


def test_every_template_is_small() -> None:
    long = [path.name for path in Path(CHART / "templates").iterdir() if len(path.read_text().splitlines()) > 200]
    assert long == []
