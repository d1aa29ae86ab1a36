"""A newcomer's whole play, by the documents' commands: keys in Vault, a second network, a rotated key and a customer
who comes back, a backup, the loss of the volume, the restore. No unit is lost, none is paid twice."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account
from tests.cluster import vaults
from tests.cluster.chain import CHAIN, chain_pod
from tests.cluster.kube import forwarded, helm, kubectl, until
from tests.cluster.release import CHART, IMAGES, ROOT, TAG, Release

from ws402.devchain.evm.accounts import derive

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

NAME = "ws402-play"
FLOAT = 10**17
GAS_PRICE = 10**10
NETWORKS = ["base-sepolia", "base"]
RESOURCES = [
    {"id": "ticker", "kind": "ticker", "price_per_second": 10**13},
    {"id": "second", "kind": "ticker", "price_per_second": 10**13, "network": "base"},
]
BACKUP = "kubectl -n ws402-private create job --from=cronjob/ws402-gateway-backup now"
STOP = "kubectl -n ws402-private scale statefulset ws402-gateway --replicas=0"


class InVault(Release):
    """Its operators' key is in Vault."""

    @property
    def admin_key(self) -> str:
        found = vaults.client().secrets.kv.v2.read_secret_version(f"{NAME}/api-keys", raise_on_deleted_version=True)
        return str(found["data"]["data"]["operators"]).split(",")[0]


LOSES = (
    "kubectl -n ws402-private delete pods -l app.kubernetes.io/component=backup",
    "kubectl -n ws402-private delete pvc data-ws402-gateway-0",
)


