"""The rendered overlays: probes, confinement, availability, and who may reach whom."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from catalogsync_common.settings import ListenAddress
from catalogsync_common.ssrf_guard import is_public

from tests.deploy.deployed import OVERLAYS, ROOT, SERVERS, deployed, overlay
from tests.deploy.kustomize import Manifest, containers_of, pod_of
from tests.monitoring.exported_metrics import exported_metrics

NAME = "app.kubernetes.io/name"
PREFIXES = {"catalog": "CATALOG", "connector": "CONNECTOR", "bff": "BFF"}
WORKLOADS = ("Deployment", "StatefulSet", "Job")
ADDRESSES = (
    "10.96.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "127.0.0.1", "169.254.169.254", "100.64.0.1",
    "100.100.100.200", "168.63.129.16", "0.0.0.0", "192.0.0.192", "198.18.0.1", "224.0.0.1", "255.255.255.255",
    "192.88.99.1", "203.0.113.7", "fd00::1", "fe80::1", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2001::1",
    "2001:db8::1", "2002:a00:1::", "3fff::1", "ff02::1",
    "8.8.8.8", "23.227.38.65", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4001::1",
)  # fmt: skip


def of_kind(name: str, *kinds: str) -> dict[str, Manifest]:
    """Return the objects of an overlay with these kinds, by name."""
    return {each["metadata"]["name"]: each for each in overlay(name) if each["kind"] in kinds}


def container(name: str, workload: str) -> Manifest:
    (found,) = containers_of(of_kind(name, *WORKLOADS)[workload])
    return found


def ports(of: Manifest) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in of["ports"]}


def environment(of: Manifest) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in of["env"]}


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("server", SERVERS)
def test_named_ports_are_those_of_the_settings(name: str, server: str) -> None:
    found = container(name, server)
    settings = {"http" if server == "bff" else "grpc": "LISTEN", "health": "HEALTH", "metrics": "METRICS"}
    listening = {
        port: ListenAddress(address).port
        for port, setting in settings.items()
        if (address := environment(found).get(f"{PREFIXES[server]}_{setting}_ADDRESS"))
    }
    assert ports(found) == listening


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("server", ["catalog", "connector"])
def test_grpc_probes_ask_the_plaintext_health_port(name: str, server: str) -> None:
    """The kubelet has no TLS for them. Liveness must not depend on the database: a restart does not repair it."""
    found = container(name, server)
    probed = {kind: found[f"{kind}Probe"]["grpc"] for kind in ("startup", "readiness", "liveness")}
    assert {probe["port"] for probe in probed.values()} == {ports(found)["health"]}
    services = {kind: probe.get("service", "") for kind, probe in probed.items()}
    assert services == {"startup": "liveness", "readiness": "", "liveness": "liveness"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_probes_of_the_bff(name: str) -> None:
    found = container(name, "bff")
    paths = {kind: found[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {kind: probe["path"] for kind, probe in paths.items()} == {
        "startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz",
    }  # fmt: skip
    assert {probe["port"] for probe in paths.values()} == {"http"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_services_lead_to_pods_and_ports_that_exist(name: str) -> None:
    workloads = of_kind(name, "Deployment", "StatefulSet")
    services = of_kind(name, "Service")
    assert services.keys() == workloads.keys()
    for service in services.values():
        (workload,) = (each for each in workloads.values() if selects(service["spec"]["selector"], each))
        (port,) = service["spec"]["ports"]
        assert port["targetPort"] in ports(containers_of(workload)[0])
    # gRPC clients balance calls over the addresses of all replicas.
    for grpc in ("catalog", "connector"):
        assert services[grpc]["spec"]["clusterIP"] == "None"
        (port,) = services[grpc]["spec"]["ports"]
        assert port["port"] == ports(container(name, grpc))["grpc"]


def selects(labels: Mapping[str, str], workload: Manifest) -> bool:
    pod = pod_of(workload)
    assert pod is not None
    return bool(labels.items() <= pod["metadata"]["labels"].items())


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_pod_is_admitted_by_the_restricted_policy(name: str) -> None:
    """The profile `restricted` of the Pod Security Standards, and a read-only file system."""
    (namespace,) = of_kind(name, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for workload in of_kind(name, *WORKLOADS).values():
        pod = pod_of(workload)
        assert pod is not None
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not spec["automountServiceAccountToken"]
        assert not spec["enableServiceLinks"]
        allowed = {"secret", "emptyDir"}
        assert all(volume.keys() - {"name"} <= allowed for volume in spec.get("volumes", ()))
        for each in containers_of(workload):
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not any("hostPort" in port for port in each.get("ports", ()))
            assert each["resources"]["requests"].keys() >= {"cpu", "memory"}
            assert "memory" in each["resources"]["limits"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_mounts_name_volumes_and_volumes_are_mounted(name: str) -> None:
    for workload in of_kind(name, *WORKLOADS).values():
        pod = pod_of(workload)
        assert pod is not None
        claims = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())]
        volumes = [*claims, *(volume["name"] for volume in pod["spec"].get("volumes", ()))]
        mounted = [mount["name"] for each in containers_of(workload) for mount in each["volumeMounts"]]
        assert sorted(mounted) == sorted(volumes)
        assert not any("subPath" in mount for each in containers_of(workload) for mount in each["volumeMounts"])


def test_production_survives_the_loss_of_a_node() -> None:
    deployments = of_kind("production", "Deployment")
    (scaler,) = of_kind("production", "HorizontalPodAutoscaler").values()
    scaled = scaler["spec"]["scaleTargetRef"]["name"]
    assert scaled == "catalog"
    # Applying the overlay would otherwise undo what the autoscaler has done.
    assert "replicas" not in deployments[scaled]["spec"]
    replicas = {
        name: each["spec"].get("replicas", scaler["spec"]["minReplicas"]) for name, each in deployments.items()
    }
    assert replicas == {"catalog": 3, "connector": 3, "bff": 3}
    budgets = of_kind("production", "PodDisruptionBudget")
    assert budgets.keys() == deployments.keys()
    for name, budget in budgets.items():
        assert budget["spec"]["maxUnavailable"] == 1
        assert selects(budget["spec"]["selector"]["matchLabels"], deployments[name])
    for name, deployment in deployments.items():
        pod = pod_of(deployment)
        assert pod is not None
        spread = {each["topologyKey"]: each for each in pod["spec"]["topologySpreadConstraints"]}
        assert spread.keys() == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}, name
        for each in spread.values():
            assert selects(each["labelSelector"]["matchLabels"], deployment)


def test_the_small_overlay_has_one_replica_of_each_and_nothing_that_hinders_a_drain() -> None:
    workloads = of_kind("small", "Deployment", "StatefulSet")
    assert {name: each["spec"]["replicas"] for name, each in workloads.items()} == dict.fromkeys(workloads, 1)
    # With one replica a budget would keep its node from being drained.
    assert of_kind("small", "PodDisruptionBudget") == {}


def test_the_autoscaler_follows_the_documented_rule_on_a_metric_that_catalog_svc_has() -> None:
    page = (ROOT / "docs" / "operations" / "deploy.md").read_text()
    (block,) = re.findall(r"```yaml\n(externalRules:.*?)```", page, re.DOTALL)
    (rule,) = yaml.safe_load(block)["externalRules"]
    series = rule["seriesQuery"].partition("{")[0]
    assert series in exported_metrics()
    assert f"({series}{{" in rule["metricsQuery"]
    (scaler,) = of_kind("production", "HorizontalPodAutoscaler").values()
    (metric,) = scaler["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_no_policy_allows_is_denied(name: str) -> None:
    """A pod that no policy selects could be reached by all, and reach all."""
    everything = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert of_kind(name, "NetworkPolicy")["default-deny"]["spec"] == everything


class Policies:
    """The network policies of an overlay."""

    def __init__(self, name: str) -> None:
        self._policies = of_kind(name, "NetworkPolicy")
        workloads = of_kind(name, *WORKLOADS)
        self._labels = {each: _pod_labels(workload) for each, workload in workloads.items()}
        self._ports = {
            each: {port["name"]: port["containerPort"] for port in containers_of(workload)[0].get("ports", ())}
            for each, workload in workloads.items()
        }
        self.pods = tuple(workloads)

    def allows(self, client: str, server: str, port: int) -> bool:
        """Return whether both the client's and the server's policies let a connection pass."""
        egress = any(
            self._has_port(rule, port) and self._names(rule.get("to", ()), server)
            for rule in self._rules(client, "egress")
        )
        ingress = any(
            self._has_port(rule, port, self._ports[server]) and self._names(rule.get("from", ()), client)
            for rule in self._rules(server, "ingress")
        )
        return egress and ingress

    def allows_outside(self, client: str, address: str, port: int) -> bool:
        """Return whether a pod may connect to an address that is no pod's."""
        return any(
            self._has_port(rule, port)
            and any(_contains(peer["ipBlock"], address) for peer in rule["to"] if "ipBlock" in peer)
            for rule in self._rules(client, "egress")
        )

    def _rules(self, pod: str, direction: str) -> Iterator[Manifest]:
        for policy in self._policies.values():
            spec = policy["spec"]
            if direction.capitalize() in spec["policyTypes"] and _matches(spec["podSelector"], self._labels[pod]):
                yield from spec.get(direction, ())

    def _names(self, peers: Any, pod: str) -> bool:
        return any(
            "podSelector" in peer
            and "namespaceSelector" not in peer
            and _matches(peer["podSelector"], self._labels[pod])
            for peer in peers
        )

    @staticmethod
    def _has_port(rule: Manifest, port: int, named: Mapping[str, int] | None = None) -> bool:
        numbers = [(named or {}).get(each["port"], each["port"]) for each in rule["ports"]]
        return port in numbers


