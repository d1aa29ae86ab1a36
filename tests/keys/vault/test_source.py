"""Secrets out of a real Vault: what a snapshot has, and how it follows what operators write, delete and forbid."""

from __future__ import annotations

import pytest
from tests.fixtures.vault import VaultCorner

from ws402.keys.snapshot import SecretsUnavailableError

KEY, NEXT, THIRD = "11" * 32, "22" * 32, "33" * 32
ALL = {"keys": ("base",), "api_keys": True, "database": True, "rpc": ("base",)}


def write_all(vault: VaultCorner) -> None:
    vault.put("keys/base", private_key=KEY)
    vault.put("api-keys", servers=f"{'s' * 32}, shop:{'t' * 32}", operators="o" * 32)
    vault.put("database", url="postgresql://user:password@host/ws402")
    vault.put("rpc", base="https://one.example/k3y,https://two.example")


@pytest.mark.vault
def test_everything_is_read_and_nothing_shows(vault: VaultCorner) -> None:
    write_all(vault)
    source = vault.source(vault.approle("--network", "base"), **ALL)
    snapshot = source.load()
    (key,) = snapshot.keys["base"]
    assert key.private_key is not None
    assert (key.version, key.private_key.get_secret_value()) == (1, KEY)
    assert [each.get_secret_value() for each in snapshot.servers] == ["s" * 32, f"shop:{'t' * 32}"]
    assert [each.get_secret_value() for each in snapshot.operators] == ["o" * 32]
    assert snapshot.database_url is not None
    assert [each.get_secret_value() for each in snapshot.rpc["base"]] == [
        "https://one.example/k3y",
        "https://two.example",
    ]
    assert snapshot.versions == {"keys/base": 1, "api-keys": 1, "database": 1, "rpc": 1}
    shown = repr(snapshot) + repr(source)
    assert not any(each in shown for each in (KEY, "s" * 32, "o" * 32, "password", "k3y"))
    source.close()


@pytest.mark.vault
def test_a_new_version_makes_a_new_snapshot_that_keeps_the_key_before(vault: VaultCorner) -> None:
    write_all(vault)
    settings = vault.approle("--network", "base")
    source = vault.source(settings, **ALL)
    first = source.load()
    assert source.refresh(first) == (first, [])
    assert source.refresh(first)[0] is first
    assert vault.put("keys/base", private_key=NEXT) == 2
    second, troubles = source.refresh(first)
    assert troubles == []
    assert [each.version for each in second.keys["base"]] == [2, 1]
    assert [each.version for each in first.keys["base"]] == [1], "a snapshot was changed"
    assert second.servers == first.servers
    source.close()
    # Another process that starts now knows the earlier versions, but not more of them than it may need.
    for key in (THIRD, KEY, NEXT):
        vault.put("keys/base", private_key=key)
    later = vault.source(settings, **ALL)
    assert [each.version for each in later.load().keys["base"]] == [5, 4, 3]
    later.close()


@pytest.mark.vault
def test_a_deleted_version_is_told_and_what_was_read_stays(vault: VaultCorner) -> None:
    write_all(vault)
    settings = vault.approle("--network", "base")
    source = vault.source(settings, **ALL)
    held = source.load()
    vault.put("keys/base", private_key=NEXT)
    vault.root.secrets.kv.v2.delete_latest_version_of_secret(f"{vault.path}/keys/base")
    vault.put("api-keys", servers="n" * 32)
    found, (trouble,) = source.refresh(held)
    assert trouble.reason == "deleted"
    assert f"Version 2 of Vault's {vault.path}/keys/base is deleted" in trouble.message
    assert found.keys == held.keys
    assert [each.get_secret_value() for each in found.servers] == ["n" * 32], "the other secrets do not wait for it"
    with pytest.raises(SecretsUnavailableError) as refused:
        vault.source(settings, **ALL).load()
    assert refused.value.reason == "deleted"
    vault.root.secrets.kv.v2.undelete_secret_versions(f"{vault.path}/keys/base", [2])
    assert [each.version for each in source.refresh(found)[0].keys["base"]] == [2, 1]
    source.close()


@pytest.mark.vault
def test_an_earlier_key_that_was_destroyed_is_passed_over(vault: VaultCorner) -> None:
    write_all(vault)
    for key in (NEXT, THIRD):
        vault.put("keys/base", private_key=key)
    vault.root.secrets.kv.v2.destroy_secret_versions(f"{vault.path}/keys/base", [2])
    source = vault.source(vault.approle("--network", "base"), **ALL)
    assert [each.version for each in source.load().keys["base"]] == [3, 1]
    source.close()


@pytest.mark.vault
def test_what_the_policy_does_not_give_is_told(vault: VaultCorner) -> None:
    write_all(vault)
    source = vault.source(vault.approle("--without", "database", "--network", "base"), **ALL)
    with pytest.raises(SecretsUnavailableError) as refused:
        source.load()
    assert refused.value.reason == "denied"
    assert f"{vault.path}/database" in refused.value.message
    source.close()


@pytest.mark.vault
def test_a_key_must_be_there_and_the_rest_may_come_later(vault: VaultCorner) -> None:
    settings = vault.approle("--network", "base")
    source = vault.source(settings, **ALL)
    with pytest.raises(SecretsUnavailableError) as refused:
        source.load()
    assert refused.value.reason == "missing"
    assert f"{vault.path}/keys/base" in refused.value.message
    vault.put("keys/base", private_key=KEY)
    held = source.load()
    assert (held.servers, held.database_url) == ((), None)
    vault.put("api-keys", servers="s" * 32)
    assert len(source.refresh(held)[0].servers) == 1
    source.close()


@pytest.mark.vault
@pytest.mark.parametrize(
    ("name", "data"), [("keys/base", {"key": KEY}), ("database", {"URL": KEY}), ("rpc", {"base": 1})]
)
def test_a_secret_of_another_form_is_told_and_not_quoted(vault: VaultCorner, name: str, data: dict[str, str]) -> None:
    write_all(vault)
    source = vault.source(vault.approle("--network", "base"), **ALL)
    held = source.load()
    vault.put(name, **data)
    found, (trouble,) = source.refresh(held)
    assert trouble.reason == "malformed"
    assert name in trouble.message
    assert KEY not in str(trouble)
    assert found == held
    source.close()


@pytest.mark.vault
def test_a_sealed_vault_changes_nothing(vault: VaultCorner) -> None:
    write_all(vault)
    source = vault.source(vault.approle("--network", "base"), **ALL)
    held = source.load()
    vault.seal()
    try:
        with pytest.raises(SecretsUnavailableError) as refused:
            source.refresh(held)
        assert refused.value.reason == "sealed"
    finally:
        vault.unseal()
    assert source.refresh(held) == (held, [])
    source.close()
