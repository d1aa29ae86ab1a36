"""The ledger as a Beancount file (https://beancount.github.io/docs/beancount_language_syntax.html).

Beancount infers tolerances from the digits that it reads, and rounds what is left blank: so every leg is written, with
all decimals of its asset, and balances are asserted to the unit (`~ 0`). A balance holds at the beginning of its day:
those of the last day are asserted on the next.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ws402.errors import WS402Error
from ws402.money import to_decimal

DIGITS: Final = 28
"""Beancount calculates by Python's decimals, which keep so many digits: a minus sign rounds, too."""
_CURRENCY_LENGTH: Final = 24
_PLAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_ROOTS: Final = {
    "chain": "Assets:WS402:Chain",
    "unclaimed": "Liabilities:WS402:Unclaimed",
    "session_escrow": "Liabilities:WS402:Escrow",
    "payer_due": "Liabilities:WS402:PayerDue",
    "credit": "Liabilities:WS402:Credit",
    "refund_in_flight": "Liabilities:WS402:RefundInFlight",
    "revenue": "Income:WS402:Revenue",
    "gas": "Expenses:WS402:Gas",
    "capital": "Equity:WS402:Capital",
}

Asset = tuple[str, str]
"""Network, symbol."""


def account(name: str, network: str, tenant: str | None, resource: str | None) -> str:
    """The account that one of the ledger's is here: by network, and what is earned by tenant and resource, too."""
    parts = [_ROOTS[name], component(network)]
    if name in {"session_escrow", "revenue"}:
        parts += [component(tenant or ""), component(resource or "")]
    return ":".join(parts)


def component(text: str) -> str:
    """A part of an account's name. What has to be changed for it keeps apart from others by a hash."""
    if _PLAIN.fullmatch(text):
        return text[0].upper() + text[1:]
    clean = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:40]
    return f"{clean[:1].upper() or 'X'}{clean[1:]}-{_hash(text)}"


def commodity(network: str, asset: str) -> str:
    """A currency's name, at most 24 of A-Z, 0-9, '.', '-': an asset of one network, for decimals differ by network."""
    symbol = re.sub(r"[^A-Z0-9]+", "-", asset.upper()).strip("-")
    if not symbol[:1].isalpha():
        symbol = f"X{symbol}"
    if symbol != asset:
        symbol = f"{symbol[:8]}-{_hash(asset).upper()}"
    name = f"{symbol}.{re.sub(r'[^A-Z0-9]+', '-', network.upper()).strip('-')}"
    if len(name) > _CURRENCY_LENGTH:
        name = f"{name[: _CURRENCY_LENGTH - 7].rstrip('.-')}-{_hash(f'{network}/{asset}').upper()}"
    return name


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def padded(amount: int, decimals: int) -> str:
    """Whole coins with all decimals, never rounded: 15, 1 -> '1.5'; -5, 2 -> '-0.05'."""
    whole, _, fraction = to_decimal(abs(amount), decimals).partition(".")
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole}.{fraction.ljust(decimals, '0')}" if decimals else f"{sign}{whole}"


def quoted(text: str) -> str:
    """A string of Beancount's, on one line."""
    return '"' + re.sub(r"\s+", " ", text).replace("\\", "\\\\").replace('"', '\\"') + '"'


class Writer:
    """Lines of one file, and what its accounts hold: debits minus credits, in smallest units."""

    def __init__(self, decimals: Mapping[Asset, int | None], first: dt.date, last: dt.date) -> None:
        self._decimals = decimals
        self._first = first
        self._last = last
        self.totals: dict[tuple[str, Asset], int] = {}

    def head(self, accounts: set[str], opening: Mapping[tuple[str, Asset], int]) -> Iterator[str]:
        """What is there before the first entry: assets, accounts, and what these held."""
        yield f"; The ledger of a WS402 gateway, {self._first} to {self._last} (UTC)."
        for network, asset in sorted(self._decimals):
            yield ""
            yield f"{self._first} commodity {commodity(network, asset)}"
            yield f"  name: {quoted(f'{asset} on {network}')}"
        yield ""
        for each in sorted(accounts):
            yield f"{self._first} open {each}"
        moved = {key: amount for key, amount in sorted(opening.items()) if amount}
        if moved:
            yield ""
            yield f"{self._first} * {quoted('opening balances')}"
            for (name, held), amount in moved.items():
                yield self._leg(name, held, amount)

    def entry(self, row: Mapping[str, Any]) -> Iterator[str]:
        """One entry of the ledger: two legs of one amount."""
        asset = (row["network"], row["asset"])
        yield ""
        yield f"{row['day']} * {quoted(row['kind'])}"
        for name in ("entry", "time", "subject", "tenant", "resource", "tx"):
            if row[name] is not None:
                yield f"  {name}: {quoted(str(row[name]))}"
        for side, sign in (("debit", 1), ("credit", -1)):
            name = account(row[side], row["network"], row["tenant"], row["resource"])
            yield self._leg(name, asset, sign * int(row["amount"]))

    def tail(self) -> Iterator[str]:
        """What every account holds at the end."""
        yield ""
        after = self._last + dt.timedelta(days=1)
        for (name, asset), amount in sorted(self.totals.items()):
            if len(str(abs(amount))) > DIGITS:
                yield f"; {name} holds {amount} smallest units of {commodity(*asset)}: more digits than Beancount adds."
            else:
                decimals = self._decimals[asset] or 0
                yield f"{after} balance {name}  {padded(amount, decimals)} ~ 0 {commodity(*asset)}"

    def _leg(self, name: str, asset: Asset, amount: int) -> str:
        if len(str(abs(amount))) > DIGITS:
            raise WS402Error(
                f"{abs(amount)} smallest units of {asset[1]} on {asset[0]} have more digits than Beancount calculates "
                "with.",
                remedy="Export csv or jsonl.",
            )
        key = (name, asset)
        self.totals[key] = self.totals.get(key, 0) + amount
        return f"  {name}  {padded(amount, self._decimals[asset] or 0)} {commodity(*asset)}"
