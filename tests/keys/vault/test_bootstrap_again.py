"""`ws402 vault bootstrap` on what exists: it adds, and takes away only what is named."""

from __future__ import annotations

import json
import shlex

import pytest
from click.testing import CliRunner
from tests.fixtures.vault import Reviewer, VaultCorner

from ws402.chains.registry import account_of_key
from ws402.cli import cli
from ws402.errors import ConfigurationError
from ws402.keys.snapshot import Counters, SecretsUnavailableError
from ws402.keys.vault.client import VaultClient
from ws402.keys.vault.policy import granted

KEY = "0x" + "5e" * 32
OTHER = "0x" + "6f" * 32


def policy_of(vault: VaultCorner) -> str:
    return str(_data(vault, f"sys/policies/acl/{vault.path}")["policy"])


def reads(vault: VaultCorner, name: str) -> bool:
    rules = granted(policy_of(vault))
    return {(f"secret/{kind}/{vault.path}/{name}", "read") for kind in ("data", "metadata")} <= rules


def secret(vault: VaultCorner, name: str) -> dict[str, str]:
    answer = vault.root.secrets.kv.v2.read_secret_version(f"{vault.path}/{name}", raise_on_deleted_version=True)
    return dict(answer["data"]["data"])


def role(vault: VaultCorner, auth: str = "kubernetes") -> dict[str, object]:
    return _data(vault, f"auth/{auth}-{vault.path}/role/ws402-gateway")


def run(line: str, stdin: str = "") -> str:
    """A command that a message gave, word for word."""
    words = shlex.split(line)
    assert words[0] == "ws402"
    return CliRunner().invoke(cli, words[1:], input=stdin, catch_exceptions=False).output


@pytest.mark.vault
def test_a_second_key_keeps_the_rights_to_the_first(vault: VaultCorner) -> None:
    vault.bootstrap("--key", "base-sepolia=generate", "--api-keys", "generate")
    output = vault.bootstrap("--key", "base=generate")
    for name in ("keys/base-sepolia", "keys/base", "api-keys", "database", "rpc"):
        assert reads(vault, name), name
    assert f"add to the policy {vault.path}" in output
    before = policy_of(vault)
    bare = vault.bootstrap()
    assert policy_of(vault) == before
    assert f"keep the policy {vault.path}" in bare
    for network in ("base", "base-sepolia"):
        account = account_of_key(network, secret(vault, f"keys/{network}")["private_key"])
        assert f"keep the secret secret/{vault.path}/keys/{network}, account {account}" in bare


@pytest.mark.vault
def test_a_gateway_that_runs_reads_its_key_after_a_second_one_was_made(vault: VaultCorner) -> None:
    source = vault.source(vault.approle("--key", "base-sepolia=generate"), keys=("base-sepolia",))
    held = source.load()
    vault.bootstrap("--key", "base=generate")
    vault.put("keys/base-sepolia", private_key=KEY)
    found, troubles = source.refresh(held)
    source.close()
    assert not troubles
    assert found.versions["keys/base-sepolia"] == 2


@pytest.mark.vault
def test_only_what_is_named_is_taken_away(vault: VaultCorner) -> None:
    key = f"{vault.path}-key"
    vault.bootstrap("--key", "base=generate", "--key", "base-sepolia=generate", "--transit-key", key)
    told = vault.bootstrap("--remove", "keys/base", "--remove", "rpc", "--remove", f"transit/{key}")
    assert not reads(vault, "keys/base")
    assert not reads(vault, "rpc")
    assert key not in policy_of(vault)
    assert reads(vault, "keys/base-sepolia")
    assert reads(vault, "database")
    assert secret(vault, "keys/base"), "a secret itself is never removed"
    assert f"take away from the policy {vault.path}" in told
    vault.bootstrap()
    assert not reads(vault, "rpc"), "a bare call gives nothing back"
    vault.bootstrap("--with", "rpc")
    assert reads(vault, "rpc")


@pytest.mark.vault
def test_what_was_left_out_at_first_stays_left_out(vault: VaultCorner) -> None:
    vault.bootstrap("--key", "base=generate", "--without", "rpc", "--without", "database")
    vault.bootstrap("--key", "base-sepolia=generate")
    assert not reads(vault, "rpc")
    vault.bootstrap("--rpc", "base=-", stdin="https://rpc.example")
    assert reads(vault, "rpc"), "what is written for the gateway, it may read"
    assert not reads(vault, "database")


