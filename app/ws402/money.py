"""Amounts of money: integers in an asset's smallest unit, never floats, and their spelling in JSON.

A JSON number is exact only up to 2^53-1 (RFC 8259 §6), so a larger amount travels as a decimal string.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ws402.errors import InvalidRequestError

MAX_JSON_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exact."""

MAX_AMOUNT: Final = 2**256 - 1
"""The largest amount that a chain we know can express (uint256)."""

WireAmount = int | str
"""An amount as it stands in JSON: a number up to `MAX_JSON_INTEGER`, a decimal string above."""


class AmountError(InvalidRequestError):
    """An amount is not a positive whole number of smallest units."""

    code = "bad_amount"


class Asset(msgspec.Struct, frozen=True):
    """A currency on one network, amounts counted in units of 10^-decimals."""

    network: str
    symbol: str
    decimals: int
    contract: str | None = None
    """Address of the token contract or mint; None for the network's own coin."""


def parse_amount(value: object, *, field: str = "amount", zero: bool = False) -> int:
    """Read an amount in smallest units from JSON: an integer or a decimal string; never rounds.

    Raises AmountError for floats, booleans, signs, spaces, negative values, values above 2^256-1 and, unless `zero`,
    for 0.
    """
    remedy = f"Send '{field}' as a whole number of the asset's smallest unit, or as a string of digits."
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise AmountError(f"'{field}' is not a whole number.", remedy=remedy)
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit()) or len(value) > 78:
            raise AmountError(f"'{field}' is not a string of at most 78 digits.", remedy=remedy)
        value = int(value)
    if value < 0 or (value == 0 and not zero):
        raise AmountError(f"'{field}' must be greater than zero.", remedy=remedy)
    if value > MAX_AMOUNT:
        raise AmountError(f"'{field}' is above 2^256-1.", remedy=remedy)
    return value


def wire_amount(value: int) -> WireAmount:
    """Spell an amount for JSON: a number where that is exact everywhere, a decimal string above 2^53-1."""
    return value if -MAX_JSON_INTEGER <= value <= MAX_JSON_INTEGER else str(value)


def to_decimal(value: int, decimals: int) -> str:
    """Spell an amount of smallest units in whole coins, exactly and without trailing zeros: 1500000, 6 -> '1.5'.

    A difference may be below zero: -1500000, 6 -> '-1.5'.
    """
    whole, part = divmod(abs(value), 10**decimals)
    fraction = f"{part:0{decimals}d}".rstrip("0") if decimals else ""
    return ("-" if value < 0 else "") + (f"{whole}.{fraction}" if fraction else str(whole))


def read_coins(text: str, decimals: Mapping[str, int], *, field: str = "amount", zero: bool = False) -> tuple[int, str]:
    """Read '0.01 ETH' as smallest units of one of these assets, whose decimal places are given, and its name.

    Raises AmountError for another asset, for what would have to be rounded and, unless `zero`, for 0.
    """
    coins, _, symbol = text.strip().partition(" ")
    symbol = symbol.strip()
    if symbol not in decimals:
        raise AmountError(
            f"'{text[:80]}' is in none of {', '.join(sorted(decimals))}.",
            remedy=f"Write '{field}' like '0.01 {min(decimals)}', or as a whole number of smallest units.",
        )
    return parse_amount(from_decimal(coins, decimals[symbol]), field=field, zero=zero), symbol


def from_decimal(text: str, decimals: int) -> int:
    """Read whole coins ('1.5') as smallest units; refuses what would have to be rounded.

    Raises AmountError for anything but digits with at most `decimals` places after one point.
    """
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit()) or len(fraction) > decimals or not whole:
        raise AmountError(f"'{text}' is not an amount with at most {decimals} decimal places.")
    return int(whole + fraction.ljust(decimals, "0"))
