"""Prices in the settings of a resource."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from pydantic import ValidationError

from ws402.settings import ResourceSettings


def resource(**values: Any) -> ResourceSettings:
    return ResourceSettings(id="film", kind="ticker", **values)


def test_a_price_says_what_is_paid_in() -> None:
    film = resource(price="0.36 USDC per hour")
    assert (film.asset, film.terms.rate, film.terms.text) == ("USDC", 100, "0.36 USDC per hour")
    assert resource(price="0.36 USDC per hour", asset="USDC") == film
    assert hash(resource(price="0.36 USDC per hour")) == hash(film)


def test_decimals_can_be_said_of_any_token() -> None:
    assert resource(price="1 WEIRD per hour", decimals=2).terms.rate == Fraction(100, 3600)
    assert resource(price="1 USDC per second", decimals=18).terms.rate == 10**18


def test_whole_smallest_units_are_still_a_price() -> None:
    film = resource(price_per_second=10**13)
    assert (film.asset, film.terms.rate, film.terms.plain) == (None, 10**13, True)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, 'price = "0.36 USDC per hour"'),
        ({"price": "0.36 USDC per hour", "price_per_second": 100}, "needs one price"),
        ({"price": "0.36 USDC per huor"}, "Did you mean 'hour'?"),
        ({"price": "cheap"}, "0.36 USDC per hour"),
        ({"price": 5}, "valid string"),
        ({"price": "0.36 USDC per hour", "asset": "ETH"}, "the price is in USDC"),
        ({"price": "1 WEIRD per hour"}, "decimals = 6"),
        ({"price_per_second": 0}, "greater than or equal to 1"),
        ({"price": "1 USDC per 1M tokens", "estimated_use": "1M tokens"}, "nothing can charge for 'tokens'"),
        ({"price": "1 USDC per message"}, "1000 messages"),
        ({"price": "1 USDC per message", "estimated_use": "5 MB"}, "1000 messages"),
        ({"price": "1 USDC per hour", "estimated_use": "5 messages"}, "only time has a price"),
        ({"price": "1 USDC per message", "estimated_use": "many"}, "20 MB"),
    ],
)
def test_a_price_that_cannot_be_read_says_what_to_write(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        resource(**values)
    assert says in str(refused.value)


def test_what_is_paid_up_front_follows_from_what_one_uses() -> None:
    model = ResourceSettings(
        id="model",
        kind="python",
        target="shop:model",
        price="0.36 USDC per hour + 0.5 USDC per 1M tokens",
        estimated_use="20k tokens",
        estimated_seconds=600,
    )
    assert model.units(601) == {"tokens": 20_034}
    assert model.terms.quote(601, model.units(601)) == 60_100 + 10_017
    assert resource(price="0.36 USDC per hour").units(601) is None