@pytest.mark.vault
def test_an_operators_own_rules_in_the_policy_stay_as_they_are(vault: VaultCorner) -> None:
    own = '# ours\npath "secret/data/mine" {\n  capabilities = ["read", "list"]\n}'
    vault.root.write_data(f"sys/policies/acl/{vault.path}", data={"policy": own})
    vault.bootstrap("--key", "base=generate")
    assert policy_of(vault).startswith(own)
    assert reads(vault, "keys/base")
    text = json.dumps({"path": {"secret/data/mine": {"capabilities": ["read"]}}})
    vault.root.write_data(f"sys/policies/acl/{vault.path}", data={"policy": text})
    with pytest.raises(ConfigurationError, match="JSON"):
        vault.bootstrap()
    assert policy_of(vault) == text


@pytest.mark.vault
def test_a_role_keeps_its_accounts_policies_times_and_audience(vault: VaultCorner) -> None:
    first = ("--service-account", "gw", "--service-account-namespace", "one", "--token-ttl", "5m", "--audience", "v1")
    vault.bootstrap(*first, auth="kubernetes")
    before = role(vault)
    again = vault.bootstrap(auth="kubernetes")
    assert role(vault) == before
    assert f"keep auth/kubernetes-{vault.path}/role/ws402-gateway" in again
    output = vault.bootstrap("--service-account-namespace", "two", auth="kubernetes")
    assert "namespace one, two" in output
    after = role(vault)
    assert after["bound_service_account_namespaces"] == ["one", "two"]
    assert after["bound_service_account_names"] == ["gw"]
    assert (after["token_ttl"], after["audience"]) == (300, "v1")
    with pytest.raises(ConfigurationError, match="--remove audience"):
        vault.bootstrap("--audience", "v2", auth="kubernetes")
    vault.bootstrap("--audience", "v2", "--remove", "audience", auth="kubernetes")
    assert role(vault)["audience"] == "v2"
    vault.bootstrap("--remove", "service-account-namespace/one", auth="kubernetes")
    assert role(vault)["bound_service_account_namespaces"] == ["two"]


@pytest.mark.vault
def test_a_role_keeps_other_policies_and_a_bare_call_adds_to_its_own(vault: VaultCorner) -> None:
    vault.bootstrap("--key", "base=generate")
    mount = f"approle-{vault.path}"
    plain = ["vault", "bootstrap", "--auth", "approle", "--auth-mount", mount, "--path", vault.path]
    output = CliRunner().invoke(cli, [*plain, "--network", "base-sepolia"], catch_exceptions=False).output
    assert f"add to the policy {vault.path}" in output
    assert reads(vault, "keys/base-sepolia")
    assert role(vault, "approle")["token_policies"] == [vault.path]
    vault.root.write_data(f"auth/{mount}/role/ws402-gateway", data={"token_policies": [vault.path, "mine"]})
    vault.bootstrap()
    assert role(vault, "approle")["token_policies"] == [vault.path, "mine"]
    result = CliRunner().invoke(cli, plain)
    assert "--policy" in str(result.exception)


@pytest.mark.vault
def test_the_login_keeps_its_reviewer_until_it_is_replaced_as_a_whole(vault: VaultCorner, reviewer: Reviewer) -> None:
    token, ca = vault.file("reviewer", reviewer.token()), str(vault.ca_file)
    given = ("--kubernetes-host", reviewer.url, "--kubernetes-ca", ca, "--reviewer-token", str(token))
    vault.bootstrap(*given, auth="kubernetes")
    config = f"auth/kubernetes-{vault.path}/config"
    before = _data(vault, config)
    output = vault.bootstrap("--kubernetes-host", "https://other.example", auth="kubernetes")
    assert _data(vault, config) == before
    assert "what was given is not written" in output
    assert "--remove login-config" in output
    other = ("--kubernetes-host", "https://other.example", "--kubernetes-ca", ca)
    vault.bootstrap(*other, "--remove", "login-config", auth="kubernetes")
    assert _data(vault, config)["kubernetes_host"] == "https://other.example"


@pytest.mark.vault
def test_an_rpc_of_a_secret_that_exists_is_added_or_told_to_be_kept(vault: VaultCorner) -> None:
    vault.bootstrap("--rpc", "base-sepolia=-", stdin="https://one.example/key")
    vault.bootstrap("--rpc", "base=-", stdin="https://two.example/key")
    both = {"base-sepolia": "https://one.example/key", "base": "https://two.example/key"}
    assert secret(vault, "rpc") == both
    output = vault.bootstrap("--rpc", "base=-", stdin="https://three.example/key")
    assert secret(vault, "rpc") == both
    assert "its 'base' was kept, and what was given is not written" in output
    assert f"vault kv patch -mount=secret {vault.path}/rpc base=-" in output
    assert "three.example" not in output
    same = vault.bootstrap("--rpc", "base=-", stdin="https://two.example/key")
    assert "not written" not in same


