"""What a gateway does by itself: settles for servers that vanished, owes stray money, and drops what is too old."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import ColumnElement, Table, delete, select, tuple_

from ws402.errors import UnavailableError
from ws402.gateway.ledger.batching import Batcher
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.event_tables import event_deliveries, events
from ws402.gateway.ledger.idempotency import KEEP_MS
from ws402.gateway.ledger.ids import first_id
from ws402.gateway.ledger.statements import one_of
from ws402.gateway.ledger.tables import idempotency_keys, invoices, payments, traces
from ws402.gateway.usage.sessions import Sessions
from ws402.gateway.usage.settlement import Settle
from ws402.gateway.watch.transfers import refund_unclaimed
from ws402.jobs import Job
from ws402.protocol import SettleResponse
from ws402.settings import GatewaySettings

log = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 1.0
"""How often vanished sessions and stray transfers are looked for."""

GAP_MS: Final = 5_000
"""Sweeps further apart than this: the process or its clock stood still, and nobody was listened to."""

CLOCK_SECONDS: Final = 5.0
"""How often the ledger's clock is compared with the database's."""

PURGE_SECONDS: Final = 600.0
"""How often what is too old to matter is dropped."""

SLICE: Final = 500
"""Rows dropped in one transaction; between two, others have the ledger for as long as the one took."""

TRACE_KEPT_MS: Final = 7 * 24 * 3600 * 1000
"""How long a session's refund can still go on in its trace."""


class Listening:
    """For how long others could be heard without a break. Their silence counts only as far as that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: tuple[float, int] | None = None
        self.since = clock()

    def seen(self, now_ms: int) -> None:
        """We are awake at this time of the ledger's clock. After a gap by either clock (a stopped process, a suspended
        machine), counting begins anew.
        """
        now = self._clock()
        if self._seen is not None and max((now - self._seen[0]) * 1000, now_ms - self._seen[1]) > GAP_MS:
            log.warning("this gateway stood still; the silence of servers counts from now on")
            self.since = now
        self._seen = now, now_ms

    def broken(self) -> None:
        """Nobody could be heard just now."""
        self.since = self._clock()

    @property
    def ms(self) -> int:
        """Milliseconds since the last break."""
        return int((self._clock() - self.since) * 1000)


class Upkeep:
    """The jobs. `settled` is called when sessions ended."""

    def __init__(
        self,
        settings: GatewaySettings,
        database: Database,
        sessions: Sessions,
        settling: Batcher[Settle, SettleResponse],
        settled: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._sessions = sessions
        self._settling = settling
        self._settled = settled
        self.listening = Listening()
        self._passed = ""
        """The last invoice that the purge has looked at."""
        self.jobs = (
            Job("sweep", self._sweep, SWEEP_SECONDS),
            Job("purge", self.purge, PURGE_SECONDS, delay=SWEEP_SECONDS),
            Job("ledger clock", database.set_clock, CLOCK_SECONDS),
        )

    async def _sweep(self) -> None:
        try:
            await self.sweep()
        except (UnavailableError, OSError):
            self.listening.broken()  # servers could not report meanwhile
            raise

    async def sweep(self) -> None:
        """Settle sessions whose servers vanished, and owe stray transfers to their senders."""
        now = self._database.now_ms()
        self.listening.seen(now)
        heard_ms = self.listening.ms
        vanish_ms, resume_ms = self._settings.vanish_seconds * 1000, self._settings.resume_seconds * 1000
        gone = await self._sessions.vanished(
            now - vanish_ms if heard_ms >= vanish_ms else 0, now - resume_ms if heard_ms >= resume_ms else 0
        )
        for result in await asyncio.gather(*(self._settling.submit(op) for op in gone), return_exceptions=True):
            if isinstance(result, Exception):
                log.info("a session was not settled for its server: %s", result)
        async with self._database.begin() as connection:
            stray = await refund_unclaimed(connection, now)
        if gone or stray:
            log.info("settled %d sessions of vanished servers, refunded %d stray transfers", len(gone), stray)
            self._settled()

    async def purge(self) -> None:
        """Drop what is too old, slice by slice, so that it delays nobody."""
        now = self._database.now_ms()
        await self._drop(idempotency_keys, idempotency_keys.c.created_at < now - KEEP_MS)
        await self._drop(traces, traces.c.created_at < now - TRACE_KEPT_MS)
        told = now - self._settings.webhook_kept_seconds * 1000
        await self._drop(event_deliveries, event_deliveries.c.created_at < told)
        await self._drop(events, events.c.created_at < told)
        await self._drop_unpaid(now - self._settings.invoice_kept_seconds * 1000)

    async def _drop_unpaid(self, expired_ms: int) -> None:
        """Invoices that nobody paid, in the order of their ids, which is that of time: paid ones are passed once."""
        paid = select(payments.c.id).where(payments.c.invoice_id == invoices.c.id).exists()
        unpaid = (invoices.c.expires_at < expired_ms) & ~paid
        made_before = first_id("inv", expired_ms - self._settings.invoice_seconds * 1000)
        while True:
            begun = time.monotonic()
            following = select(invoices.c.id).where(invoices.c.id > self._passed, invoices.c.id < made_before)
            async with self._database.read() as connection:
                ids = list((await connection.execute(following.order_by(invoices.c.id).limit(SLICE))).scalars())
            if not ids:
                return
            async with self._database.begin() as connection:
                await connection.execute(delete(invoices).where(one_of(invoices.c.id, ids), unpaid))
            self._passed = ids[-1]
            await asyncio.sleep(time.monotonic() - begun)

    async def _drop(self, table: Table, old: ColumnElement[bool]) -> None:
        key = tuple_(*table.primary_key.columns)
        some = select(*table.primary_key.columns).where(old).limit(SLICE)
        while True:
            begun = time.monotonic()
            async with self._database.begin() as connection:
                dropped = (await connection.execute(delete(table).where(key.in_(some)))).rowcount
            if dropped < SLICE:
                return
            await asyncio.sleep(time.monotonic() - begun)
