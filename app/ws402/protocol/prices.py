"""Prices in full, on the wire."""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Final

import msgspec

from ws402.money import WireAmount, parse_amount, wire_amount
from ws402.prices import MAX_PER, MAX_RATES, Price, PriceError, Rate, by_second
from ws402.protocol.base import Count, Message

MAX_TEXT: Final = 400


class RateTerms(Message, kw_only=True):
    """`amount` smallest units of the asset for `per` of `unit`: `seconds`, `messages`, `bytes`, or a resource's own.

    A part of a smallest unit is one over its `per`.
    """

    unit: str
    amount: WireAmount
    per: Count


class PriceTerms(Message, kw_only=True):
    """A price in full. `text` is for people; `decimals` are the asset's, for which the rates were counted."""

    rates: list[RateTerms]
    text: str | None = None
    decimals: Count | None = None


@lru_cache(maxsize=1024)
def price_terms(price: Price) -> PriceTerms:
    """A price as it travels; not to be changed."""
    rates = [RateTerms(unit=each.unit, amount=wire_amount(each.amount), per=each.per) for each in price.rates]
    return PriceTerms(rates=rates, text=price.text or None, decimals=price.decimals)


def read_price(terms: PriceTerms) -> Price:
    """Raises PriceError or AmountError for what cannot be charged."""
    if not 0 < len(terms.rates) <= MAX_RATES or len(terms.text or "") > MAX_TEXT or (terms.decimals or 0) > 255:
        raise PriceError(f"A price has 1 to {MAX_RATES} rates.")
    rates = []
    for each in terms.rates:
        amount = parse_amount(each.amount, field="price")
        if not 0 < each.per <= MAX_PER:
            raise PriceError(f"A rate of the price is for {each.per} {each.unit[:32]}.")
        common = gcd(amount, each.per)
        rates.append(Rate(each.unit, amount // common, each.per // common))
    return Price(tuple(rates), terms.text or "", terms.decimals)


def stated_price(per_second: WireAmount | None, terms: PriceTerms | None) -> Price | None:
    """The price that a peer states: in full if it does, else the whole units a second; None when it states none.

    Raises PriceError where the two contradict each other, AmountError.
    """
    if terms is None:
        return None if per_second is None else by_second(parse_amount(per_second, field="pricePerSecond"))
    price = read_price(terms)
    if per_second is not None and parse_amount(per_second, field="pricePerSecond", zero=True) != price.per_second:
        raise PriceError(f"'pricePerSecond' is {per_second}, but the price in full makes {price.per_second} a second.")
    return price


@lru_cache(maxsize=1024)
def kept_price(text: str) -> Price:
    """A price from a place of our own where `price_text` put it."""
    return read_price(msgspec.json.decode(text, type=PriceTerms))


def price_text(price: Price) -> str | None:
    """How to keep a price beside its whole units a second; None when these say it all."""
    return None if price.whole else msgspec.json.encode(price_terms(price)).decode()
