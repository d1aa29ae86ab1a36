"""Prices as people write them, and what use costs by them: exact rationals, rounded once, down, when one looks."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import Final, NamedTuple

from ws402.errors import InvalidRequestError
from ws402.money import Asset

SECONDS: Final = "seconds"
MESSAGES: Final = "messages"
BYTES: Final = "bytes"
"""Units that are counted by themselves: time, and what passes through the session, each way. Others are charged."""

EXAMPLE: Final = "Write it like '0.36 USDC per hour', '0.00001 ETH per second' or '2 USDC per 1000 messages'."

KNOWN_DECIMALS: Final = {"ETH": 18, "SOL": 9, "USDC": 6, "USDT": 6, "EURC": 6, "DAI": 18}
"""Places after the point of the coins that one need not tell; the gateway checks them against its asset."""

MAX_PER: Final = 2**53
"""The largest number of units, and of parts of a smallest unit, that a rate may speak of: JSON's exact integers end
there."""

MAX_RATES: Final = 8
NEVER_MS: Final = 2**62
"""More milliseconds than any session lasts."""

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
_SIZE: Final = {"byte": 1, "bytes": 1, "B": 1} | {
    f"{prefix}{infix}B": base**power
    for infix, base in (("", 1000), ("i", 1024))
    for power, prefix in enumerate(("k" if base == 1000 else "K", "M", "G", "T"), 1)
}
_NO_LENGTH: Final = {"month": "30 days", "months": "30 days", "year": "365 days", "years": "365 days"}
_SHAPE: Final = re.compile(r"(?P<coins>\S+)\s+(?P<symbol>\S+)\s+per\s+(?:(?P<count>\S+)\s+)?(?P<unit>\S+)", re.ASCII)
_USE: Final = re.compile(r"(?P<count>\S+)\s+(?P<unit>\S+)", re.ASCII)
_COINS: Final = re.compile(r"[0-9]{1,78}(\.[0-9]{1,78})?", re.ASCII)
_COUNT: Final = re.compile(r"([0-9]{1,15})([kMG]?)", re.ASCII)
_FACTORS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_OWN: Final = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)


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
    """What a millisecond costs, in parts of a smallest unit; 0 where time is free."""
    divisor: int = field(init=False, compare=False, repr=False)
    """Parts in one smallest unit: so many that every rate is a whole number of them."""
    units: dict[str, int] = field(init=False, compare=False, repr=False)
    """By unit but time: what one costs, in parts of a smallest unit. Not to be changed."""

    def __post_init__(self) -> None:
        """Raises PriceError for a price of nothing, of a unit twice, or with numbers that JSON does not carry."""
        names = [rate.unit for rate in self.rates]
        if not 0 < len(names) <= MAX_RATES or len(set(names)) < len(names):
            raise PriceError(f"A price has 1 to {MAX_RATES} rates, each of another unit.", remedy=EXAMPLE)
        for rate in self.rates:
            if not (0 < rate.amount < 2**256 and 0 < rate.per <= MAX_PER):
                raise PriceError("The price is too small or too large to be charged.", remedy=EXAMPLE)
            if _OWN.fullmatch(rate.unit) is None:
                raise PriceError(f"'{rate.unit[:32]}' is no unit.", remedy=EXAMPLE)
        divisor = lcm(*(rate.per * (1000 if rate.unit == SECONDS else 1) for rate in self.rates))
        parts = {each.unit: each.amount * divisor // each.per for each in self.rates}
        object.__setattr__(self, "divisor", divisor)
        object.__setattr__(self, "time", parts.pop(SECONDS, 0) // 1000)
        object.__setattr__(self, "units", parts)

    def same(self, other: Price) -> bool:
        """Whether both charge the same, however they are written."""
        return set(self.rates) == set(other.rates)

    @property
    def whole(self) -> bool:
        """Whether `per_second` says it all."""
        return len(self.rates) == 1 and self.rates[0].unit == SECONDS and self.rates[0].per == 1

    @property
    def plain(self) -> bool:
        """Whether it came as whole units a second, so that nothing was counted by decimal places."""
        return self.whole and self.decimals is None

    @property
    def rate(self) -> Fraction:
        """Smallest units a second, exactly: what time alone costs."""
        return Fraction(self.time * 1000, self.divisor)

    @property
    def per_second(self) -> int:
        """What time alone costs, smallest units a second, rounded up: for peers that know no parts of one."""
        return -(-self.time * 1000 // self.divisor)

    def charged(self, units: Mapping[str, int]) -> int:
        """What so many units cost, in parts of a smallest unit. Units that have no price are free."""
        return sum(parts * units.get(unit, 0) for unit, parts in self.units.items())

    def cost(self, elapsed_ms: int, charged: int = 0) -> int:
        """What so much use costs, rounded down to a smallest unit (for the payer)."""
        return (elapsed_ms * self.time + charged) // self.divisor

    def quote(self, seconds: int, units: Mapping[str, int] | None = None) -> int:
        """What to pay for so many seconds and units: rounded up, so that it lasts."""
        return -(-(seconds * 1000 * self.time + self.charged(units or {})) // self.divisor)

    def lasts_ms(self, amount: int) -> int:
        """For how many whole milliseconds `amount` is enough, if nothing but time is used."""
        return amount * self.divisor // self.time if self.time else NEVER_MS

    def exhausts_ms(self, amount: int, charged: int = 0) -> int:
        """The least number of milliseconds that, beside what is charged already, cost `amount`."""
        left = amount * self.divisor - charged
        if left <= 0:
            return 0
        return -(-left // self.time) if self.time else NEVER_MS


@lru_cache(maxsize=1024)
def by_second(amount: int) -> Price:
    """A whole number of smallest units a second. Raises PriceError unless that is above zero."""
    return Price((Rate(SECONDS, amount, 1),))


def read_written(text: str) -> list[Written]:
    """Read '0.36 USDC per hour', or several joined by '+'. Raises PriceError, which says what to write instead."""
    if len(text) > 400:
        raise PriceError(f"'{text[:80]}…' is no price.", remedy=EXAMPLE)
    found = [_written(each.strip(), text) for each in text.split("+")]
    if len({each.symbol for each in found}) > 1:
        raise PriceError(f"'{text}' is in several assets.", remedy="Write all of a price in one asset.")
    return found


def read_use(text: str) -> tuple[str, int]:
    """Read '1000 messages' or '50k tokens': a unit and how many of it. Raises PriceError."""
    match = _USE.fullmatch(text.strip())
    if match is None:
        raise PriceError(f"'{text[:80]}' is no number of units.", remedy="Write it like '1000 messages' or '20 MB'.")
    name, size = _unit(match["unit"], text)
    return name, _counted(match["count"], text) * size


def _written(text: str, whole: str) -> Written:
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise PriceError(f"'{whole}' is no price.", remedy=EXAMPLE)
    coins, symbol, count, unit = match["coins"], match["symbol"], match["count"], match["unit"]
    if _COINS.fullmatch(coins) is None:
        raise PriceError(
            f"'{coins}' in '{text}' is no amount of coins.", remedy="Write digits with at most one point, like 0.36."
        )
    if re.fullmatch(r"[0-9]{0,8}[A-Za-z][A-Za-z0-9._-]{0,31}", symbol, re.ASCII) is None:
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
    """The unit's one name, and how many of it the written one is. A resource may have units of its own."""
    if unit in _TIME:
        return SECONDS, _TIME[unit]
    if unit in _SIZE:
        return BYTES, _SIZE[unit]
    if unit in ("message", MESSAGES):
        return MESSAGES, 1
    if unit in _NO_LENGTH:
        raise PriceError(f"'{unit}' in '{whole}' has no fixed length.", remedy=f"Write 'per {_NO_LENGTH[unit]}'.")
    known = [*_TIME, *_SIZE, "message", MESSAGES]
    close = [each for each in known if each.lower() == unit.lower()] or difflib.get_close_matches(
        unit, [each for each in known if len(each) > 3], 1, 0.75
    )
    if close:
        raise PriceError(f"'{unit}' in '{whole}' is no unit.", remedy=f"Did you mean '{close[0]}'?")
    if _OWN.fullmatch(unit) is None:
        raise PriceError(
            f"'{unit}' in '{whole}' is no unit.",
            remedy="Units are second, minute, hour, day, week, message, byte, kB, MB, GB, or one of your own in lower"
            " case, like tokens.",
        )
    return unit, 1


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
