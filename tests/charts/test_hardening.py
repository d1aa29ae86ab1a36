"""What policy scanners ask of pods, roles and Services, for every example.

Rules of Pod Security `restricted`, kube-score, checkov (CKV_K8S_*), Polaris and Kubescape that concern a chart, save
those that exceptions.yaml names with a reason.
"""

from __future__ import annotations

import base64
import re

import pytest
from cryptography import x509
from tests.charts.chart import DEV, EXAMPLES, Document, kinds, one, pods, render

VOLUMES = {"configMap", "secret", "projected", "emptyDir", "persistentVolumeClaim"}


@pytest.fixture(params=EXAMPLES)
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return render(example=request.param)


def test_pods_are_restricted(documents: list[Document]) -> None:
    for name, pod in pods(documents):
        spec = pod["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert min(security["runAsUser"], security["runAsGroup"], security["fsGroup"]) >= 10_000, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostAliases"} & set(spec), name
        for volume in spec.get("volumes", []):
            assert set(volume) - {"name"} <= VOLUMES, name
            if "emptyDir" in volume:
                assert "sizeLimit" in volume["emptyDir"], name
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            inner = container["securityContext"]
            assert inner["allowPrivilegeEscalation"] is False, name
            assert inner["readOnlyRootFilesystem"] is True, name
            assert inner["capabilities"] == {"drop": ["ALL"]}, name
            assert not inner.get("privileged"), name
            assert all("hostPort" not in each and each["name"] for each in container.get("ports", [])), name


def test_pods_have_bounds_and_a_version(documents: list[Document]) -> None:
    for name, pod in pods(documents):
        for container in pod["spec"]["containers"]:
            for each in ("requests", "limits"):
                assert set(container["resources"][each]) == {"cpu", "memory", "ephemeral-storage"}, name
            assert re.search(r":[\w.-]+(@sha256:|$)", container["image"]), name
            assert not container["image"].endswith(":latest"), name


def test_no_pod_holds_a_token_that_it_does_not_need(documents: list[Document]) -> None:
    for each in kinds(documents, "ServiceAccount"):
        assert each["automountServiceAccountToken"] is False
    tokens = {}
    for name, pod in pods(documents):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["serviceAccountName"] not in ("", "default"), name
        assert spec["enableServiceLinks"] is False, name
        tokens[name] = {
            source["serviceAccountToken"].get("audience", "the API server")
            for volume in spec.get("volumes", [])
            for source in volume.get("projected", {}).get("sources", [])
            if "serviceAccountToken" in source
        }
    assert tokens["Deployment/ws402-server"] == {"ws402-gateway"}
    assert tokens.get("Deployment/ws402-devchain", set()) == set()
    assert tokens["Pod/ws402-test-isolation"] == set()


def test_nobody_gets_rights_but_operators(documents: list[Document]) -> None:
    assert not kinds(documents, "ClusterRole", "ClusterRoleBinding")
    for role in kinds(documents, "Role"):
        if role["metadata"]["labels"]["app.kubernetes.io/component"] == "server":
            (rule,) = role["rules"]
            assert (rule["resources"], rule["verbs"]) == (["configmaps"], ["get"])
            assert len(rule["resourceNames"]) == 1, "the authority's certificate, and nothing else"
            continue
        assert role["rules"] == [
            {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["create"]},
        ]
        assert role["metadata"]["namespace"] == "ws402-private"
    for binding in kinds(documents, "RoleBinding"):
        assert all(each["kind"] != "ServiceAccount" for each in binding["subjects"])


def test_a46_no_secret_is_in_an_environment_a_config_map_or_a_command_line(documents: list[Document]) -> None:
    for name, pod in pods(documents):
        for container in pod["spec"]["containers"]:
            assert "envFrom" not in container, name
            for each in container.get("env", []):
                assert "valueFrom" not in each, name
    secrets = {
        base64.b64decode(value).decode()
        for each in kinds(documents, "Secret")
        for key, value in each["data"].items()
        if not key.endswith(".crt")
    }
    for each in documents:
        if each["kind"] != "Secret":
            shown = str(each)
            assert not any(secret in shown for secret in secrets), each["metadata"]["name"]
            assert "PRIVATE KEY" not in shown, each["metadata"]["name"]


