"""Names that are nearly a setting's are told with what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from ws402.errors import ConfigurationError
from ws402.settings import GatewaySettings, ServerSettings, load
from ws402.settings.spelling import misspelt


def test_a_variable_that_is_nearly_a_setting_is_told_without_its_value() -> None:
    environment = {
        "GATEWAY_API_KEYS": "hidden",
        "MERCHANT_PRIVAT_KEY": "hidden",
        "GATEWAY_URL": "http://g",
        "PATH": "/bin",
        "PORTS": "1",
        "GATEWAY_URI": "",
        "WS402_GATEWAY_PORT_4029_TCP": "tcp://10.0.0.1:4029",
        "WS402_CONFIG": "ws402.toml",
    }
    told = misspelt(environment, (ServerSettings, GatewaySettings))
    assert told == [
        "GATEWAY_API_KEYS is set, but is no setting. Did you mean 'GATEWAY_API_KEY'?",
        "MERCHANT_PRIVAT_KEY is set, but is no setting. Did you mean 'MERCHANT_PRIVATE_KEY'?",
    ]


def test_a_setting_of_the_file_is_told_so_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "ws402.toml"
    path.write_text("gateway_ulr = 'http://g'")
    monkeypatch.setenv("WS402_CONFIG", str(path))
    with pytest.raises(ConfigurationError, match=r"gateway_ulr\. Did you mean 'gateway_url'\?"):
        load(ServerSettings)


def test_a_name_deep_in_a_table_is_compared_with_that_table(monkeypatch: pytest.MonkeyPatch) -> None:
    token = {"symbol": "USDC", "contract": "0x0", "decimal": 6}
    with pytest.raises(ConfigurationError, match=r"TOKENS\.0\.DECIMAL: is no setting\. Did you mean 'decimals'\?"):
        load(GatewaySettings, evm_networks=[{"network": "base", "chain_id": 8453, "tokens": [token]}])
