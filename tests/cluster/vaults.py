"""A Vault outside of the cluster that pods reach too: WS402_CLUSTER_VAULT_ADDR, with …_TOKEN and …_CACERT."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hvac
import pytest
from tests.cluster.chain import ADMIN_KEY, CHAIN
from tests.cluster.kube import kubectl, token
from tests.cluster.release import Release

from ws402.devchain.evm.accounts import derive

REVIEWER = "ws402-test-reviewer"


def address() -> str:
    """Where it is; without one, the test is skipped."""
    found = os.environ.get("WS402_CLUSTER_VAULT_ADDR")
    if not found:
        pytest.skip("WS402_CLUSTER_VAULT_ADDR is not set: no Vault that pods reach")
    return found


def operator() -> dict[str, str]:
    """The environment of who may change it."""
    return {
        **os.environ,
        "VAULT_ADDR": address(),
        "VAULT_TOKEN": os.environ["WS402_CLUSTER_VAULT_TOKEN"],
        "VAULT_CACERT": os.environ["WS402_CLUSTER_VAULT_CACERT"],
    }


def client() -> hvac.Client:
    return hvac.Client(
        address(), token=os.environ["WS402_CLUSTER_VAULT_TOKEN"], verify=os.environ["WS402_CLUSTER_VAULT_CACERT"]
    )


def peer(url: str) -> dict[str, Any]:
    """For the gateway's `egress.vault`."""
    where = urlsplit(url)
    return {"cidr": f"{socket.gethostbyname(str(where.hostname))}/32", "ports": [where.port]}


def reviews(folder: Path) -> list[str]:
    """Options of `ws402 vault bootstrap`: the API server's outer address and an account that may ask it about tokens.

    That account is in the chain's namespace. They count for a login that is there already, too.
    """
    kubectl("-n", CHAIN, "create", "serviceaccount", "reviewer")
    kubectl("delete", "clusterrolebinding", REVIEWER, "--ignore-not-found")
    kubectl(
        "create", "clusterrolebinding", REVIEWER, "--clusterrole=system:auth-delegator",
        f"--serviceaccount={CHAIN}:reviewer",
    )  # fmt: skip
    config = json.loads(kubectl("config", "view", "--minify", "--raw", "--flatten", "-o", "json"))
    server = config["clusters"][0]["cluster"]
    (folder / "ca").write_bytes(base64.b64decode(server["certificate-authority-data"]))
    (folder / "reviewer").write_text(token(CHAIN, "reviewer", "https://kubernetes.default.svc.cluster.local", 3600))
    return [
        f"--kubernetes-host={server['server']}", f"--kubernetes-ca={folder / 'ca'}",
        f"--reviewer-token={folder / 'reviewer'}", "--remove=login-config",
    ]  # fmt: skip


def bootstrap(release: Release, folder: Path, environment: dict[str, str]) -> None:
    """`ws402 vault bootstrap` with the keys of `given_secret`."""
    files = {"key": derive(2)[1].key, "api": f"operators={ADMIN_KEY}\n"}
    for name, content in files.items():
        (folder / name).write_text(content)
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ws402"), "vault", "bootstrap", "--network=base-sepolia",
            f"--key=base-sepolia={folder / 'key'}", f"--api-keys={folder / 'api'}", "--without=database",
            "--without=rpc",
            f"--service-account={release.name}-gateway", f"--service-account-namespace={release.private}",
            *reviews(folder),
        ],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def forget_reviewer() -> None:
    kubectl("delete", "clusterrolebinding", REVIEWER, "--ignore-not-found")
