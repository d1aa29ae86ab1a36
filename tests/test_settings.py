"""Settings: where they come from, and how a wrong one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from ws402.errors import ConfigurationError
from ws402.settings import EvmNetworkSettings, GatewaySettings, ServerSettings, load

KEY = "0123456789abcdef" * 2
SPOKEN = "GATEWAY_API_KEY"
URL = "https://rpc.example/v2/secret-access-key"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (GatewaySettings, ServerSettings):
        for name in kind.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("WS402_CONFIG", raising=False)
    monkeypatch.delenv("WS402_SECRETS_DIR", raising=False)


def test_defaults_are_safe() -> None:
    gateway, server = load(GatewaySettings), load(ServerSettings)
    assert (gateway.gateway_host, gateway.gateway_port) == ("127.0.0.1", 4029)
    assert gateway.gateway_api_key == []
    assert gateway.networks() == []
    assert (server.port, server.provider, server.status_public) == (4030, "proxy", False)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_RPC", f"{URL}, https://other.example")
    monkeypatch.setenv("BASE_NETWORK", "base")
    monkeypatch.setenv("MERCHANT_PRIVATE_KEY", "0x" + "11" * 32)
    monkeypatch.setenv("GATEWAY_PORT", "5000")
    monkeypatch.setenv("INVOICE_SECONDS", "")
    loaded = load(GatewaySettings)
    (network,) = loaded.networks()
    assert (network.network, network.chain_id, len(network.rpc)) == ("base", 8453, 2)
    assert network.merchant_private_key == SecretStr("0x" + "11" * 32)
    assert (loaded.gateway_port, loaded.invoice_seconds) == (5000, 900)


def test_explicit_values_come_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "ws402.toml"
    file.write_text("gateway_port = 1\ninvoice_seconds = 60\nverify_wait_seconds = 3\nport = 9\n")
    monkeypatch.setenv("WS402_CONFIG", str(file))
    monkeypatch.setenv("GATEWAY_PORT", "2")
    monkeypatch.setenv("INVOICE_SECONDS", "70")
    loaded = load(GatewaySettings, gateway_port=3)
    assert (loaded.gateway_port, loaded.invoice_seconds, loaded.verify_wait_seconds) == (3, 70, 3)
    assert load(ServerSettings).port == 9


@pytest.mark.parametrize(
    ("content", "told"),
    [("gateway_prot = 1", "gateway_prot"), ("a = = 1", "not TOML"), ("gateway_port = 'x'", "GATEWAY_PORT")],
)
def test_a_wrong_file_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "ws402.toml"
    file.write_text(content)
    monkeypatch.setenv("WS402_CONFIG", str(file))
    with pytest.raises(ConfigurationError) as refused:
        load(GatewaySettings)
    assert told in str(refused.value)


def test_a_file_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WS402_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigurationError) as refused:
        load(GatewaySettings)
    assert "WS402_CONFIG" in str(refused.value)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"gateway_port": 70_000}, "GATEWAY_PORT"),
        ({"verify_wait_seconds": 30}, "VERIFY_WAIT_SECONDS"),
        ({"evm_networks": [{"network": "base", "chain_id": 1, "rpc": []}]}, "EVM_NETWORKS.0.RPC"),
        ({"evm_networks": [{"network": "base", "chain_id": 1, "rpc": [URL], "colour": 1}]}, "EVM_NETWORKS.0.COLOUR"),
        ({"bindings": ["trust"]}, "BINDINGS.0"),
        ({"base_network": "mainnet"}, "BASE_NETWORK"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(GatewaySettings, **values)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_drain_that_would_be_cut_off_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever set it: the environment, a mounted Secret, the file."""
    assert load(ServerSettings, drain_seconds=3600).stop_seconds is None
    monkeypatch.setenv("STOP_SECONDS", "40")
    assert load(ServerSettings, drain_seconds=25).drain_seconds == 25
    monkeypatch.setenv("WS402_SECRETS_DIR", str(tmp_path))
    (tmp_path / "drain_seconds").write_text("26")
    with pytest.raises(ConfigurationError, match=r"DRAIN_SECONDS is 26, .* at most 25 fit"):
        load(ServerSettings)
    monkeypatch.setenv("DRAIN_SECONDS", "300")
    with pytest.raises(ConfigurationError, match=r"DRAIN_SECONDS is 300, .* server\.settings\.drain_seconds"):
        load(ServerSettings)