def _pod_labels(workload: Manifest) -> Mapping[str, str]:
    pod = pod_of(workload)
    assert pod is not None
    labels: Mapping[str, str] = pod["metadata"]["labels"]
    return labels


def _matches(selector: Manifest, labels: Mapping[str, str]) -> bool:
    expressions = selector.get("matchExpressions", ())
    assert all(each["operator"] == "In" for each in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def _contains(block: Manifest, address: str) -> bool:
    ip, network = ip_address(address), ip_network(block["cidr"])
    return (
        ip.version == network.version
        and ip in network
        and not any(ip in ip_network(each) for each in block.get("except", ()))
    )


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_reach_those_that_they_call_and_no_others(name: str) -> None:
    policies = Policies(name)
    calls = {("bff", "catalog", 50051), ("catalog", "connector", 50052)}
    if name == "small":
        calls |= {("catalog", "postgres", 5432), ("migrate", "postgres", 5432)}
    allowed = {
        (client, server, port)
        for client in policies.pods
        for server in policies.pods
        for port in (5432, 8080, 9051, 9052, 9053, 50051, 50052, 50061, 50062)
        if policies.allows(client, server, port)
    }
    assert allowed == calls


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("address", ADDRESSES)
def test_the_network_allows_what_the_host_guard_allows(name: str, address: str) -> None:
    """The second layer of protection against a shop whose DNS leads inside."""
    policies = Policies(name)
    assert policies.allows_outside("connector", address, 443) == is_public(address)
    assert policies.allows_outside("bff", address, 443) == is_public(address)
    assert not policies.allows_outside("catalog", address, 443)


def test_in_production_the_database_is_in_a_private_network() -> None:
    policies = Policies("production")
    for pod in policies.pods:
        assert policies.allows_outside(pod, "10.1.2.3", 5432) == (pod in ("catalog", "migrate"))
        assert not policies.allows_outside(pod, "8.8.8.8", 5432)


@pytest.mark.parametrize("name", OVERLAYS)
def test_secrets_are_mounted_where_a_process_reads_them(name: str) -> None:
    """A Secret of one process is not mounted into another, except the CA of catalog_svc into the BFF."""
    mounted = {each.name: sorted(each.files.values()) for each in deployed(name).values()}
    tls = {"catalog": ["catalog-tls"], "connector": ["connector-tls"], "bff": ["catalog-tls"], "migrate": []}
    expected = {each: sorted([each, *(tls[each] if name == "production" else ())]) for each in tls}
    assert mounted == expected
    if name == "production":
        (volume,) = (each for each in deployed(name)["bff"].spec["volumes"] if each["name"] == "tls")
        assert volume["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_secret_is_created_by_the_commands_of_the_docs(name: str, secrets: Path) -> None:
    """Those of TLS come from a certificate authority."""
    page = (ROOT / "docs" / "operations" / "deploy.md").read_text()
    (names,) = re.findall(r"^for name in ([a-z ]+ migrate); do$", page, re.MULTILINE)
    created = {one: {file.name for file in (secrets / one).iterdir()} for one in names.split()}
    assert "kubectl -n catalogsync create secret generic $name --from-file=deploy/secrets/$name" in page
    assert (
        "create secret generic postgres --from-file=deploy/secrets/postgres --from-file=deploy/roles.sql" in page
    )
    created["postgres"] = {file.name for file in (secrets / "postgres").iterdir()} | {"roles.sql"}
    for workload in of_kind(name, *WORKLOADS).values():
        pod = pod_of(workload)
        assert pod is not None
        for volume in pod["spec"].get("volumes", ()):
            secret = volume.get("secret")
            if secret is None or secret["secretName"].endswith("-tls"):
                continue
            keys = {item["key"] for item in secret.get("items", ())}
            assert keys <= created[secret["secretName"]], secret
