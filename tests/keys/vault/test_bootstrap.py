"""`ws402 vault bootstrap` on a real Vault: what it makes, what it leaves, and that its policy reads nothing else."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from hvac import Client
from hvac.exceptions import Forbidden, InvalidPath
from tests.fixtures.vault import VaultCorner

from ws402.cli import cli
from ws402.errors import ConfigurationError

KEY = "0x" + "5e" * 32


def key_of(vault: VaultCorner, network: str) -> str:
    path = f"{vault.path}/keys/{network}"
    answer = vault.root.secrets.kv.v2.read_secret_version(path, raise_on_deleted_version=True)
    return str(answer["data"]["data"]["private_key"])


@pytest.mark.vault
def test_keys_are_made_or_taken_in_without_showing(vault: VaultCorner) -> None:
    output = vault.bootstrap("--key", "base=-", "--key", "base-sepolia=generate", "--api-keys", "generate", stdin=KEY)
    assert key_of(vault, "base") == KEY
    made = key_of(vault, "base-sepolia")
    assert len(bytes.fromhex(made)) == 32
    assert KEY not in output
    assert made not in output
    assert "account 0x" in output, "an operator must know which account to fund"


@pytest.mark.vault
def test_once_more_keeps_what_is_there(vault: VaultCorner) -> None:
    options = ("--key", "base=generate", "--api-keys", "generate")
    vault.bootstrap(*options)
    before = key_of(vault, "base")
    output = vault.bootstrap(*options)
    assert key_of(vault, "base") == before
    assert f"keep the secret secret/{vault.path}/keys/base" in output
    assert f"keep the policy {vault.path}" in output


@pytest.mark.vault
def test_a_key_is_rotated_and_its_account_told(vault: VaultCorner) -> None:
    vault.bootstrap("--key", "base=generate", "--key", "solana-devnet=generate")
    for network in ("base", "solana-devnet"):
        before = key_of(vault, network)
        output = CliRunner().invoke(cli, ["vault", "rotate", network, "--path", vault.path]).output
        assert f"write version 2 of secret/{vault.path}/keys/{network}, account " in output
        assert key_of(vault, network) not in {before, *output.split()}
    given = CliRunner().invoke(cli, ["vault", "rotate", "base", "--path", vault.path, "--key", "-"], input=KEY)
    assert key_of(vault, "base") == KEY
    assert KEY not in given.output
    again = CliRunner().invoke(cli, ["vault", "rotate", "base", "--path", vault.path, "--dry-run"])
    assert "would write version 4" in again.output
    assert key_of(vault, "base") == KEY
    missing = CliRunner().invoke(cli, ["vault", "rotate", "other", "--path", vault.path])
    assert isinstance(missing.exception, ConfigurationError)


@pytest.mark.vault
def test_a_dry_run_tells_and_does_nothing(vault: VaultCorner) -> None:
    output = vault.bootstrap("--key", "base=generate", "--transit-key", f"{vault.path}-key", "--dry-run")
    assert "would make the policy" in output
    assert f'path "secret/data/{vault.path}/keys/base"' in output
    assert f"would make the key transit/keys/{vault.path}-key" in output
    with pytest.raises(InvalidPath):
        vault.root.secrets.kv.v2.read_secret_metadata(f"{vault.path}/keys/base")
    assert vault.root.read(f"sys/policies/acl/{vault.path}") is None
    vault._mounts.clear()  # nothing was mounted


@pytest.mark.vault
def test_a46_the_policy_reads_what_the_gateway_needs_and_nothing_else(vault: VaultCorner) -> None:
    name = f"{vault.path}-key"
    vault.bootstrap("--key", "base=generate", "--transit-key", name, "--api-keys", "generate", "--without", "rpc")
    vault.put("keys/other", private_key=KEY)
    vault.put("rpc", base="https://x.example")
    token = vault.root.auth.token.create(policies=[vault.path], no_default_policy=True)["auth"]["client_token"]
    client = Client(url=vault.address, token=token, verify=str(vault.ca_file))
    base = f"secret/data/{vault.path}"
    assert client.read(f"{base}/keys/base")
    assert client.read(f"{base}/api-keys")
    assert client.read(f"secret/metadata/{vault.path}/keys/base")
    assert client.write_data(f"transit/sign/{name}", data={"input": "aGk="})
    forbidden = [
        lambda: client.read(f"{base}/keys/other"),
        lambda: client.read(f"{base}/rpc"),
        lambda: client.list(f"secret/metadata/{vault.path}/keys"),
        lambda: client.list("secret/metadata"),
        lambda: client.write_data(f"{base}/keys/base", data={"data": {"private_key": KEY}}),
        lambda: client.delete(f"{base}/keys/base"),
        lambda: client.delete(f"secret/metadata/{vault.path}/keys/base"),
        lambda: client.read(f"transit/export/signing-key/{name}"),
        lambda: client.write_data(f"transit/keys/{name}/rotate", data={}),
        lambda: client.write_data(f"transit/keys/{name}/config", data={"exportable": True}),
        lambda: client.list("transit/keys"),
        lambda: client.list("sys/policies/acl"),
        lambda: client.write_data("auth/token/create", data={}),
        lambda: client.read(f"auth/approle-{vault.path}/role/ws402-gateway/role-id"),
        lambda: client.read("sys/mounts"),
    ]
    for attempt in forbidden:
        with pytest.raises(Forbidden):
            attempt()
    client.adapter.close()


@pytest.mark.vault
def test_the_role_is_bound_and_short(vault: VaultCorner) -> None:
    vault.bootstrap("--service-account", "gw", "--service-account-namespace", "private", auth="kubernetes")
    role = vault.root.read(f"auth/kubernetes-{vault.path}/role/ws402-gateway")
    assert isinstance(role, dict)
    data = role["data"]
    assert data["bound_service_account_names"] == ["gw"]
    assert data["bound_service_account_namespaces"] == ["private"]
    assert (data["audience"], data["token_policies"]) == ("vault", [vault.path])
    assert (data["token_no_default_policy"], data["token_ttl"]) == (True, 900)


@pytest.mark.vault
def test_a_mount_of_another_kind_is_left_alone(vault: VaultCorner) -> None:
    vault.root.sys.enable_secrets_engine("kv", path=f"kv1-{vault.path}", options={"version": "1"})
    try:
        result = CliRunner().invoke(cli, ["vault", "bootstrap", "--kv-mount", f"kv1-{vault.path}", "--dry-run"])
        assert isinstance(result.exception, ConfigurationError)
        assert "version 1" in str(result.exception)
    finally:
        vault.root.sys.disable_secrets_engine(f"kv1-{vault.path}")


def test_a_key_on_the_command_line_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", "https://127.0.0.1:9")
    monkeypatch.setenv("VAULT_TOKEN", "t")
    for options in (["--key", f"base={KEY}"], ["--key", KEY], ["--api-keys", KEY], ["--database-url", KEY]):
        result = CliRunner().invoke(cli, ["vault", "bootstrap", *options])
        assert isinstance(result.exception, ConfigurationError)
        assert KEY not in str(result.exception) + result.output


def test_without_a_vault_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAULT_ADDR", "VAULT_TOKEN", "VAULT_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(cli, ["vault", "bootstrap"])
    assert isinstance(result.exception, ConfigurationError)
    assert "VAULT_ADDR" in str(result.exception)
