"""Prices as people write them: read exactly or refused with what to write, and rounded once."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws402.money import AmountError, Asset, wire_amount
from ws402.prices import (
    SECONDS,
    Price,
    PriceError,
    Rate,
    by_second,
    check_decimals,
    decimals_of,
    price_of,
    read_use,
    read_written,
)
from ws402.protocol import PriceTerms, RateTerms, kept_price, price_terms, price_text, read_price, stated_price

amounts = st.integers(1, 2**200)
rates = st.builds(
    lambda exact: Price((Rate(SECONDS, exact.numerator, exact.denominator),)),
    st.fractions(min_value=Fraction(1, 2**50), max_value=10**30, max_denominator=2**50).filter(bool),
)
spans = st.integers(0, 10**12)


def read(text: str) -> Price:
    written = read_written(text)
    return price_of(written, decimals_of(written[0].symbol), text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("0.36 USDC per hour", Fraction(100)),
        ("0.00001 ETH per second", Fraction(10**13)),
        ("  1 SOL per day ", Fraction(10**9, 86_400)),
        ("0.000001 USDC per hour", Fraction(1, 3600)),
        ("0.0000001 USDC per minute", Fraction(1, 600)),
        ("2 USDC per 30 days", Fraction(2_000_000, 30 * 86_400)),
        ("6 USDC per 10k s", Fraction(600)),
        ("36 USDC per 1M seconds", Fraction(36)),
        ("1 USDT per week", Fraction(10**6, 604_800)),
    ],
)
def test_a_price_is_what_it_says_to_the_last_part(text: str, rate: Fraction) -> None:
    assert read(text).rate == rate


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("2 USDC per 1000 messages", {"messages": Fraction(2000)}),
        ("0.05 USDC per MB", {"bytes": Fraction(1, 20)}),
        ("1 USDC per MiB", {"bytes": Fraction(10**6, 2**20)}),
        ("1 USDC per KiB", {"bytes": Fraction(10**6, 1024)}),
        ("0.5 USDC per 1M tokens", {"tokens": Fraction(1, 2)}),
        ("0.36 USDC per hour + 1 USDC per message + 3 USDC per GB", {"messages": 10**6, "bytes": Fraction(3, 1000)}),
    ],
)
def test_other_units_have_prices_too(text: str, units: dict[str, Fraction]) -> None:
    price = read(text)
    assert {unit: Fraction(parts, price.divisor) for unit, parts in price.units.items()} == units
    assert price.per_second == (100 if "hour" in text else 0)
    kept = price_text(price)
    assert kept is not None
    assert kept_price(kept) == price


@pytest.mark.parametrize(
    ("text", "use"),
    [("1000 messages", ("messages", 1000)), (" 20 MB ", ("bytes", 20_000_000)), ("50k tokens", ("tokens", 50_000))],
)
def test_use_is_read_by_unit(text: str, use: tuple[str, int]) -> None:
    assert read_use(text) == use


@pytest.mark.parametrize("text", ["", "messages", "1000", "-1 messages", "1.5 MB", "0 MB", "1000 Tokens", "1 2 3"])
def test_use_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PriceError):
        read_use(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0.36 USDC", "0.36 USDC per hour"),
        ("0.36 USDC/hour", "0.36 USDC per hour"),
        ("", "0.36 USDC per hour"),
        ("0.36 USDC per hour " * 20, "0.36 USDC per hour"),
        ("0,36 USDC per hour", "one point"),
        ("1e3 USDC per hour", "one point"),
        ("-1 USDC per hour", "one point"),
        ("+1 USDC per hour", "0.36 USDC per hour"),
        (".5 USDC per hour", "one point"),
        ("٣ USDC per hour", "one point"),
        ("0.00 USDC per hour", "above zero"),
        ("0.36 $ per hour", "no asset"),
        ("0.36 USDC per month", "per 30 days"),
        ("0.36 USDC per year", "per 365 days"),
        ("0.36 USDC per hours of use", "0.36 USDC per hour"),
        ("0.36 USDC per huor", "Did you mean 'hour'?"),
        ("0.36 USDC per Fortnight", "Units are second"),
        ("0.36 USDC per Mb", "Did you mean 'MB'?"),
        ("0.36 USDC per mb", "Did you mean 'MB'?"),
        ("0.36 USDC per mesages", "Did you mean 'messages'?"),
        ("0.36 USDC per hour + 1 ETH per message", "one asset"),
        ("0.36 USDC per hour + 1 USDC per minute", "each of another unit"),
        ("0.36 USDC per hour +", "0.36 USDC per hour"),
        ("0.36 USDC per 0 hours", "whole number"),
        ("0.36 USDC per 1.5 hours", "whole number"),
        ("0.36 USDC per 1K hours", "whole number"),
        ("0.36 usdc per hour", "Did you mean 'USDC'?"),
        ("0.36 ETHH per hour", "Did you mean 'ETH'?"),
        ("0.36 WEIRD per hour", "decimals = 6"),
        ("0." + "0" * 40 + "1 USDC per hour", "too small"),
        ("1" + "0" * 77 + " USDC per hour", "too small or too large"),
    ],
)
def test_what_is_no_price_is_refused_with_what_to_write(text: str, says: str) -> None:
    with pytest.raises(PriceError) as refused:
        read(text)
    assert says in str(refused.value)


@given(rates, spans, spans)
def test_a_price_never_falls_rounds_once_for_the_payer_and_never_gains_by_parts(
    price: Price, ms: int, more: int
) -> None:
    exact = price.rate * ms / 1000
    assert price.cost(ms) == exact.numerator // exact.denominator
    assert price.cost(ms + more) >= price.cost(ms)
    assert price.cost(ms) + price.cost(more) <= price.cost(ms + more)


@given(rates, st.integers(1, 10**8))
def test_what_is_paid_for_a_time_lasts_for_it_and_stock_peers_see_no_less(price: Price, seconds: int) -> None:
    paid = price.quote(seconds)
    assert paid - 1 < price.rate * seconds <= paid
    assert price.lasts_ms(paid) >= seconds * 1000
    assert price.cost(price.lasts_ms(paid)) <= paid
    assert price.cost(seconds * 1000) <= paid <= price.per_second * seconds
    assert price.per_second - 1 < price.rate <= price.per_second


@given(rates, amounts)
def test_it_is_exhausted_at_the_first_millisecond_that_costs_all(price: Price, paid: int) -> None:
    end = price.exhausts_ms(paid)
    assert price.cost(end) >= paid > price.cost(end - 1)


def test_a_second_costs_its_price() -> None:
    assert by_second(12_345).cost(1000) == 12_345
    assert by_second(1).cost(999) == 0
    assert by_second(10**18).cost(1500) == 15 * 10**17


@given(rates)
def test_a_price_comes_back_as_it_went(price: Price) -> None:
    assert read_price(price_terms(price)) == price
    kept = price_text(price)
    assert (by_second(price.per_second) if kept is None else kept_price(kept)).same(price)
    assert stated_price(wire_amount(price.per_second), price_terms(price)) == price


def terms(*rates: tuple[str, int | str, int], text: str | None = None) -> PriceTerms:
    return PriceTerms(rates=[RateTerms(unit=unit, amount=amount, per=per) for unit, amount, per in rates], text=text)


@pytest.mark.parametrize(
    "wrong",
    [
        terms(),
        terms(("seconds", 0, 1)),
        terms(("seconds", -1, 1)),
        terms(("seconds", "1.5", 1)),
        terms(("seconds", 1, 0)),
        terms(("Parsecs", 1, 1)),
        terms(("x" * 33, 1, 1)),
        terms(("seconds", 1, 1), ("seconds", 1, 1)),
        terms(*[("seconds", 1, 1)] * 9),
        terms(("seconds", 1, 1), text="x" * 401),
    ],
)
def test_a_price_of_the_wire_that_cannot_be_charged_is_refused(wrong: PriceTerms) -> None:
    with pytest.raises((PriceError, AmountError)):
        read_price(wrong)


def test_the_two_ways_to_state_a_price_must_agree() -> None:
    assert stated_price(None, None) is None
    assert stated_price(1, terms(("seconds", 1, 3600))) is not None
    with pytest.raises(PriceError, match="pricePerSecond"):
        stated_price(2, terms(("seconds", 1, 3600)))


def test_a_price_for_other_decimals_is_refused_with_the_setting_to_write() -> None:
    price = read("0.36 USDC per hour")
    check_decimals(price, Asset("base", "USDC", 6))
    check_decimals(by_second(1), Asset("bsc", "USDC", 18))
    with pytest.raises(PriceError, match="decimals = 18"):
        check_decimals(price, Asset("bsc", "USDC", 18))
