"""Who may install, and in which order: an account with rights in two namespaces only, and a Secret that comes first."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.kube import apply, get, helm, kubectl, run
from tests.cluster.release import CHART, IMAGES

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

TRIAL = [f"--values={CHART}/examples/kind/values.yaml", "--set=server.replicas=1", *IMAGES]
THEIRS = "--set=gateway.namespace.create=false"
GATEWAY_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"  # known to everybody


@pytest.fixture
def tenant(cluster: None) -> Iterator[str]:
    """A namespace, and `…-private` beside it; all that is installed goes with them."""
    name = f"tenant-{secrets.token_hex(3)}"
    for each in (name, f"{name}-private"):
        kubectl("create", "namespace", each)
    yield name
    kubectl("delete", "namespace", name, f"{name}-private", "--wait=false")


@pytest.fixture
def deployer(tenant: str, tmp_path: Path) -> str:
    """A kubeconfig of an account that is admin of the two namespaces and nothing else."""
    kubectl("-n", tenant, "create", "serviceaccount", "deployer")
    for each in (tenant, f"{tenant}-private"):
        account = f"--serviceaccount={tenant}:deployer"
        kubectl("-n", each, "create", "rolebinding", "deployer", "--clusterrole=admin", account)
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    token = kubectl("-n", tenant, "create", "token", "deployer").strip()
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    return str(path)


def api_server() -> str:
    """The value that the deployer is told by whoever runs the cluster."""
    slices = get("-n", "default", "endpointslice", "kubernetes")
    (address,) = slices["endpoints"][0]["addresses"]
    peers = [{"cidr": f"{address}/32", "ports": [slices["ports"][0]["port"]]}]
    return f"--set-json=gateway.egress.apiServer={json.dumps(peers)}"


def test_an_admin_of_two_namespaces_installs_and_upgrades(tenant: str, deployer: str) -> None:
    install = ["ws402", CHART, "-n", tenant, *TRIAL, THEIRS, api_server(), f"--kubeconfig={deployer}"]
    said = helm("install", *install, "--wait", "--timeout=90s")
    assert "STATUS: deployed" in said
    private = f"{tenant}-private"
    assert f"kubectl label --overwrite namespace {tenant}-private" in said, "the labels are missing"
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": private, "labels": _restricted()}})
    assert "WARNING" not in helm("upgrade", *install)


def _restricted() -> dict[str, str]:
    return {f"pod-security.kubernetes.io/{each}": "restricted" for each in ("enforce", "audit", "warn")}


def test_what_such_an_account_may_not_ask_is_told_with_the_value_that_answers_it(tenant: str, deployer: str) -> None:
    programs = ["helm", *(["helm4"] if shutil.which("helm4") else [])]
    for program in programs:
        command = [program, "install", "ws402", CHART, "-n", tenant, *TRIAL, f"--kubeconfig={deployer}"]
        said = run(*command, THEIRS, "--dry-run=server", check=False)
        assert "Set gateway.egress.apiServer, such as" in said
        elsewhere = "--set=gateway.namespace.name=elsewhere"
        said = run(*command, THEIRS, elsewhere, api_server(), "--dry-run=server", check=False)
        assert "This account may not read" in said
    assert not get("-n", tenant, "deployments"), "nothing is half installed"


def test_the_secret_may_come_first_and_its_namespace_with_it(tenant: str) -> None:
    content = [f"--from-literal=merchant_private_key={GATEWAY_KEY}", "--from-literal=base_rpc=http://rpc.example"]
    kubectl("-n", f"{tenant}-private", "create", "secret", "generic", "ws402-gateway", *content)
    values = {
        "secrets": {"source": "existingSecret", "existingSecret": "ws402-gateway"},
        "gateway": {"egress": {"rpc": [{"cidr": "203.0.113.0/24", "ports": [443]}]}},
        "server": {"autoscaling": {"mode": "none"}, "replicas": 1},
    }
    for verb in ("install", "upgrade"):
        command = [verb, "ws402", CHART, "-n", tenant, "-f", "-", *IMAGES]
        said = helm(*command, stdin=json.dumps(values))
        assert "STATUS: deployed" in said
        assert "WARNING" in said
    annotations = get("namespace", f"{tenant}-private")["metadata"].get("annotations", {})
    assert "meta.helm.sh/release-name" not in annotations, "it stays theirs"
