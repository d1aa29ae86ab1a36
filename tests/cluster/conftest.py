"""The cluster of KUBECONFIG, and the release that most tests share. Tests run in the order of `ORDER`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator

import pytest
from tests.cluster.kube import helm, kubectl, token
from tests.cluster.release import CHART, Release

ORDER = (
    "test_newcomer",
    "test_operators",
    "test_policies",
    "test_intruders",
    "test_no_secrets_out",
    "test_many_sessions",
    "test_postgres",
    "test_vault",
    "test_whole_play",
    "test_deployers",
    "test_keeping",
    "test_expired_token",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ours in this order, after whatever else runs."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return ORDER.index(name) if item.path.parent.name == "cluster" and name in ORDER else -1

    items.sort(key=place)


@pytest.fixture(scope="session")
def cluster() -> None:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set: no Kubernetes cluster to install on")
    for tool in ("kubectl", "helm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on the PATH")
    kubectl("version")


@pytest.fixture(scope="session")
def bare(cluster: None) -> Iterator[Release]:
    """The shared release, to be installed by the README's commands; it is gone in the end."""
    shared = Release()
    for namespace in (shared.namespace, shared.private):  # those of a run before may still be going
        if "Terminating" in kubectl("get", "namespace", namespace, "--ignore-not-found"):
            kubectl("wait", "--for=delete", f"namespace/{namespace}", "--timeout=120s", timeout=130)
    yield shared
    for load in shared.loads:
        load.stop()
    if os.environ.get("WS402_KEEP") != "1":
        shared.uninstall()
        kubectl("delete", "namespace", shared.namespace, shared.private, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="session")
def release(bare: Release) -> Release:
    """The same, installed: by test_newcomer as a rule, else now."""
    if "STATUS: deployed" not in helm("status", bare.name, "-n", bare.namespace, check=False):
        bare.upgrade(f"--values={CHART}/examples/kind/values.yaml")
    return bare


@pytest.fixture(scope="session")
def early_token(release: Release) -> tuple[str, float]:
    """A server's good token with the shortest life that the API server gives, and when it ends."""
    return token(release.namespace, f"{release.name}-server", "ws402-gateway"), time.time() + 600
