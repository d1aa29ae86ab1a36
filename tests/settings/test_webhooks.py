"""Webhooks in the settings: addresses that are safe, and secrets that every receiver reads."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from ws402.errors import ConfigurationError
from ws402.settings import GatewaySettings, load
from ws402.settings.webhooks import signing_key

GOOD = "whsec_" + base64.b64encode(b"k" * 24).decode()
HOOK = {"name": "shop", "url": "https://shop.example/hooks"}


@pytest.mark.parametrize("size", [24, 30, 32, 64])
def test_a_secret_is_read_as_the_public_package_reads_it(size: int) -> None:
    secret = "whsec_" + base64.b64encode(bytes(range(size))).decode()
    assert signing_key(SecretStr(secret)) == Webhook(secret)._whsecret == bytes(range(size))


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("dGhlIHNlY3JldCBvZiBhIHJlY2VpdmVy", "does not begin with whsec_"),
        ("whsec_" + base64.b64encode(b"k" * 32).decode().rstrip("="), "with its padding"),
        ("whsec_" + base64.urlsafe_b64encode(b"\xff" * 24).decode(), "standard base64"),
        ("whsec_" + base64.b64encode(b"k" * 23).decode(), "23 bytes"),
        ("whsec_" + base64.b64encode(b"k" * 66).decode(), "66 bytes"),
        (GOOD + "\n", "standard base64"),
        ("whsec_", "0 bytes"),
    ],
)
def test_a_secret_that_some_receivers_cannot_read_is_refused_with_the_remedy(secret: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as refused:
        load(GatewaySettings, webhooks=[HOOK], webhook_secrets={"shop": [secret]})
    assert "openssl rand -base64 24" in str(refused.value)
    assert len(secret) < 10 or secret.strip() not in str(refused.value)


def test_secrets_come_from_the_environment_as_lists_or_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOKS", json.dumps([HOOK, HOOK | {"name": "audit"}]))
    monkeypatch.setenv("WEBHOOK_SECRETS", json.dumps({"shop": f"{GOOD}, {GOOD}", "audit": [GOOD]}))
    settings = load(GatewaySettings)
    assert {name: len(each) for name, each in settings.webhook_secrets.items()} == {"shop": 2, "audit": 1}
    assert GOOD not in repr(settings)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"webhooks": [HOOK]}, "no secret of 'shop'"),
        ({"webhooks": [HOOK, HOOK], "webhook_secrets": {"shop": [GOOD]}}, "two entries named 'shop'"),
        ({"webhooks": [HOOK], "webhook_secrets": {"shpo": [GOOD]}}, "'shpo', which is no webhook"),
        ({"webhooks": [HOOK], "webhook_secrets": {"shop": [GOOD] * 3}}, "at most two"),
        ({"webhooks": [HOOK | {"events": ["refund.sended"]}]}, "EVENTS"),
        ({"webhooks": [HOOK | {"name": "My Shop"}]}, "NAME"),
        ({"webhooks": [HOOK | {"ulr": "x"}]}, "Did you mean 'url'"),
    ],
)
def test_what_is_wrong_is_told_by_name(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load(GatewaySettings, **values)


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/hooks",
        "http://10.0.0.1/hooks",
        "ftp://shop.example/",
        "shop.example",
        "https://user:password@shop.example/",
        "https://shop.example/#part",
        "https://shop.example:99999/",
        "https://shop.example/a b",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://2852039166/",
        "https://0xa9.0xfe.0xa9.0xfe/",
        "HTTP://shop.example/",
        "https://xn--.example/",
        "https://shop.example/\x7f",
    ],
)
def test_an_address_that_is_unsafe_or_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"WEBHOOKS\.0"):
        load(GatewaySettings, webhooks=[HOOK | {"url": url}], webhook_secrets={"shop": [GOOD]})


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("http://127.0.0.1:8000/hooks", {}),
        ("http://localhost/", {}),
        ("http://[::1]:1/", {}),
        ("https://10.0.0.1/hooks?token=1", {}),
        ("http://shop.shop.svc/hooks", {"allow_http": True}),
    ],
)
def test_an_address_of_a_trial_or_of_the_cluster_is_taken(url: str, more: dict[str, Any]) -> None:
    hook = HOOK | {"url": url} | more
    assert load(GatewaySettings, webhooks=[hook], webhook_secrets={"shop": [GOOD]}).webhooks[0].url == url
