"""Kubeconfigs of tests: the tests' own cluster, reached in another way or by somebody with fewer rights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml
from yarl import URL

from bindery.cluster import Cluster
from bindery.errors import ClusterRefused
from tests.support.cluster import cluster


def server() -> URL:
    """Where the cluster's API is."""
    return URL(str(_current()["clusters"][0]["cluster"]["server"]))


def through(port: int, path: Path) -> Path:
    """The same login, by way of a loopback port; the server's name is not checked there."""
    found = _current()
    way = found["clusters"][0]["cluster"]
    way.pop("certificate-authority-data", None)
    way.pop("certificate-authority", None)
    way |= {"server": str(server().with_host("127.0.0.1").with_port(port)), "insecure-skip-tls-verify": True}
    return _written(found, path)


async def limited(rules: list[dict[str, Any]], path: Path) -> Path:
    """The login of a service account that may do in the tests' namespace what the rules say, and nothing else."""
    name, namespace = "limited", cluster().namespace
    async with Cluster(cluster().settings()) as api:
        roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        metadata = {"metadata": {"name": name}}
        await _made(api, accounts, metadata)
        await _made(api, f"{roles}/roles", {**metadata, "rules": rules})
        await _made(api, f"{roles}/rolebindings", {**metadata, "subjects": [subject], "roleRef": role})
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        made = await api.ask("POST", f"{accounts}/{name}/token", body=asked)
    found = _current()
    found["users"][0]["user"] = {"token": made["status"]["token"]}
    return _written(found, path)


async def _made(api: Cluster, path: str, body: dict[str, Any]) -> None:
    try:
        await api.ask("POST", path, body=body)
    except ClusterRefused as problem:
        if problem.answer != 409:
            raise


def _current() -> dict[str, Any]:
    """The tests' kubeconfig with nothing but its current context."""
    whole: dict[str, Any] = yaml.safe_load(cluster().kubeconfig.read_text())
    found = copy.deepcopy(whole)
    context = next(item for item in whole["contexts"] if item["name"] == whole["current-context"])
    names = {"clusters": context["context"]["cluster"], "users": context["context"]["user"]}
    found["contexts"] = [context]
    for kind, name in names.items():
        found[kind] = [item for item in copy.deepcopy(whole[kind]) if item["name"] == name]
    return found


def _written(found: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(found))
    path.chmod(0o600)
    return path
