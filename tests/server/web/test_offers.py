"""What is offered for a resource, by its price and the terms."""

from __future__ import annotations

from typing import Any

import pytest

from ws402.protocol import TermsResponse, TokenTerms
from ws402.server.web.offers import offers
from ws402.settings import ResourceSettings, X402Settings

USDC: dict[str, Any] = {
    "asset": "USDC",
    "contract": "0x" + "11" * 20,
    "decimals": 6,
    "recipient": "0x" + "22" * 20,
    "name": "USD Coin",
    "version": "2",
    "min_amount": 10_000,
}
BASE = TokenTerms(network="base", chain_id=8453, **USDC)
SEPOLIA = TokenTerms(network="base-sepolia", chain_id=84532, **USDC)
TERMS = TermsResponse(tokens=[SEPOLIA, BASE], default_network="base")


def resource(price: str, **more: Any) -> ResourceSettings:
    return ResourceSettings(id="film", kind="ticker", price=price, **more)


@pytest.mark.parametrize(
    ("price", "duration", "seconds", "amount"),
    [
        ("0.001 USDC per second", None, 60, 60_000),
        ("0.00001 USDC per second", None, 1000, 10_000),  # for as long as the least amount lasts
        ("0.1 USDC per second", None, 10, 1_000_000),  # for no more than stock clients pay by themselves
        ("0.001 USDC per second", 600, 600, 600_000),
        ("0.1 USDC per second", 60, 60, 6_000_000),  # who asks for it gets it
        ("1 USDC per hour", None, 60, 16_667),  # rounded up, once
    ],
)
def test_an_offer_is_for_so_many_seconds(price: str, duration: int | None, seconds: int, amount: int) -> None:
    found = offers(TERMS, X402Settings(), resource(price), duration)
    assert [(each.token.network, each.seconds, each.amount) for each in found] == [
        ("base", seconds, amount),
        ("base-sepolia", seconds, amount),
    ]


@pytest.mark.parametrize(
    ("price", "use"),
    [
        ("0.001 ETH per second", None),
        ("2 USDC per second", None),  # a second costs more than an offer may ask for
        ("1 USDC per 1000 messages", "1000 messages"),
        ("1 USDC per hour + 1 USDC per GB", "1 GB"),
    ],
)
def test_what_cannot_be_collected_or_told_ahead_is_not_offered(price: str, use: str | None) -> None:
    assert offers(TERMS, X402Settings(), resource(price, estimated_use=use), None) == []


def test_a_resources_network_is_the_only_one() -> None:
    found = offers(TERMS, X402Settings(), resource("1 USDC per hour", network="base-sepolia"), None)
    assert [each.network for each in found] == ["eip155:84532"]


def test_without_terms_or_switched_off_nothing_is_offered() -> None:
    assert offers(None, X402Settings(), resource("1 USDC per hour"), None) == []
    assert offers(TERMS, X402Settings(enabled=False), resource("1 USDC per hour"), None) == []
