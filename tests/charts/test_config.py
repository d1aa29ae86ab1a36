"""What the chart writes is what the programs read: their own settings load it."""

from __future__ import annotations

import base64
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr
from tests.charts.chart import CHART, DEV, EXAMPLES, Document, notes, one, refusal, render

from ws402.settings import EvmNetworkSettings, GatewaySettings, ResourceSettings, ServerSettings, load
from ws402.settings.resources import read_resources


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lays a ConfigMap's file, and a Secret's files, where the programs look."""

    for name in ("DATABASE_URL", "VAULT_ADDR", "SOLANA_RPC_URL"):  # of services that the other tests use
        monkeypatch.delenv(name, raising=False)

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


VAULT = {
    "address": "https://vault.vault.svc:8200",
    "caConfigMap": "vault-ca",
    "kv_mount": "kv",
    "max_stale_seconds": 600,
}
PEER = [{"namespace": "vault", "ports": [8200]}]


def test_keys_and_endpoints_come_from_vault(mounted: Any) -> None:
    mounted(render(example="single-region"), "ws402-gateway", "gateway.toml")
    settings = load(GatewaySettings)
    assert settings.vault is not None
    assert settings.vault.address.startswith("https://vault.vault.svc:8200")
    assert settings.vault.auth == "kubernetes"
    assert settings.vault.token_file == Path("/var/run/ws402/vault/token")
    assert settings.vault.ca_file == Path("/etc/ws402/vault-ca/ca.crt")
    (network,) = settings.networks()
    assert (network.network, network.rpc, network.merchant_private_key) == ("base", [], None)
    assert network.large_above == {"ETH": 10**18}, "amounts in quotes are exact"
    assert network.tokens[0].decimals == 6


def test_a_dev_chain_may_have_its_key_in_vault(mounted: Any) -> None:
    values = {
        "devchain": {"enabled": True},
        "secrets": {"source": "vault", "vault": VAULT},
        "gateway": {"egress": {"vault": PEER}},
    }
    documents = render(values)
    mounted(documents, "ws402-gateway", "gateway.toml")
    settings = load(GatewaySettings)
    assert settings.vault is not None
    assert (settings.vault.kv_mount, settings.vault.max_stale_seconds) == ("kv", 600)
    assert [each.network for each in settings.networks()] == ["base-sepolia"]
    assert not [each for each in documents if each["metadata"]["name"] == "ws402-gateway-dev"]


def test_the_development_vault_can_be_used_where_somebody_says_that_it_is_unsafe(mounted: Any) -> None:
    unsafe = {"address": "http://vault.ws402-dev.svc:8200", "allowHttp": True}
    values = {
        "devchain": {"enabled": True},
        "secrets": {"source": "vault", "vault": unsafe},
        "gateway": {"egress": {"vault": [{"namespace": "ws402-dev", "ports": [8200]}]}},
    }
    mounted(render(values), "ws402-gateway", "gateway.toml")
    settings = load(GatewaySettings)
    assert settings.vault is not None
    assert settings.vault.address == unsafe["address"]
    assert "UNSAFE: secrets.vault.allowHttp=true" in notes(values)
    safe = notes({**values, "secrets": {"source": "vault", "vault": {"address": "https://vault.vault.svc:8200"}}})
    assert "allowHttp" not in safe
    command = "ws402 vault bootstrap --network base-sepolia --service-account ws402-gateway --service-account-namespace"
    assert f"{command} ws402-private" in safe


def test_aws_and_solana_and_everything_else_pass_through(mounted: Any) -> None:
    values = {
        "networks": {"solana": [{"network": "solana-devnet", "require_memo": True, "hourly_limit": {"SOL": 10**9}}]},
        "secrets": {"source": "aws", "aws": {"region": "eu-central-1", "poll_seconds": 30.5}},
        "gateway": {
            "egress": {"extra": PEER, "rpc": PEER},
            "settings": {"bindings": ["tag"], "verify_wait_seconds": 12.5},
        },
        "metrics": {"enabled": False},
        "tls": {"mode": "none"},
        "identity": {"alsoAllow": ["acme:shop/till"], "issuer": "https://issuer.example"},
    }
    mounted(render(values), "ws402-gateway", "gateway.toml")
    settings = load(GatewaySettings)
    assert settings.aws is not None
    assert (settings.aws.region, settings.aws.poll_seconds) == ("eu-central-1", 30.5)
    assert settings.solana_networks[0].hourly_limit == {"SOL": 10**9}
    assert (settings.bindings, settings.verify_wait_seconds) == (["tag"], 12.5)
    assert (settings.metrics_port, settings.gateway_tls_cert_file) == (None, None)
    assert settings.kubernetes_identity is not None
    assert settings.kubernetes_identity.allow == ["ws402/ws402-server", "acme:shop/till"]
    assert settings.kubernetes_identity.issuer == "https://issuer.example"


def test_a_ledger_on_postgresql_comes_from_the_secret(mounted: Any) -> None:
    documents = render(example="postgresql")
    mounted(documents, "ws402-gateway", "gateway.toml")
    assert "database_url" not in load(GatewaySettings).model_fields_set
    pod = one(documents, "Deployment", "ws402-gateway")["spec"]["template"]["spec"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "secrets"]
    assert volume["secret"]["secretName"] == "ws402-gateway"
    assert {"name": "WS402_SECRETS_DIR", "value": "/etc/ws402/secrets"} in pod["containers"][0]["env"]


def test_servers_with_api_keys_read_them_from_a_file(mounted: Any) -> None:
    values = {
        **DEV,
        "identity": {"mode": "apiKeys"},
        "server": {"existingSecret": "shop", "settings": {"public_url": "https://x"}},
    }
    documents = render(values)
    mounted(documents, "ws402-server", "server.toml")
    settings = load(ServerSettings)
    assert (settings.gateway_token_file, settings.public_url) == (None, "https://x")
    container = one(documents, "Deployment", "ws402-server")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "WS402_SECRETS_DIR", "value": "/etc/ws402/secrets"} in container["env"]
    assert "kubernetes_identity" not in one(documents, "ConfigMap", "ws402-gateway")["data"]["gateway.toml"]


@pytest.mark.parametrize("example", EXAMPLES)
def test_resources_are_what_a_server_reads(example: str, tmp_path: Path) -> None:
    path = tmp_path / "resources.toml"
    path.write_text(one(render(example=example), "ConfigMap", "ws402-server-resources")["data"]["resources.toml"])
    assert read_resources(path)


def test_a_large_price_stays_exact(tmp_path: Path) -> None:
    price = 2**63 + 1
    resource = {"id": "a", "kind": "http", "target": "http://a.b", "price_per_second": str(price), "name": 'A "b" \\ ü'}
    path = tmp_path / "resources.toml"
    path.write_text(
        one(render({**DEV, "resources": [resource]}), "ConfigMap", "ws402-server-resources")["data"]["resources.toml"]
    )
    (read,) = read_resources(path)
    assert (read.price_per_second, read.name) == (price, 'A "b" \\ ü')


SCHEMA = json.loads((CHART / "values.schema.json").read_text())["properties"]


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (SCHEMA["server"]["properties"]["settings"], ServerSettings),
        (SCHEMA["gateway"]["properties"]["settings"], GatewaySettings),
        (SCHEMA["resources"]["items"], ResourceSettings),
        (SCHEMA["networks"]["properties"]["evm"]["items"], EvmNetworkSettings),
    ],
)
def test_the_chart_knows_every_setting_of_the_programs_and_no_other(
    table: dict[str, Any], kind: type[BaseModel]
) -> None:
    secret = {name for name, field in kind.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert set(table["properties"]) | secret == set(kind.model_fields)
    assert table["additionalProperties"] is False


def test_no_secret_of_a_program_is_taken_as_a_setting() -> None:
    checks = (CHART / "templates" / "_checks.tpl").read_text()
    for kind in (ServerSettings, GatewaySettings):
        for name, field in kind.model_fields.items():
            if SecretStr.__name__ in str(field.annotation):
                assert f'"{name}"' in checks, name
    told = refusal({**DEV, "gateway": {"settings": {"audit_log_key": "x" * 40}}})
    assert "values are not kept secret" in told


@pytest.mark.parametrize(
    ("component", "settings", "says"),
    [
        ("server", {"drain_secods": 3}, "'drain_secods' not allowed"),
        ("gateway", {"verify_wait": 3}, "'verify_wait' not allowed"),
        ("server", {"drain_seconds": "soon"}, "/server/settings/drain_seconds"),
        ("server", {"drain_seconds": -1}, "/server/settings/drain_seconds"),
        ("gateway", {"verify_wait_seconds": 26}, "/gateway/settings/verify_wait_seconds"),
        ("gateway", {"bindings": ["tags"]}, "/gateway/settings/bindings/0"),
        ("gateway", {"bindings": ["tag", None]}, "/gateway/settings/bindings/1"),
        ("server", {"trusted_proxies": [None]}, "/server/settings/trusted_proxies/0"),
        ("server", {"log_level": "loud"}, "/server/settings/log_level"),
        ("server", {"status_public": "yes"}, "/server/settings/status_public"),
    ],
)
def test_a_wrong_setting_is_refused_before_a_pod_reads_it(component: str, settings: Any, says: str) -> None:
    assert says in refusal({**DEV, component: {"settings": settings}})


def test_a_null_leaves_the_programs_default(mounted: Any) -> None:
    nothing = {"drain_seconds": None, "log_level": None, "trusted_proxies": None}
    documents = render({**DEV, "server": {"settings": nothing}})
    mounted(documents, "ws402-server", "server.toml")
    assert load(ServerSettings).drain_seconds == 20
    pod = one(documents, "Deployment", "ws402-server")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 45


def test_nulls_never_make_broken_toml_not_even_without_the_schema() -> None:
    network = {"network": "base", "chain_id": 8453, "final_after": None, "hourly_limit": {"ETH": None, "USDC": 7}}
    values = {
        "networks": {"evm": [network]},
        "secrets": {"vault": {"address": "https://vault", "namespace": None}},
        "gateway": {"egress": {"vault": PEER, "rpc": PEER}, "settings": {"default_asset": 'a "b"\x7f'}},
    }
    documents = render(values, unchecked=True)
    written = tomllib.loads(one(documents, "ConfigMap", "ws402-gateway")["data"]["gateway.toml"])
    assert written["evm_networks"] == [{"network": "base", "chain_id": 8453, "hourly_limit": {"USDC": 7}}]
    assert written["default_asset"] == 'a "b"\x7f'
    told = refusal({**DEV, "gateway": {"settings": {"bindings": ["tag", None]}}}, unchecked=True)
    assert "has an empty entry (null)" in told


def test_the_console_is_on_the_pods_loopback_and_the_notes_say_how_it_is_reached(mounted: Any) -> None:
    values = {**DEV, "gateway": {"settings": {"console_port": 4031}}}
    documents = render(values)
    mounted(documents, "ws402-gateway", "gateway.toml", "ws402-gateway-dev")
    assert load(GatewaySettings).console_port == 4031
    assert "4031" not in json.dumps([each for each in documents if each["kind"] in {"Service", "NetworkPolicy"}])
    assert "-o name | head -n 1) 4031\n" in notes(values)
    assert "console" not in notes()
