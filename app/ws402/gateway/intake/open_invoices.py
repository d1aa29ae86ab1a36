"""What is looked up among open invoices, by an index: how many there are, and which salted amounts are taken."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, Protocol

from sqlalchemy import Select, Text, bindparam, func, select

from ws402.chains.base import Chain
from ws402.errors import UnavailableError, WS402Error
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.tables import invoices, payments
from ws402.gateway.ledger.transactions import Transaction
from ws402.settings import GatewaySettings

SALT_DRAWS: Final = (8, 64, 928)
"""Extras tried for one invoice, look by look, before all salted amounts count as used."""

COUNT_SECONDS: Final = 2.0
"""Unpaid invoices are counted at most this often, and not before a good part of what was free may be used."""

OLD_SECONDS: Final = 60.0
"""A count is trusted for this long: other gateways make invoices, too."""


class Salted(Protocol):
    """An invoice to be made. `amount`: smallest units."""

    chain: Chain
    asset: str
    amount: int


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
        """Make each amount unique among the open invoices of its asset, so that it names its invoice. By position:
        those for which no amount is free.
        """
        kinds: dict[tuple[str, str], list[tuple[int, Salted]]] = {}
        for position, draft in drafts:
            kinds.setdefault((draft.chain.network, draft.asset), []).append((position, draft))
        refused: dict[int, WS402Error] = {}
        for (network, asset), wanted in sorted(kinds.items()):
            if connection.dialect.name == "postgresql":
                # Another gateway draws after us, so that it sees what we drew.
                await connection.fetch(_LOCK, kind=f"{network} {asset}")
            left, ours = wanted, set[int]()
            for draws in SALT_DRAWS:
                left = await self._draw(connection, network, asset, left, draws, ours, now)
            refused |= {position: _all_used() for position, _ in left}
        return refused

    async def _draw(
        self, connection: Transaction, network: str, asset: str, left: Any, draws: int, ours: set[int], now: int
    ) -> list[tuple[int, Salted]]:
        """One look; answers those who found no free amount."""
        without: list[tuple[int, Salted]] = []
        most = self._settings.amount_salt
        step = max(1, 4000 // draws)  # parameters of one statement
        for begin in range(0, len(left), step):
            drawn = [
                (
                    position,
                    draft,
                    [draft.amount + 1 + secrets.randbelow(most) for _ in range(draws)],
                )
                for position, draft in left[begin : begin + step]
            ]
            asked = {amount for _, _, amounts in drawn for amount in amounts}
            known = await connection.fetch(TAKEN, network=network, asset=asset, amounts=asked, now=now)
            used = {*known.scalars(), *ours}
            for position, draft, amounts in drawn:
                amount = next((each for each in amounts if each not in used), None)
                if amount is None:
                    without.append((position, draft))
                    continue
                draft.amount = amount
                used.add(amount)
                ours.add(amount)
        return without


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