@dataclass
class Newcomer:
    """At a terminal, with the documents open."""

    release: Release
    folder: Path
    environment: dict[str, str]
    bootstrap: str = ""
    """What a Vault that is shared and outside of the cluster wants to be told beside the documents' command."""

    def reads(self, document: str, command: str) -> str:
        """That command of a document, with the names of this installation."""
        text = " ".join((ROOT / document).read_text().split())
        assert command in text, f"{document} does not show: {command}"
        return self.named(command)

    def named(self, text: str) -> str:
        """The documents' release is called ws402, in the namespace ws402; images keep their names."""
        text = re.sub(r"\bws402-private\b", self.release.private, text)
        text = re.sub(r"\bws402-gateway\b(?!:)", f"{self.release.name}-gateway", text)
        return re.sub(
            r"\bws402 vault (?:bootstrap|rotate)\b", lambda found: f"{found.group()} {self._own(found)}", text
        )

    def _own(self, found: re.Match[str]) -> str:
        return f"--path {NAME} {self.bootstrap if 'bootstrap' in found.group() else ''}"

    def types(self, command: str, stdin: str = "") -> str:
        done = subprocess.run(
            ["bash", "-ec", command], cwd=ROOT, env=self.environment, input=stdin, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def network(self, name: str, chain_id: int) -> dict[str, Any]:
        """Its entry of `networks.evm`: endpoints and key come from Vault."""
        return {"network": name, "chain_id": chain_id, "final_after": 2}

    def pays(self, account: int, *options: str, chain: str = "chain", resource: str = "ticker") -> str:
        """A customer, who is a person of the chain's namespace with a store of their own."""
        return kubectl(
            "-n", CHAIN, "exec", chain, "--", "env", f"WS402_PRIVATE_KEY={derive(10)[account].key}", "ws402", "pay",
            f"{self.release.url}/#{resource}", "--max=1", "--duration=60", "--leave-after=1", "--insecure",
            "--rpc=http://127.0.0.1:8545", f"--store=/tmp/{account}.db", *options, timeout=240,
        )  # fmt: skip


def rpc(chain: str, method: str, *parameters: Any) -> Any:
    with forwarded(CHAIN, f"pod/{chain}", 8545) as port:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = httpx.post(f"http://127.0.0.1:{port}", json=body, timeout=20).json()
    assert "error" not in answer, answer
    return answer["result"]


def fund(address: str, chain: str = "chain") -> None:
    """The float, from the chain's first account."""
    rich = Account.from_key(derive(1)[0].key)
    transaction = {
        "to": address, "value": FLOAT, "gas": 21000, "gasPrice": GAS_PRICE,
        "nonce": int(rpc(chain, "eth_getTransactionCount", rich.address, "pending"), 16),
        "chainId": int(rpc(chain, "eth_chainId"), 16),
    }  # fmt: skip
    rpc(chain, "eth_sendRawTransaction", "0x" + rich.sign_transaction(transaction).raw_transaction.hex())


def balances(*accounts: int) -> list[int]:
    return [int(rpc("chain", "eth_getBalance", derive(10)[each].address, "latest"), 16) for each in accounts]


def told(said: str, network: str) -> str:
    """The account of the network's key, which Vault's commands tell."""
    found = re.search(rf"/keys/{network}(?![\w-]).*account (0x\w+)", said)
    assert found, said
    return found.group(1)


@pytest.fixture
def newcomer(cluster: None, tmp_path: Path) -> Iterator[Newcomer]:
    release = InVault(NAME, NAME, rpc=f"http://chain.{CHAIN}.svc:8545")
    environment = {
        **vaults.operator(),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WS402_KUBE_NAMESPACE": release.namespace,
        "WS402_KUBE_RELEASE": release.name,
    }
    vault = vaults.client()
    for secret in ("api-keys", "rpc", "keys/base-sepolia", "keys/base"):  # of a run before
        vault.secrets.kv.v2.delete_metadata_and_all_versions(f"{NAME}/{secret}")
    with chain_pod(base=8453):
        mount = f"kubernetes-{NAME}"
        yield Newcomer(
            release, tmp_path, environment,
            f"--role {NAME} --policy {NAME} --auth-mount {mount} --service-account {release.name}-gateway "
            f"--service-account-namespace {release.private} {' '.join(vaults.reviews(tmp_path))}",
        )  # fmt: skip
        release.uninstall()
        vaults.forget_reviewer()
        kubectl("delete", "namespace", release.namespace, release.private, "--ignore-not-found", "--wait=false")


def test_a_newcomer_installs_rotates_loses_the_volume_and_restores_and_no_unit_is_lost(newcomer: Newcomer) -> None:
    installs_with_vault(newcomer)
    adds_a_second_key(newcomer)
    rotates_and_the_customer_comes_back(newcomer)
    copy, had = backs_up_with_refunds_waiting_and_goes_on(newcomer)
    loses_the_volume_and_restores(newcomer, copy)
    reconciles_and_resumes(newcomer, had)


def installs_with_vault(newcomer: Newcomer) -> None:
    release = newcomer.release
    said = newcomer.types(
        newcomer.reads("docs/secrets.md", "ws402 vault bootstrap --key base-sepolia=generate --api-keys generate")
    )
    fund(told(said, "base-sepolia"))
    endpoints(newcomer, "base-sepolia", release.rpc)
    newcomer.environment["GATEWAY_ADMIN_KEY"] = release.admin_key
    helm(
        "install", release.name, CHART, "-n", release.namespace, "--create-namespace", "--wait", "--timeout=120s",
        *IMAGES,
        f"--set=secrets.vault.address={vaults.address()}", "--set=secrets.vault.poll_seconds=1",
        f"--set=secrets.vault.role={NAME}", f"--set=secrets.vault.auth_mount=kubernetes-{NAME}",
        f"--set=secrets.vault.path={NAME}",
        f"--set-file=secrets.vault.caBundle={os.environ['WS402_CLUSTER_VAULT_CACERT']}",
        f"--set-json=gateway.egress.vault={json.dumps([vaults.peer(vaults.address())])}",
        f"--set-json=networks.evm={json.dumps([newcomer.network('base-sepolia', 84532)])}",
        f"--set-json=gateway.egress.rpc={json.dumps([{'namespace': CHAIN, 'ports': [8545]}])}",
        f"--set-json=server.clients={json.dumps([{'namespace': CHAIN}])}",
        f"--set-json=resources={json.dumps(RESOURCES[:1])}",
        "--set=gateway.backup.enabled=true", "--set=server.autoscaling.mode=none", "--set=server.replicas=1",
    )  # fmt: skip
    newcomer.pays(3, "--trust")


def endpoints(newcomer: Newcomer, network: str, url: str) -> None:
    shown = newcomer.reads(
        "docs/secrets.md",
        'printf %s "https://rpc.example/key" | ws402 vault bootstrap --network base-sepolia --rpc base-sepolia=-',
    )
    newcomer.types(shown.replace("https://rpc.example/key", url).replace("base-sepolia", network))


def adds_a_second_key(newcomer: Newcomer) -> None:
    """A second network; the first one's rights stay, and its customers notice nothing."""
    said = newcomer.types(newcomer.reads("docs/secrets.md", "ws402 vault bootstrap --key base=generate"))
    fund(told(said, "base"), "base")
    endpoints(newcomer, "base", f"http://base.{CHAIN}.svc:8545")
    both = [newcomer.network("base-sepolia", 84532), newcomer.network("base", 8453)]
    newcomer.release.upgrade(
        f"--set-json=networks.evm={json.dumps(both)}", f"--set-json=resources={json.dumps(RESOURCES)}"
    )
    newcomer.pays(3)
    newcomer.pays(3, "--trust", chain="base", resource="second")
    newcomer.release.balanced()


def rotates_and_the_customer_comes_back(newcomer: Newcomer) -> None:
    """The account that invoices name changes; a customer who knows the one before pays without being asked."""
    said = newcomer.types(newcomer.reads("docs/secrets.md", "ws402 vault rotate base-sepolia"))
    new = told(said, "base-sepolia")
    until("the new key signs", lambda: new in newcomer.release.ops("--json", "signers", "list").stdout, 60, every=1)
    fund(new)
    assert new.lower() in newcomer.pays(3, "--json").lower()
    newcomer.release.settled()
    newcomer.release.balanced()


def backs_up_with_refunds_waiting_and_goes_on(newcomer: Newcomer) -> tuple[str, list[int]]:
    """Answers the copy's name, and what the customers had on chain in the end."""
    release = newcomer.release
    newcomer.types("ws402 ops --kube signers pause base-sepolia --reason 'a look at the books'")
    for account in (4, 5):
        newcomer.pays(account, "--trust", "--refund-wait=0")
    newcomer.types(newcomer.reads("docs/operations.md", BACKUP))
    kubectl("-n", release.private, "wait", "--for=condition=complete", "job/now", "--timeout=60s")
    said = kubectl("-n", release.private, "logs", "job/now")
    copy = re.search(r"copied: (/copies/ledger-\w+\.db)", said)
    assert copy, said
    newcomer.types("ws402 ops --kube signers resume base-sepolia")
    newcomer.pays(6, "--trust")  # of whom the copy knows nothing
    release.settled()
    release.balanced()
    return copy.group(1), balances(4, 5, 6)


def loses_the_volume_and_restores(newcomer: Newcomer, copy: str) -> None:
    release = newcomer.release
    newcomer.types(newcomer.reads("docs/operations.md", STOP))
    kubectl("-n", release.private, "wait", "--for=delete", f"pod/{release.name}-gateway-0", "--timeout=60s")
    for lost in LOSES:
        newcomer.types(newcomer.reads("docs/operations.md", lost))
    for file in ("claim", "job"):
        document = newcomer.named((ROOT / "k8s" / "restore" / f"{file}.yaml").read_text())
        document = document.replace("/copies/ledger-20260101T000000Z.db", copy).replace(":0.1.0", f":{TAG}")
        kubectl("apply", "-f", "-", stdin=document)
    kubectl("-n", release.private, "wait", "--for=condition=complete", "job/ws402-ledger-restore", "--timeout=60s")
    newcomer.types(newcomer.reads("docs/operations.md", STOP).replace("=0", "=1"))
    release.ready("gateway", 1)


def reconciles_and_resumes(newcomer: Newcomer, had: list[int]) -> None:
    """The copy's refunds were paid after it was made: each is found on the chain, and none is paid twice."""
    release = newcomer.release
    waiting = refunds(newcomer)
    assert sorted(waiting.values()).count("due") == 2, waiting
    with release.gateway() as gateway:
        assert gateway.get("/health/ready").json()["restored"] == sorted(NETWORKS)
    dry = newcomer.reads("docs/runbook.md", "ws402 ops --kube --dry-run reconcile NETWORK")
    for network in NETWORKS:
        looked = newcomer.types(dry.replace("NETWORK", network))
        if network == "base-sepolia":
            assert all(each in looked for each, state in waiting.items() if state == "due"), looked
        book = newcomer.reads("docs/runbook.md", "ws402 ops --kube reconcile NETWORK")
        newcomer.types(book.replace("NETWORK", network), stdin="y\n")
    newcomer.types("ws402 ops --kube signers resume base-sepolia")  # the copy remembers who paused it
    release.settled()
    assert balances(4, 5, 6) == had
    newcomer.types(newcomer.reads("docs/runbook.md", "ws402 ops --kube audit"))
    newcomer.pays(4)
    release.settled()
    release.balanced()


def refunds(newcomer: Newcomer) -> dict[str, str]:
    listed = json.loads(newcomer.release.ops("--json", "refunds", "list").stdout)["refunds"]
    return {each["id"]: each["state"] for each in listed}
