"""Prices as people write them, and what use costs by them: exact rationals, rounded once, down, when one looks."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import Final, NamedTuple

from ws402.errors import InvalidRequestError
from ws402.money import Asset

SECONDS: Final = "seconds"

EXAMPLE: Final = "Write it like '0.36 USDC per hour' or '0.00001 ETH per second'."

KNOWN_DECIMALS: Final = {"ETH": 18, "SOL": 9, "USDC": 6, "USDT": 6, "EURC": 6, "DAI": 18}
"""Places after the point of the coins that one need not tell; the gateway checks them against its asset."""

MAX_PER: Final = 2**53
"""The largest number of units, and of parts of a smallest unit, that a rate may speak of: JSON's exact integers end
there."""

_TIME: Final = {
    name: seconds
    for names, seconds in (
        (("second", "seconds", "sec", "s"), 1),
        (("minute", "minutes", "min"), 60),
        (("hour", "hours", "h"), 3600),
        (("day", "days"), 86_400),
        (("week", "weeks"), 604_800),
    )
    for name in names
}
_NO_LENGTH: Final = {"month": "30 days", "months": "30 days", "year": "365 days", "years": "365 days"}
_SHAPE: Final = re.compile(r"(?P<coins>\S+)\s+(?P<symbol>\S+)\s+per\s+(?:(?P<count>\S+)\s+)?(?P<unit>\S+)", re.ASCII)
_COINS: Final = re.compile(r"[0-9]{1,78}(\.[0-9]{1,78})?", re.ASCII)
_COUNT: Final = re.compile(r"([0-9]{1,15})([kMG]?)", re.ASCII)
_FACTORS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


class PriceError(InvalidRequestError):
    """A price is not one that can be charged."""

    code = "bad_price"


class Written(NamedTuple):
    """A price as somebody wrote it: so many whole coins of `symbol` for one of `unit`."""

    symbol: str
    coins: Fraction
    unit: str


class Rate(NamedTuple):
    """`amount` smallest units of the asset for `per` of `unit`, in lowest terms."""

    unit: str
    amount: int
    per: int


@dataclass(frozen=True, slots=True)
class Price:
    """What use costs. `text`: as it was written; `decimals`: places of the asset for which it was counted."""

    rates: tuple[Rate, ...]
    text: str = ""
    decimals: int | None = None
    time: int = field(init=False, compare=False, repr=False)
    """What a millisecond costs, in parts of a smallest unit."""
    divisor: int = field(init=False, compare=False, repr=False)
    """Parts in one smallest unit: so many that every rate is a whole number of them."""

    def __post_init__(self) -> None:
        """Raises PriceError for a price of nothing, of a unit twice, or with numbers that JSON does not carry."""
        units = [rate.unit for rate in self.rates]
        if units != [SECONDS]:
            raise PriceError("The price is not one of time.", remedy=EXAMPLE)
        for rate in self.rates:
            if not (0 < rate.amount < 2**256 and 0 < rate.per <= MAX_PER):
                raise PriceError("The price is too small or too large to be charged.", remedy=EXAMPLE)
        divisor = lcm(*(rate.per * 1000 for rate in self.rates))
        object.__setattr__(self, "divisor", divisor)
        object.__setattr__(self, "time", sum(each.amount * divisor // (each.per * 1000) for each in self.rates))

    def same(self, other: Price) -> bool:
        """Whether both charge the same, however they are written."""
        return self.rates == other.rates

    @property
    def whole(self) -> bool:
        """Whether `per_second` says it all."""
        return all(rate.per == 1 for rate in self.rates)

    @property
    def plain(self) -> bool:
        """Whether it came as whole units a second, so that nothing was counted by decimal places."""
        return self.whole and self.decimals is None

    @property
    def rate(self) -> Fraction:
        """Smallest units a second, exactly."""
        return Fraction(self.time * 1000, self.divisor)

    @property
    def per_second(self) -> int:
        """Smallest units a second, rounded up: for peers that know no parts of one."""
        return -(-self.time * 1000 // self.divisor)

    def cost(self, elapsed_ms: int) -> int:
        """What so much use costs, rounded down to a smallest unit (for the payer)."""
        return elapsed_ms * self.time // self.divisor

    def quote(self, seconds: int) -> int:
        """What to pay for so many seconds: rounded up, so that it lasts."""
        return -(-seconds * 1000 * self.time // self.divisor)

    def lasts_ms(self, amount: int) -> int:
        """For how many whole milliseconds `amount` is enough."""
        return amount * self.divisor // self.time

    def exhausts_ms(self, amount: int) -> int:
        """The least number of milliseconds that cost `amount`."""
        return -(-amount * self.divisor // self.time)


@lru_cache(maxsize=1024)
def by_second(amount: int) -> Price:
    """A whole number of smallest units a second. Raises PriceError unless that is above zero."""
    return Price((Rate(SECONDS, amount, 1),))


def read_written(text: str) -> Written:
    """Read '0.36 USDC per hour' or '2 USDC per 30 days'. Raises PriceError, which says what to write instead."""
    match = _SHAPE.fullmatch(text.strip()) if len(text) <= 256 else None
    if match is None:
        raise PriceError(f"'{text[:256]}' is no price.", remedy=EXAMPLE)
    coins, symbol, count, unit = match["coins"], match["symbol"], match["count"], match["unit"]
    if _COINS.fullmatch(coins) is None:
        raise PriceError(
            f"'{coins}' in '{text}' is no amount of coins.", remedy="Write digits with at most one point, like 0.36."
        )
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,31}|[0-9]+[A-Za-z][A-Za-z0-9._-]{0,31}", symbol, re.ASCII) is None:
        raise PriceError(f"'{symbol}' in '{text}' is no asset.", remedy=EXAMPLE)
    if Fraction(coins) == 0:
        raise PriceError(f"'{text}' is free.", remedy="A price is above zero.")
    name, size = _unit(unit, text)
    return Written(symbol, Fraction(coins) / (_counted(count, text) * size), name)


def _counted(text: str | None, whole: str) -> int:
    if text is None:
        return 1
    match = _COUNT.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise PriceError(f"'{text}' in '{whole}' is no count.", remedy="Write a whole number, like 1000, 10k or 1M.")
    return int(match[1]) * _FACTORS[match[2]]


def _unit(unit: str, whole: str) -> tuple[str, int]:
    """The unit's one name, and how many of it the written one is."""
    if unit in _TIME:
        return SECONDS, _TIME[unit]
    if unit in _NO_LENGTH:
        raise PriceError(f"'{unit}' in '{whole}' has no fixed length.", remedy=f"Write 'per {_NO_LENGTH[unit]}'.")
    close = difflib.get_close_matches(unit.lower(), _TIME, 1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    raise PriceError(f"'{unit}' in '{whole}' is no unit.", remedy=f"{hint}Units are second, minute, hour, day, week.")


def decimals_of(symbol: str) -> int:
    """Places after the point of a coin that everybody knows. Raises PriceError for another one."""
    known = KNOWN_DECIMALS.get(symbol)
    if known is None:
        close = [each for each in KNOWN_DECIMALS if each.lower() == symbol.lower()] or difflib.get_close_matches(
            symbol.upper(), KNOWN_DECIMALS, 1
        )
        hint = f"Did you mean '{close[0]}'? Else say" if close else "Say"
        raise PriceError(
            f"How many decimal places '{symbol}' has is not known here.",
            remedy=f"{hint} it: decimals = 6, for example.",
        )
    return known


def check_decimals(price: Price, asset: Asset) -> None:
    """Raises PriceError where a price was counted for an asset with other decimal places."""
    if price.decimals not in (None, asset.decimals):
        raise PriceError(
            f"The price is counted in {asset.symbol} of {price.decimals} decimal places; on {asset.network} it has"
            f" {asset.decimals}.",
            remedy=f"Say decimals = {asset.decimals} at the resource.",
            code="wrong_decimals",
        )


def price_of(written: Iterable[Written], decimals: int, text: str) -> Price:
    """The price in smallest units of an asset with so many decimal places. Raises PriceError."""
    rates = []
    for each in written:
        exact = each.coins * 10**decimals
        if exact.denominator > MAX_PER or exact.numerator >= 2**256:
            raise PriceError(f"'{text}' is too small or too large to be charged.", remedy=EXAMPLE)
        rates.append(Rate(each.unit, exact.numerator, exact.denominator))
    return Price(tuple(rates), text, decimals)