@pytest.mark.parametrize(
    "address",
    [
        "shop.example/path",
        "wss://shop.example",
        "https://",
        "https://shop.example/?a=b",
        "https://shop.example/#part",
        "https://user:word@shop.example",
        "https://shop.example:99999",
        "https://shop example",
        "https://-shop.example",
        "//shop.example",
    ],
)
def test_a_public_url_that_nobody_could_reach_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="PUBLIC_URL"):
        load(ServerSettings, public_url=address)


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("HTTPS://Shop.Example", "https://shop.example"),
        ("https://shop.example/", "https://shop.example"),
        ("https://shop.example:8443/Sub/path/", "https://shop.example:8443/Sub/path"),
        ("http://[2001:db8::1]:80", "http://[2001:db8::1]:80"),
        ("http://127.0.0.1:4030", "http://127.0.0.1:4030"),
        ("http://localhost", "http://localhost"),
        ("", None),
    ],
)
def test_a_public_url_is_kept_in_its_usual_spelling(address: str, meant: str | None) -> None:
    assert load(ServerSettings, public_url=address).public_url == meant


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=6, max_size=31).filter(
        lambda key: key not in SPOKEN
    )
)
def test_a38_a_short_key_never_loads_and_is_never_quoted(key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(GatewaySettings, gateway_api_key=key)
    assert key not in str(refused.value)


def test_secrets_do_not_show() -> None:
    network = EvmNetworkSettings(
        network="base", chain_id=8453, rpc=[SecretStr(URL)], merchant_private_key=SecretStr(KEY)
    )
    loaded = load(
        GatewaySettings,
        gateway_api_key=KEY,
        gateway_admin_key=KEY,
        database_url="postgresql://user:password@host/name",
        evm_networks=[network],
        merchant_private_key=KEY,
    )
    shown = repr(loaded) + str(loaded) + loaded.model_dump_json() + repr(load(ServerSettings, gateway_api_key=KEY))
    assert KEY not in shown
    assert "password" not in shown
    assert "secret-access-key" not in shown


def test_the_short_form_does_not_repeat_a_network_that_is_written_in_full() -> None:
    full = EvmNetworkSettings(network="base-sepolia", chain_id=84532, rpc=[SecretStr(URL)], confirmations=3)
    loaded = load(GatewaySettings, base_rpc="https://other.example", evm_networks=[full])
    assert loaded.networks() == [full]


def test_a_resource_needs_a_target_unless_it_is_built_in() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(ServerSettings, resources=[{"id": "film", "kind": "file", "price_per_second": 1}])
    assert "'film'" in str(refused.value)
    loaded = load(ServerSettings, resources=[{"id": "t", "kind": "ticker", "price_per_second": 1}])
    assert loaded.resources[0].estimated_seconds == 300


def test_files_of_secrets_come_after_the_environment_and_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, folder = tmp_path / "ws402.toml", tmp_path / "secrets"
    file.write_text(f"gateway_api_key = '{'t' * 32}'\nbase_rpc = '{URL}'\ndatabase_url = 'sqlite:///toml.db'")
    # As Kubernetes mounts a Secret: links to a hidden folder of the version.
    version = folder / "..2026_11_24"
    version.mkdir(parents=True)
    for name, content in {
        "gateway_api_key": f"{'f' * 32},{'g' * 32}\n",
        "database_url": "postgresql://user:password@files/ws402\n",
        "merchant_private_key": "0x" + "22" * 32,
        "gateway_admin_key": f"{'a' * 32}",
    }.items():
        (version / name).write_text(content)
        (folder / name).symlink_to(version / name)
    monkeypatch.setenv("WS402_CONFIG", str(file))
    monkeypatch.setenv("WS402_SECRETS_DIR", str(folder))
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", "e" * 32)
    loaded = load(GatewaySettings)
    assert [each.get_secret_value() for each in loaded.gateway_api_key] == ["f" * 32, "g" * 32]
    assert [each.get_secret_value() for each in loaded.gateway_admin_key] == ["e" * 32]
    assert loaded.database_url.get_secret_value() == "postgresql://user:password@files/ws402"
    assert loaded.networks()[0].merchant_private_key == SecretStr("0x" + "22" * 32)
    assert "password" not in repr(loaded)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("merchant_privat_key", b"11", "merchant_privat_key"),
        ("merchant_private_key", b"\xff\xfe", "not text"),
        ("merchant_private_key", b"1" * 70_000, "too large"),
        ("gateway_api_key", b"short-and-secret", "GATEWAY_API_KEY"),
    ],
)
def test_a_wrong_file_of_secrets_is_told_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("WS402_SECRETS_DIR", str(tmp_path))
    with pytest.raises(ConfigurationError) as refused:
        load(GatewaySettings)
    assert told in str(refused.value)
    assert "secret" not in str(refused.value).replace("a secret", "")


def test_a_folder_of_secrets_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WS402_SECRETS_DIR", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError) as refused:
        load(GatewaySettings)
    assert "WS402_SECRETS_DIR" in str(refused.value)


VAULT = {"address": "https://vault.example:8200", "token_file": "/var/run/secrets/vault/token"}
SEPOLIA = {"network": "base-sepolia", "chain_id": 84532}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"vault": {**VAULT, "address": "http://vault.example:8200"}}, "https://"),
        ({"vault": {"address": VAULT["address"]}}, "token_file"),
        ({"vault": {**VAULT, "auth": "approle"}}, "role_id_file and secret_id_file"),
        ({"vault": VAULT, "aws": {}}, "both set"),
        ({"evm_networks": [{**SEPOLIA, "rpc": [URL], "signer": "vault"}]}, "VAULT is not set"),
        ({"evm_networks": [{**SEPOLIA, "rpc": [URL], "signer": "local"}]}, "MERCHANT_PRIVATE_KEY"),
        ({"vault": VAULT, "evm_networks": [{**SEPOLIA, "signer": "vault-transit:float"}]}, "secp256k1"),
        ({"vault": VAULT, "evm_networks": [{**SEPOLIA, "signer": "hsm"}]}, "EVM_NETWORKS.0.SIGNER"),
    ],
)
def test_a_source_of_secrets_that_makes_no_sense_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(GatewaySettings, **values)
    assert told in str(refused.value)


def test_with_vault_endpoints_and_keys_need_not_be_set() -> None:
    loaded = load(GatewaySettings, vault=VAULT, evm_networks=[{**SEPOLIA, "signer": "vault"}])
    assert loaded.vault is not None
    assert (loaded.vault.auth, loaded.vault.kv_mount, loaded.vault.path) == ("kubernetes", "secret", "ws402")
    assert load(GatewaySettings, vault={**VAULT, "address": "http://127.0.0.1:8210"}).vault is not None
    trial = {**VAULT, "address": "http://vault.ws402-dev.svc:8200", "allow_http": True}
    assert load(GatewaySettings, vault=trial).vault is not None