@pytest.mark.vault
def test_another_key_for_a_network_is_told_to_be_kept_and_the_command_changes_it(vault: VaultCorner) -> None:
    vault.bootstrap("--key", "base=-", stdin=KEY)
    output = vault.bootstrap("--key", "base=-", stdin=OTHER)
    assert secret(vault, "keys/base")["private_key"] == KEY
    assert f"account {account_of_key('base', KEY)}" in output
    line = next(each for each in output.splitlines() if "to change it: " in each).partition("to change it: ")[2]
    assert f"account {account_of_key('base', OTHER)}" in run(line, OTHER)
    assert secret(vault, "keys/base")["private_key"] == OTHER


@pytest.mark.vault
def test_the_account_of_a_transit_key_and_of_a_given_key_is_told_in_a_dry_run_too(vault: VaultCorner) -> None:
    name = f"{vault.path}-key"
    made = vault.bootstrap("--transit-key", name)
    account = made.partition("account ")[2].split(":")[0]
    assert 32 <= len(account) <= 44
    assert f"keep the key transit/keys/{name}, account {account}" in vault.bootstrap()
    dry = vault.bootstrap("--key", "base=-", "--dry-run", stdin=KEY)
    assert account_of_key("base", KEY) in dry


@pytest.mark.vault
def test_a_deleted_key_is_not_made_anew(vault: VaultCorner) -> None:
    vault.bootstrap("--key", "base=generate")
    vault.root.secrets.kv.v2.delete_latest_version_of_secret(f"{vault.path}/keys/base")
    output = vault.bootstrap("--key", "base=generate")
    assert f"vault kv undelete -versions=1 -mount=secret {vault.path}/keys/base" in output


@pytest.mark.vault
def test_what_a_gateway_is_denied_it_names_the_whole_command_for(vault: VaultCorner) -> None:
    source = vault.source(vault.approle("--key", "base=generate"), keys=("base", "base-sepolia"))
    with pytest.raises(SecretsUnavailableError) as denied:
        source.load()
    source.close()
    line = "ws402 vault bootstrap" + str(denied.value.remedy).partition("ws402 vault bootstrap")[2]
    assert f"--auth-mount approle-{vault.path}" in line
    output = run(line)
    assert reads(vault, "keys/base")
    assert reads(vault, "keys/base-sepolia")
    make = next(each for each in output.splitlines() if each.startswith("there is no secret"))
    run(make.partition("to make it: ")[2])
    after = vault.source(vault.settings(**_login(vault)), keys=("base", "base-sepolia"))
    assert set(after.load().keys) == {"base", "base-sepolia"}
    after.close()


@pytest.mark.vault
def test_what_a_login_is_refused_for_it_names_the_whole_command_for(vault: VaultCorner, reviewer: Reviewer) -> None:
    token = str(vault.file("reviewer", reviewer.token(audience="https://kubernetes.default.svc")))
    given = ("--kubernetes-host", reviewer.url, "--kubernetes-ca", str(vault.ca_file), "--reviewer-token", token)
    vault.bootstrap(*given, auth="kubernetes")
    settings = vault.settings(
        auth_mount=f"kubernetes-{vault.path}", token_file=vault.file("token", reviewer.token(namespace="elsewhere"))
    )
    client = VaultClient(settings, Counters())
    with pytest.raises(SecretsUnavailableError) as refused:
        client.call("it", lambda each: each.read("secret/data/x"))
    line = "ws402 vault bootstrap" + str(refused.value.remedy).partition("ws402 vault bootstrap")[2]
    assert "--service-account-namespace elsewhere" in line
    run(f"{line} --policy {vault.path}")
    with pytest.raises(SecretsUnavailableError, match="denies"):
        client.call("it", lambda each: each.read("secret/data/x"))
    client.close()


def test_what_cannot_be_removed_is_refused_before_vault_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", "https://127.0.0.1:9")
    monkeypatch.setenv("VAULT_TOKEN", "t")
    for options, told in (
        (["--remove", "everything"], "keys/NETWORK"),
        (["--remove", "keys/"], "keys/NETWORK"),
        (["--network", "base", "--remove", "keys/base"], "asked for, and to be removed"),
        (["--with", "rpc", "--remove", "rpc"], "asked for, and to be removed"),
    ):
        result = CliRunner().invoke(cli, ["vault", "bootstrap", *options])
        assert isinstance(result.exception, ConfigurationError)
        assert told in str(result.exception)


def _data(vault: VaultCorner, path: str) -> dict[str, object]:
    held = vault.root.read(path)
    assert isinstance(held, dict)
    return dict(held["data"])


def _login(vault: VaultCorner) -> dict[str, object]:
    return {
        "auth": "approle",
        "auth_mount": f"approle-{vault.path}",
        "role_id_file": vault.folder / "role-id",
        "secret_id_file": vault.folder / "secret-id",
    }
