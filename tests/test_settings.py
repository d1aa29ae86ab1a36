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
