"""Secrets in what leaves the process are hidden; what is public stays readable."""

from __future__ import annotations

import json

import pytest

from ws402.observability import redact
from ws402.settings import GatewaySettings, load

KEY = "a1b2" * 16
TX = "0x" + "c3d4" * 16
SIGNATURE = "0x" + "e5" * 65


@pytest.fixture(autouse=True)
def _known() -> None:
    settings = load(
        GatewaySettings,
        merchant_private_key=f"0x{KEY}",
        base_rpc=["https://rpc.example/v3/abcdef0123456789abcdef"],
        gateway_api_key=["shop:" + "k" * 40],
        database_url="postgresql://ledger:hunter2hunter2@db.example/ws402",
    )
    redact.register_settings(settings)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"signing with {KEY}", KEY),
        (f"signing with 0x{KEY.upper()}", KEY.upper()),
        ("POST https://rpc.example/v3/abcdef0123456789abcdef failed", "abcdef0123456789abcdef"),
        ("POST https://other.example/v2/Zx81Zx81Zx81Zx81Zx81 failed", "Zx81"),
        ("GET https://node.example/?apikey=q1w2e3r4 failed", "q1w2e3r4"),
        ("https://user:open-sesame@node.example/ refused", "open-sesame"),
        ("the key " + "k" * 40, "k" * 40),
        ("password authentication failed for hunter2hunter2", "hunter2"),
        ("Authorization: Bearer Zm9vYmFyYmF6cXV4", "Zm9vYmFy"),
        ("{'authorization': 'Bearer Zm9vYmFyYmF6cXV4'}", "Zm9vYmFy"),
        ('{"type":"session_started","resumeToken":"t0ken-t0ken-t0ken"}', "t0ken"),
        (json.dumps(json.dumps({"claimToken": "t0ken-t0ken-t0ken"})), "t0ken"),
        ('{"payerSignature": "' + SIGNATURE + '"}', "e5e5"),
        (f"raw transaction {SIGNATURE}", "e5e5"),
        ('reference="secret-reference"', "secret-reference"),
        ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJlMTIz", "c2lnbmF0"),
        ("X-Vault-Token hvs.CAESIJ1234567890abcdefghij", "CAESIJ"),
    ],
)
def test_a35_a_secret_is_hidden(text: str, secret: str) -> None:
    cleaned = redact.redact(text)
    assert secret not in cleaned
    assert redact.HIDDEN in cleaned


@pytest.mark.parametrize(
    "text",
    [
        f"refund ref_01 of 5 ETH to 0x{'ab' * 20} is in {TX}",
        "GET https://node.example/health: 200",
        "another token: USDC has 6 decimals",
        "the claim tokens of two invoices differ",
    ],
)
def test_what_is_public_stays(text: str) -> None:
    assert redact.redact(text) == text


def test_a35_fields_named_like_secrets_lose_their_values() -> None:
    event = {"event": "x", "token": "abc", "nested": [{"api_key": "abc", "tx": TX}], "raw": b"123", "count": 3}
    assert redact.redact_all(event) == {
        "event": "x",
        "token": redact.HIDDEN,
        "nested": [{"api_key": redact.HIDDEN, "tx": TX}],
        "raw": "[3 bytes]",
        "count": 3,
    }
