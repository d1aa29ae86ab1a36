"""The gateway's keys from a real Vault by the cluster's identity: refused to others, rotated and sealed under load."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import hvac
import pytest
from hvac.exceptions import VaultError
from tests.cluster import vaults
from tests.cluster.chain import CHAIN, chain_pod, given_secret
from tests.cluster.kube import get, kubectl, token, until
from tests.cluster.release import Load, Release

from ws402.devchain.evm.accounts import derive

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ROLE = "ws402-gateway"
SESSIONS = 10


@pytest.fixture(scope="module")
def vault(cluster: None) -> hvac.Client:
    """One that pods reach too."""
    return vaults.client()


@pytest.fixture(scope="module")
def kept_in_vault(vault: hvac.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    release = Release("ws402-safe", "ws402-safe", rpc=f"http://chain.{CHAIN}.svc:8545", admin_secret="given")
    network = {
        "network": "base-sepolia", "chain_id": 84532, "rpc": [release.rpc], "final_after": 2,
        "merchant_wallet": derive(2)[1].address,
    }  # fmt: skip
    with chain_pod(), given_secret(release):  # the Secret is for the test alone: the gateway does not mount it
        vaults.bootstrap(release, tmp_path_factory.mktemp("vault"), vaults.operator())
        release.upgrade(
            "--set=gateway.namespace.create=false",
            "--set=secrets.source=vault",
            f"--set=secrets.vault.address={vault.url}",
            f"--set-file=secrets.vault.caBundle={os.environ['WS402_CLUSTER_VAULT_CACERT']}",
            f"--set-json=gateway.egress.vault={json.dumps([vaults.peer(vault.url)])}",
            f"--set-json=networks.evm={json.dumps([network])}",
            f"--set-json=gateway.egress.rpc={json.dumps([{'namespace': CHAIN, 'ports': [8545]}])}",
            "--set=server.autoscaling.mode=none",
            "--set=server.replicas=1",
            f"--set-json=server.clients={json.dumps([{'namespace': CHAIN}])}",
            "--set=server.settings.schema_per_minute=10000",
        )
        yield release
        release.uninstall()
        vaults.forget_reviewer()
        kubectl("delete", "namespace", release.namespace, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="module")
def load(kept_in_vault: Release) -> Iterator[Load]:
    load = kept_in_vault.load(SESSIONS, 3, namespace=CHAIN)
    load.opened(120)
    yield load
    load.stop()


def opens_and_refunds(release: Release) -> None:
    """A new session is paid, used and refunded."""
    load = release.load(2, 6, namespace=CHAIN)
    load.opened(90)
    end = load.leave()
    assert (end["exact"], end.get("failed", 0)) == (2, 0), end
    load.stop()


def test_sessions_are_paid_and_refunded_by_a_key_that_no_secret_of_the_cluster_has(
    kept_in_vault: Release, load: Load
) -> None:
    opens_and_refunds(kept_in_vault)
    mounted = get("-n", kept_in_vault.private, "pod", f"{kept_in_vault.name}-gateway-0")["spec"]["volumes"]
    assert {each["secret"]["secretName"] for each in mounted if "secret" in each} == {
        f"{kept_in_vault.name}-gateway-tls"
    }
    kept_in_vault.balanced()


def test_vault_refuses_another_account_and_another_audience(kept_in_vault: Release, vault: hvac.Client) -> None:
    release = kept_in_vault
    gateway = f"{release.name}-gateway"

    def login(jwt: str) -> None:
        client = hvac.Client(vault.url, token="", verify=os.environ["WS402_CLUSTER_VAULT_CACERT"])
        client.auth.kubernetes.login(ROLE, jwt)

    login(token(release.private, gateway, "vault"))
    for other in (
        token(release.private, "default", "vault"),
        token(release.namespace, f"{release.name}-server", "vault"),
        token(release.private, gateway, "ws402-gateway"),
    ):
        with pytest.raises(VaultError):
            login(other)


def test_a_sealed_vault_stops_nothing_and_is_taken_up_again(
    kept_in_vault: Release, vault: hvac.Client, load: Load
) -> None:
    vault.sys.seal()
    try:
        opens_and_refunds(kept_in_vault)
        kept_in_vault.ready("gateway", 1, 5)
        assert load.live() == SESSIONS
    finally:
        vault.sys.submit_unseal_key(os.environ["WS402_CLUSTER_VAULT_UNSEAL_KEY"])
    until("Vault is back", lambda: not vault.sys.read_seal_status()["sealed"], 30)
    kept_in_vault.balanced()


def test_a_key_is_rotated_under_load_without_a_failed_call(
    kept_in_vault: Release, vault: hvac.Client, load: Load
) -> None:
    new = derive(10)[9]
    until(
        "the new version is written",
        lambda: vault.secrets.kv.v2.create_or_update_secret("ws402/keys/base-sepolia", {"private_key": new.key}),
        30,
    )
    until(
        "the gateway signs with the new key",
        lambda: new.address in kept_in_vault.ops("--json", "signers", "list").stdout,
        120,
        every=3,
    )
    opens_and_refunds(kept_in_vault)
    end = load.leave()
    assert (end["exact"], end.get("failed", 0)) == (SESSIONS, 0), end
    kept_in_vault.settled()
