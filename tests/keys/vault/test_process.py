"""A gateway as a process of its own with its secrets in Vault: where they can be seen from outside, and where not."""

from __future__ import annotations

import secrets
from pathlib import Path

import httpx
import pytest
from tests.fixtures.evm import ETHER, Evm
from tests.fixtures.processes import COMMAND, Process, free_port
from tests.fixtures.stack import answers
from tests.fixtures.vault import VaultCorner

from ws402.devchain.evm import EvmDevChain

TOML = """\
log_level = "debug"
gateway_port = {port}

{vault}

[[evm_networks]]
network = "base-sepolia"
chain_id = 84532
signer = "vault"
"""


def tokens(vault: VaultCorner) -> int:
    """Valid Vault tokens with the corner's policy."""
    listed = vault.root.list("auth/token/accessors")
    assert isinstance(listed, dict)
    found = 0
    for accessor in listed["data"]["keys"]:
        policies = vault.root.auth.token.lookup_accessor(accessor)["data"]["policies"]
        found += policies == [vault.path]
    return found


@pytest.mark.vault
def test_a46_no_key_is_in_the_environment_the_arguments_the_log_or_a_file_of_the_process(
    vault: VaultCorner, shared_devchain: EvmDevChain, tmp_path: Path
) -> None:
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    key = bytes(evm.account(ETHER).key).hex().removeprefix("0x")
    server, operator = secrets.token_hex(32), secrets.token_hex(32)
    vault.put("keys/base-sepolia", private_key=f"0x{key}")
    vault.put("api-keys", servers=server, operators=operator)
    vault.put("rpc", **{"base-sepolia": f"{evm.url}/?access=r9c-s3cret"})
    vault.put("database", url=f"sqlite:///{tmp_path / 'ledger.db'}")
    login, port = vault.approle("--network", "base-sepolia", poll_seconds=0.5), free_port()
    config = vault.file("gateway.toml", TOML.format(port=port, vault=vault.table(login)))
    url = f"http://127.0.0.1:{port}"
    process = Process(
        "gateway",
        [COMMAND, "gateway"],
        environment={"WS402_CONFIG": str(config)},
        folder=tmp_path,
        ready=lambda: answers(f"{url}/health/ready"),
    )
    process.start()
    try:
        asked = httpx.get(f"{url}/api/admin/audit", headers={"Authorization": f"Bearer {operator}"}, timeout=10)
        assert asked.json()["clean"] is True
        assert tokens(vault) == 1
        seen = b"".join(Path(f"/proc/{process.pid}/{each}").read_bytes() for each in ("environ", "cmdline"))
        assert b"WS402_CONFIG" in seen
    finally:
        status = process.stop()
        evm.close()
    assert status == 0
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"logged in to Vault" in written
    for secret in (key, server, operator, "r9c-s3cret"):
        assert secret.encode() not in seen + written
    assert tokens(vault) == 0, "a gateway that ends gives its token back"
