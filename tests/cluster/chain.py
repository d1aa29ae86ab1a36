"""A chain that is no release's own and outlives them, and the Secret that a platform team would have made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

from tests.cluster.kube import apply, kubectl
from tests.cluster.release import TAG, Release

from ws402.devchain.evm.accounts import derive

CHAIN: Final = "ws402-chain"
"""The chain's namespace; payers live there too."""
ADMIN_KEY: Final = "0123456789abcdef0123456789abcdef"


@contextlib.contextmanager
def chain_pod(**others: int) -> Iterator[None]:
    """The embedded chain at `http://chain.ws402-chain.svc:8545`; `others` by their names, with these chain ids."""
    kubectl("delete", "namespace", CHAIN, "--ignore-not-found", "--wait=true")
    kubectl("create", "namespace", CHAIN)
    names = {"chain": 84532, **others}
    for name, chain_id in names.items():
        apply(*_chain(name, chain_id))
    for name in names:
        kubectl("-n", CHAIN, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=90s")
    try:
        yield
    finally:
        kubectl("delete", "namespace", CHAIN, "--wait=false")


def _chain(name: str, chain_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
    labels = {"app": name}
    meta = {"name": name, "namespace": CHAIN}
    container = {
        "name": "chain", "image": f"ws402-devchain:{TAG}", "imagePullPolicy": "IfNotPresent",
        "args": ["devchain", "evm", "--host", "0.0.0.0", "--chain-id", str(chain_id)],
        "ports": [{"containerPort": 8545}], "readinessProbe": {"tcpSocket": {"port": 8545}, "periodSeconds": 1},
    }  # fmt: skip
    return (
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": {**meta, "labels": labels},
            "spec": {"containers": [container], "enableServiceLinks": False, "automountServiceAccountToken": False},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": meta,
            "spec": {"selector": labels, "ports": [{"port": 8545}]},
        },
    )  # fmt: skip


@contextlib.contextmanager
def given_secret(release: Release, **more: str) -> Iterator[None]:
    """The private namespace and, in it, the Secret `given`."""
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    data = {
        "gateway_admin_key": ADMIN_KEY, "merchant_private_key": derive(2)[1].key, **more,
    }  # fmt: skip
    apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": release.private, "labels": restricted}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "given", "namespace": release.private},
            "stringData": data,
        },
    )
    try:
        yield
    finally:
        kubectl("delete", "namespace", release.private, "--wait=false")
