"""`helm uninstall` takes programs away, not money: namespace and ledger stay, and the next installation finds them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.cluster.chain import CHAIN, chain_pod, given_secret
from tests.cluster.kube import get, kubectl, until
from tests.cluster.release import Release

from ws402.devchain.evm.accounts import derive

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


@pytest.fixture
def kept(cluster: None) -> Iterator[Release]:
    release = Release("ws402-kept", "ws402-kept", rpc=f"http://chain.{CHAIN}.svc:8545", admin_secret="given")
    with chain_pod(), given_secret(release, base_rpc=release.rpc):
        yield release
        release.uninstall()
        kubectl("delete", "namespace", release.namespace, "--ignore-not-found", "--wait=false")


def install(release: Release) -> None:
    """As a platform team would: its own namespace and Secret, its own chain."""
    chain = [{"namespace": CHAIN, "ports": [8545]}]
    release.upgrade(
        "--set=gateway.namespace.create=false",
        "--set=secrets.source=existingSecret",
        "--set=secrets.existingSecret=given",
        f"--set-json=gateway.egress.rpc={json.dumps(chain)}",
        "--set=server.autoscaling.mode=none",
        "--set=server.replicas=1",
        f"--set-json=server.clients={json.dumps([{'namespace': CHAIN}])}",
    )


def pay(release: Release) -> None:
    """One session of three seconds, from the chain's own namespace."""
    key = f"WS402_PRIVATE_KEY={derive(3)[2].key}"
    options = [
        "--max",
        "1",
        "--duration",
        "60",
        "--leave-after",
        "2",
        "--trust",
        "--insecure",
        "--rpc",
        "http://127.0.0.1:8545",
    ]
    kubectl(
        "-n", CHAIN, "exec", "chain", "--", "env", key, "ws402", "pay", f"{release.url}/#ticker", *options, timeout=120
    )


def sessions(release: Release) -> list[str]:
    return sorted(each["id"] for each in json.loads(release.ops("--json", "sessions").stdout)["sessions"])


def test_uninstall_keeps_ledger_and_namespace_and_a_new_installation_goes_on_with_them(kept: Release) -> None:
    install(kept)
    pay(kept)
    kept.settled()
    kept.balanced()
    before = sessions(kept)
    assert len(before) == 1
    volume = get("-n", kept.private, "pvc")[0]["spec"]["volumeName"]

    kept.uninstall()
    until("the pods are gone", lambda: not kept.pods("gateway") and not kept.pods("server"), 60)
    assert get("namespace", kept.private)["status"]["phase"] == "Active"
    assert [each["spec"]["volumeName"] for each in get("-n", kept.private, "pvc")] == [volume]

    install(kept)
    assert sessions(kept) == before
    pay(kept)
    assert len(sessions(kept)) == 2
    kept.settled()
    kept.balanced()
