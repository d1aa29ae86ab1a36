"""What the chart writes is what the programs read: their own settings load it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from tests.charts.chart import Document, one, render

from ws402.settings import GatewaySettings, ServerSettings, load


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lays a ConfigMap's file, and a Secret's files, where the programs look."""

    def mount(documents: list[Document], config: str, file: str, secret: str | None = None) -> None:
        path = tmp_path / file
        path.write_text(one(documents, "ConfigMap", config)["data"][file])
        monkeypatch.setenv("WS402_CONFIG", str(path))
        if secret is not None:
            folder = tmp_path / "secrets"
            folder.mkdir()
            for name, value in one(documents, "Secret", secret)["data"].items():
                (folder / name).write_bytes(base64.b64decode(value))
            monkeypatch.setenv("WS402_SECRETS_DIR", str(folder))

    return mount


def test_a_gateway_loads_what_a_trial_gives_it(mounted: Any) -> None:
    mounted(render(), "ws402-gateway", "gateway.toml", "ws402-gateway-dev")
    settings = load(GatewaySettings)
    (network,) = settings.networks()
    assert (network.network, network.chain_id) == ("base-sepolia", 84532)
    assert network.merchant_private_key is not None
    assert network.rpc[0].get_secret_value() == "http://ws402-devchain.ws402.svc:8545"
    assert settings.database_url.get_secret_value() == "sqlite:////data/ws402.db"
    assert settings.kubernetes_identity is not None
    assert settings.kubernetes_identity.allow == ["ws402/ws402-server"]
    assert settings.gateway_tls_cert_file == Path("/etc/ws402/tls/tls.crt")
    assert settings.metrics_port == 9464
    assert len(settings.gateway_admin_key) == 1


def test_a_server_loads_what_a_trial_gives_it(mounted: Any) -> None:
    mounted(render(), "ws402-server", "server.toml")
    settings = load(ServerSettings)
    assert settings.gateway_url == "https://ws402-gateway.ws402-private.svc:4029"
    assert settings.gateway_token_file == Path("/var/run/ws402/gateway/token")
    assert settings.resources_file == Path("/etc/ws402/resources/resources.toml")
