"""What the accounts hold and what moved today, counted a little at a time: nobody reads the whole ledger at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import entries
from ws402.gateway.ledger.types import amount_sum

DAY_MS: Final = 86_400_000
SLACK_MS: Final = 3_600_000
"""Entries come in the order of their ids, and by far less than this not in that of their times."""
SETTLED_MS: Final = 300_000
"""Entries older than this are all committed: no transaction of ours takes as long."""
CHUNK: Final = 20_000
"""Entries summed by one query."""
PATIENCE_SECONDS: Final = 1.0
"""How long one page goes on counting."""

Key = tuple[str, str]
"""(network, asset)."""
Move = tuple[str, str, str, str]
"""(debit, credit, network, asset)."""
Sums = dict[Move, int]


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """One asset of one network, in smallest units; the first four are what today (UTC) brought."""

    network: str
    asset: str
    taken: int
    """Arrived from payers."""
    used: int
    """Became revenue."""
    refunded: int
    """Went back, and is final."""
    fees: int
    unclaimed: int
    held: int
    """In sessions that go on."""
    owed: int
    """To payers, wherever it is on its way."""
    funds: int
    """What our accounts hold, by the books."""


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """`through` of `newest` entries are counted: both the same when it is the whole."""

    money: list[Money]
    through: int
    newest: int


class Tally:
    """Counts one ledger, on from where it was when it was last asked."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = asyncio.Lock()
        self._through = 0
        self._all: Sums = {}
        self._day = 0
        self._today: Sums = {}

    async def read(self) -> Count:
        """Count on, for a second at most; the newest entries, which may still be joined by older ones, every time."""
        async with self._lock:
            now = self._database.now_ms()
            self._begin(now // DAY_MS)
            end = self._clock() + PATIENCE_SECONDS
            async with self._database.read() as connection:
                newest = await connection.scalar(select(func.max(entries.c.id))) or 0
                settled = await last_before(connection, now - SETTLED_MS)
                while self._through < settled:
                    upper = min(self._through + CHUNK, settled)
                    self._all, self._today = await self._with(connection, upper)
                    self._through = upper
                    if self._clock() >= end:
                        break
                if self._through < settled:
                    return Count(money=_money(self._all, self._today), through=self._through, newest=newest)
                every, today = await self._with(connection, newest)
        return Count(money=_money(every, today), through=newest, newest=newest)

    def _begin(self, day: int) -> None:
        if day != self._day:  # what is counted already was there before midnight
            self._day, self._today = day, {}

    async def _with(self, connection: AsyncConnection, upper: int) -> tuple[Sums, Sums]:
        """All, and today's, with the entries up to this one."""
        e = entries.c
        today = (e.created_at >= self._day * DAY_MS).label("today")
        query = select(e.debit, e.credit, e.network, e.asset, today, amount_sum(e.amount).label("total"))
        query = query.where(e.id > self._through, e.id <= upper)
        every, now = dict(self._all), dict(self._today)
        for row in await connection.execute(query.group_by(e.debit, e.credit, e.network, e.asset, "today")):
            key = (row.debit, row.credit, row.network, row.asset)
            every[key] = every.get(key, 0) + row.total
            if row.today:
                now[key] = now.get(key, 0) + row.total
        return every, now


async def last_before(connection: AsyncConnection, at_ms: int) -> int:
    """The id of the last entry from before this time, 0 for none: found by halving, for no index has the times."""
    low, high = 0, await connection.scalar(select(func.max(entries.c.id))) or 0
    while low < high:
        middle = (low + high + 1) // 2
        nearest = select(entries.c.id, entries.c.created_at).where(entries.c.id <= middle)
        row = (await connection.execute(nearest.order_by(entries.c.id.desc()).limit(1))).first()
        if row is None or row.created_at < at_ms:
            low = middle
        else:
            high = row.id - 1
    return low


def _money(every: Sums, today: Sums) -> list[Money]:
    return [
        Money(
            network=key[0],
            asset=key[1],
            taken=_net(today, key, "unclaimed", "chain"),
            used=_held(today, key, "revenue"),
            refunded=_net(today, key, "chain", "refund_in_flight"),
            fees=_net(today, key, "chain", "gas"),
            unclaimed=_held(every, key, "unclaimed"),
            held=_held(every, key, "session_escrow"),
            owed=sum(_held(every, key, each) for each in ("payer_due", "credit", "refund_in_flight")),
            funds=-_held(every, key, "chain"),
        )
        for key in sorted({(network, asset) for _, _, network, asset in every})
    ]


def _net(sums: Sums, key: Key, credit: str, debit: str) -> int:
    """What went from one account to the other, less what came back."""
    return sums.get((debit, credit, *key), 0) - sums.get((credit, debit, *key), 0)


def _held(sums: Sums, key: Key, account: str) -> int:
    """Credits minus debits."""
    return sum(
        amount * ((credit == account) - (debit == account))
        for (debit, credit, network, asset), amount in sums.items()
        if (network, asset) == key
    )
