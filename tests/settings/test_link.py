"""Settings of the link between servers and gateway: what would leave it open is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ws402.errors import ConfigurationError
from ws402.settings import GatewaySettings, ServerSettings, load

KEY = "0123456789abcdef" * 2
TLS = {"gateway_tls_cert_file": "/tls/tls.crt", "gateway_tls_key_file": "/tls/tls.key"}


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        (GatewaySettings, {"gateway_tls_cert_file": "/tls/tls.crt"}, "go together"),
        (GatewaySettings, {"gateway_tls_client_ca_file": "/tls/ca.crt"}, "needs GATEWAY_TLS_CERT_FILE"),
        (GatewaySettings, {"kubernetes_identity": {"allow": []}}, "at least 1 item"),
        (GatewaySettings, {"kubernetes_identity": {"allow": ["shop/*"]}}, "without patterns"),
        (GatewaySettings, {"kubernetes_identity": {"allow": ["shop"]}}, "not namespace/serviceaccount"),
        (GatewaySettings, {"kubernetes_identity": {"allow": ["a/b", "t:a/b"]}}, "names an account twice"),
        (
            GatewaySettings,
            {"kubernetes_identity": {"allow": ["a/b"], "issuer": "https://api", "jwks_url": "http://api/jwks"}},
            "not an https:// address",
        ),
        (GatewaySettings, {"kubernetes_identity": {"allow": ["a/b"]}}, "needs token_file"),
        (ServerSettings, {"gateway_api_key": KEY, "gateway_token_file": "/token"}, "exclude each other"),
        (ServerSettings, {"gateway_client_cert_file": "/tls/tls.crt"}, "go together"),
        (ServerSettings, {"gateway_ca_file": "/tls/ca.crt"}, "write GATEWAY_URL with https://"),
        (
            ServerSettings,
            {"resources": [{"id": "t", "kind": "ticker", "price_per_second": 1}], "resources_file": "/r.toml"},
            "exclude each other",
        ),
    ],
)
def test_settings_of_the_link_that_would_leave_it_open_are_refused(
    kind: type[GatewaySettings | ServerSettings], values: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told) as refused:
        load(kind, **values)
    assert KEY not in str(refused.value)


def test_an_identity_in_kubernetes_has_safe_defaults() -> None:
    identity = load(
        GatewaySettings, **TLS, kubernetes_identity={"allow": ["ws402/ws402-server"], "token_file": "/t"}
    ).kubernetes_identity
    assert identity is not None
    assert (identity.audience, identity.jwks_url) == (
        "ws402-gateway",
        "https://kubernetes.default.svc/openid/v1/jwks",
    )
