"""What is looked up among open invoices, by an index: how many there are, and which salted amounts are taken."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol

from sqlalchemy import Select, Text, bindparam, func, select

from ws402.chains.base import Chain
from ws402.errors import UnavailableError, WS402Error
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.tables import invoices, payments
from ws402.gateway.ledger.transactions import Transaction
from ws402.protocol import GenerateRequest
from ws402.settings import GatewaySettings

SALT_DRAWS: Final = (8, 64, 928)
"""Extras tried for one invoice, look by look, before all salted amounts count as used."""

CHOICES: Final = 100_000
"""Unique amounts for one price, where its asset is fine enough: as many as invoices that can be open."""

COUNT_SECONDS: Final = 2.0
"""Unpaid invoices are counted at most this often, and not before a good part of what was free may be used."""

OLD_SECONDS: Final = 60.0
"""A count is trusted for this long: other gateways make invoices, too."""


class Salted(Protocol):
    """An invoice to be made. `amount`: smallest units."""

    chain: Chain
    asset: str
    amount: int
    unique: bool
    request: GenerateRequest


def unpaid(networks: Collection[str], now: int, most: int) -> Select[int]:
    """How many invoices of these networks can still be paid at `now` (ms); `most` at most."""
    paid = select(payments.c.id).where(payments.c.invoice_id == invoices.c.id).exists()
    open_ = select(invoices.c.id).where(invoices.c.network.in_(networks), invoices.c.expires_at > now, ~paid)
    return select(func.count()).select_from(open_.limit(most).subquery())


TAKEN: Final = Statement(
    select(invoices.c.amount).where(
        invoices.c.network == bindparam("network"),
        invoices.c.asset == bindparam("asset"),
        one_of(invoices.c.amount, "amounts"),
        invoices.c.expires_at > bindparam("now"),
    )
)
"""Which of `amounts` an invoice asks for that can still be paid at `now` (ms)."""

NAMED: Final = Statement(
    select(invoices.c.unique_amount).where(
        invoices.c.network == bindparam("network"),
        invoices.c.asset == bindparam("asset"),
        one_of(invoices.c.unique_amount, "amounts"),
        invoices.c.expires_at > bindparam("since"),
    )
)
"""Which of `amounts` name an invoice that could be paid after `since` (ms)."""

_LOCK: Final = Statement(select(func.pg_advisory_xact_lock(4021, func.hashtext(bindparam("kind", type_=Text)))))


class OpenInvoices:
    """Bounds the invoices that can be paid, and keeps their salted amounts apart."""

    def __init__(
        self,
        settings: GatewaySettings,
        database: Database,
        networks: Iterable[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._database = database
        self._networks = sorted(networks)
        self._clock = clock
        self._counted = float("-inf")
        self._free = 0
        """Invoices that could be made when they were counted last; and how many were made since."""
        self._made = 0

    async def take(self, count: int) -> int:
        """How many of `count` new invoices may be made now; they are counted as made."""
        age = self._clock() - self._counted
        if age >= OLD_SECONDS or (age >= COUNT_SECONDS and 4 * (self._made + count) > self._free):
            most = self._settings.max_unpaid_invoices
            query = unpaid(self._networks, self._database.clock.reference_ms(), most)
            async with self._database.read() as connection:
                self._free = most - (await connection.execute(query)).scalar_one()
            self._counted, self._made = self._clock(), 0
        granted = min(count, max(0, self._free - self._made))
        self._made += granted
        return granted

    async def salt(
        self, connection: Transaction, drafts: Sequence[tuple[int, Salted]], now: int
    ) -> dict[int, WS402Error]:
        """Make amounts unique among the open invoices of their asset, so that they name their invoices: all of them
        with `AMOUNT_SALT`, else those that are asked to be, and those that would have another one's. By position: those
        for which no amount is free.
        """
        if "legacy" not in self._settings.bindings:
            return {}  # an amount ties nothing here
        kinds: dict[tuple[str, str], list[tuple[int, Salted]]] = {}
        for position, draft in drafts:
            kinds.setdefault((draft.chain.network, draft.asset), []).append((position, draft))
        refused: dict[int, WS402Error] = {}
        for (network, asset), alike in sorted(kinds.items()):
            refused |= await self._salt(connection, network, asset, alike, now)
        return refused

    async def _salt(
        self, connection: Transaction, network: str, asset: str, alike: Sequence[tuple[int, Salted]], now: int
    ) -> dict[int, WS402Error]:
        """Those of one asset."""
        since = now - self._settings.invoice_seconds * 1000  # late payments still name the invoice before
        must: set[int] = set()
        if self._settings.amount_salt:
            must = {position for position, _ in alike}
        else:
            amounts = {draft.amount for _, draft in alike}
            found = await connection.fetch(NAMED, network=network, asset=asset, amounts=amounts, since=since)
            named = set(found.scalars())
            must = {position for position, draft in alike if draft.amount in named}
        left = [(at, draft) for at, draft in alike if at in must or _wants(draft)]
        if not left:
            return {}
        if connection.dialect.name == "postgresql":
            # Another gateway draws after us, so that it sees what we drew.
            await connection.fetch(_LOCK, kind=f"{network} {asset}")
        drawn = {at for at, _ in left}
        ours = {draft.amount for at, draft in alike if at not in drawn}
        for draws in SALT_DRAWS:
            left = await self._draw(connection, network, asset, left, draws, ours, now, since)
        return {position: _all_used() for position, _ in left if position in must}

    async def _draw(
        self,
        connection: Transaction,
        network: str,
        asset: str,
        left: Sequence[tuple[int, Salted]],
        draws: int,
        ours: set[int],
        now: int,
        since: int,
    ) -> list[tuple[int, Salted]]:
        """One look; answers those who found no free amount."""
        without: list[tuple[int, Salted]] = []
        step = max(1, 4000 // draws)  # parameters of one statement
        for begin in range(0, len(left), step):
            drawn = [
                (position, draft, self._extras(draft.amount, draws)) for position, draft in left[begin : begin + step]
            ]
            asked = {amount for _, _, amounts in drawn for amount in amounts}
            values = {"network": network, "asset": asset, "amounts": asked}
            known = await connection.fetch(TAKEN, **values, now=now)
            late = await connection.fetch(NAMED, **values, since=since)
            used = {*known.scalars(), *late.scalars(), *ours}
            for position, draft, amounts in drawn:
                amount = next((each for each in amounts if each not in used), None)
                if amount is None:
                    without.append((position, draft))
                    continue
                draft.amount, draft.unique = amount, True
                used.add(amount)
                ours.add(amount)
        return without

    def _extras(self, amount: int, draws: int) -> list[int]:
        """Amounts to try."""
        if most := self._settings.amount_salt:
            return [amount + 1 + secrets.randbelow(most) for _ in range(draws)]
        count, unit = spread(amount)
        return [amount + unit * (1 + secrets.randbelow(count)) for _ in range(draws)] if count else []


def spread(amount: int) -> tuple[int, int]:
    """By how many steps of how many smallest units an amount may be raised to make it unique.

    At most a thousandth, or a hundredth of what has few units; round where it can be, for people type it in. It is
    credited like the rest, and what is not used goes back.
    """
    most = max(amount // 1000, min(999, amount // 100))
    unit = 1
    while most // (unit * 10) >= CHOICES:
        unit *= 10
    return most // unit, unit


def by_link(chain: Chain, bindings: Collection[str]) -> bool:
    """Whether a payment by a wallet's link is taken: it carries a reference, or nothing but its amount."""
    return "legacy" in bindings or (chain.reference_is_public and "claim_token" in bindings)


def _wants(draft: Salted) -> bool:
    """Somebody will pay it by a link that has room for the amount only."""
    return bool(draft.request.unique_amount) and not draft.chain.reference_is_public


def too_many() -> UnavailableError:
    """Why no further invoice is made."""
    return UnavailableError(
        "Too many invoices wait for their payment.",
        remedy="Ask again in some minutes: unpaid invoices expire. The operator can raise MAX_UNPAID_INVOICES.",
        code="too_many_invoices",
    )


def _all_used() -> UnavailableError:
    return UnavailableError(
        "The salted amounts are nearly all in use.", remedy="Raise AMOUNT_SALT, or shorten INVOICE_SECONDS."
    )
