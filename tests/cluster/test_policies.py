"""Who may reach whom. First it is shown that the matrix can fail: without the gateway's policies a stranger gets in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.kube import apply, get, kubectl, network_pod, reached, reaches, until
from tests.cluster.release import TAG, Release

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

THIRD = "ws402-third"
IMAGE = f"ws402-server:{TAG}"


def address(namespace: str, service: str) -> str:
    return str(get("-n", namespace, "service", service)["spec"]["clusterIP"])


@pytest.fixture(scope="module")
def strangers(release: Release) -> Iterator[dict[str, tuple[str, str]]]:
    """Pods that should reach nothing of the gateway: who, and where they are."""
    kubectl("create", "namespace", THIRD)
    where = {
        "unlabelled": (release.namespace, "stranger", {}),
        "of a third namespace": (THIRD, "stranger", {}),
        "labelled as a server in a third namespace": (THIRD, "impostor", release.labels("server")),
        "in the private namespace": (release.private, "stranger", {}),
        "labelled as a test": (release.namespace, "tester", release.labels("test")),
    }
    apply(*(network_pod(name, namespace, labels, IMAGE) for namespace, name, labels in where.values()))
    for namespace, name, _ in where.values():
        kubectl("-n", namespace, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    yield {who: (namespace, name) for who, (namespace, name, _) in where.items()}
    for namespace, name, _ in where.values():
        kubectl("-n", namespace, "delete", "pod", name, "--wait=false")
    kubectl("delete", "namespace", THIRD, "--wait=false")


def test_without_the_gateways_policies_a_stranger_reaches_it_so_the_matrix_can_fail(
    release: Release, strangers: dict[str, tuple[str, str]]
) -> None:
    gateway = address(release.private, f"{release.name}-gateway")
    stranger = strangers["of a third namespace"]
    assert not reaches(*stranger, gateway, 4029)
    policies = get("-n", release.private, "networkpolicies")
    kubectl("-n", release.private, "delete", "networkpolicies", "--all")
    try:
        until("the stranger gets in", lambda: reaches(*stranger, gateway, 4029), 30)
    finally:
        apply(*map(_clean, policies))
    until("the stranger is kept out again", lambda: not reaches(*stranger, gateway, 4029), 30)


def _clean(policy: dict[str, Any]) -> dict[str, Any]:
    kept = {
        name: policy["metadata"][name]
        for name in ("name", "namespace", "labels", "annotations")
        if name in policy["metadata"]
    }
    return {**policy, "metadata": kept}


def test_a_server_reaches_the_gateway(release: Release) -> None:
    gateway = f"{release.name}-gateway.{release.private}.svc"
    for pod in release.pods("server"):
        assert reaches(release.namespace, pod["metadata"]["name"], gateway, 4029)


def test_nobody_else_reaches_the_gateway(release: Release, strangers: dict[str, tuple[str, str]]) -> None:
    gateway = address(release.private, f"{release.name}-gateway")
    pod = release.pods("gateway")[0]["status"]["podIP"]
    for who, stranger in strangers.items():
        found = reached(*stranger, [(gateway, 4029), (pod, 4029), (pod, 9464)])
        assert not found, f"a pod {who} reaches {found}"


def test_a_server_reaches_nothing_but_the_gateway(release: Release, strangers: dict[str, tuple[str, str]]) -> None:
    """Neither the chain nor the API server, neither another pod nor the world; where Vault and databases would be."""
    server = release.pods("server")[0]["metadata"]["name"]
    devchain = address(release.namespace, f"{release.name}-devchain")
    kubernetes = address("default", "kubernetes")
    gateway = release.pods("gateway")[0]["status"]["podIP"]
    assert reaches(release.namespace, server, gateway, 4029)
    assert not reached(
        release.namespace, server, [(devchain, 8545), (kubernetes, 443), (gateway, 9464), ("1.1.1.1", 443)]
    )


def test_the_gateway_reaches_what_is_named_and_nothing_else(release: Release) -> None:
    pod = release.pods("gateway")[0]["metadata"]["name"]
    server = release.pods("server")[0]["status"]["podIP"]
    assert reaches(release.private, pod, address(release.namespace, f"{release.name}-devchain"), 8545)
    assert not reached(release.private, pod, [(server, 4030), (server, 9464), ("1.1.1.1", 443), ("1.1.1.1", 53)])


def test_it_all_still_works_with_the_policies_in_force(release: Release) -> None:
    for component in ("server", "gateway"):
        count = len(release.pods(component))
        time.sleep(1)
        release.ready(component, count)  # probes pass
    release.balanced()