def test_probes_differ_and_name_ports(documents: list[Document]) -> None:
    for name, pod in pods(documents):
        if name.startswith("Pod/"):
            continue
        container = pod["spec"]["containers"][0]
        ports = {each["name"] for each in container["ports"]}
        probes = [container[f"{each}Probe"] for each in ("startup", "readiness", "liveness")]
        for probe in probes:
            action = probe.get("httpGet") or probe["tcpSocket"]
            assert action["port"] in ports, name
        if "devchain" not in name:
            assert len({probe["httpGet"]["path"] for probe in probes}) == 3, name


def test_many_stay_up_through_evictions_and_are_spread(documents: list[Document]) -> None:
    budgets = kinds(documents, "PodDisruptionBudget")
    for each in kinds(documents, "Deployment", "StatefulSet"):
        name, spec = each["metadata"]["name"], each["spec"]["template"]["spec"]
        if name == "ws402-devchain":
            continue  # one pod in memory: an eviction ends its chain, and a budget could only block the drain
        (budget,) = [b for b in budgets if b["metadata"]["name"] == name]
        assert budget["spec"]["selector"] == each["spec"]["selector"], name
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow", name
        assert {c["topologyKey"] for c in spec["topologySpreadConstraints"]} >= {"kubernetes.io/hostname"}, name
        assert "podAntiAffinity" in spec["affinity"], name
    server = one(documents, "Deployment", "ws402-server")
    scalers = kinds(documents, "HorizontalPodAutoscaler", "ScaledObject")
    assert len(scalers) + ("replicas" in server["spec"]) == 1, "one says how many, not two"


def test_clients_come_over_tls(documents: list[Document]) -> None:
    for each in kinds(documents, "Ingress"):
        assert each["spec"]["tls"][0]["secretName"]
        assert each["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "3600"


def test_the_link_is_encrypted_unless_somebody_says_no() -> None:
    def toml(documents: list[Document]) -> str:
        return "".join(str(each["data"]) for each in kinds(documents, "ConfigMap"))

    assert "https://ws402-gateway.ws402-private.svc:4029" in toml(render())
    mesh = toml(render({**DEV, "tls": {"mode": "none"}}))
    assert "http://ws402-gateway.ws402-private.svc:4029" in mesh
    assert "tls_cert" not in mesh


def test_mutual_tls_is_turned_on_in_two_steps() -> None:
    """First the servers get a certificate, which nobody asks for; then the gateway asks, and they stay as they are."""

    def shown(tls: dict[str, bool], component: str) -> str:
        maps = {each["metadata"]["name"]: each["data"] for each in kinds(render({**DEV, "tls": tls}), "ConfigMap")}
        return str(maps[f"ws402-{component}"])

    first, second = {"clientCertificate": True}, {"clientCertificate": True, "mutual": True}
    assert "gateway_client_cert_file" not in shown({}, "server")
    assert "gateway_client_cert_file" in shown(first, "server")
    assert shown(first, "server") == shown(second, "server") == shown({"mutual": True}, "server")
    assert "gateway_tls_client_ca_file" not in shown(first, "gateway")
    assert shown(first, "gateway") == shown({}, "gateway")
    assert "gateway_tls_client_ca_file" in shown(second, "gateway")
    secrets = {each["metadata"]["name"] for each in kinds(render({**DEV, "tls": first}), "Secret")}
    assert "ws402-server-client-tls" in secrets


def test_generated_certificates_are_for_the_names_that_servers_call() -> None:
    documents = render({**DEV, "tls": {"mutual": True}})
    data = {each["metadata"]["name"]: each["data"] for each in kinds(documents, "Secret", "ConfigMap")}
    secret = {name: base64.b64decode(value) for name, value in data["ws402-gateway-tls"].items()}
    authority = x509.load_pem_x509_certificate(secret["ca.crt"])
    assert data["ws402-server-gateway-ca"]["ca.crt"].strip() == secret["ca.crt"].decode().strip()
    client = x509.load_pem_x509_certificate(base64.b64decode(data["ws402-server-client-tls"]["tls.crt"]))
    gateway = x509.load_pem_x509_certificate(secret["tls.crt"])
    for each in (gateway, client):
        each.verify_directly_issued_by(authority)
    names = gateway.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "ws402-gateway.ws402-private.svc" in names.get_values_for_type(x509.DNSName)
    assert "ca.key" not in secret, "the authority's key is thrown away"
