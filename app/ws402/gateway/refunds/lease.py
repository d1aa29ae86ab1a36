"""One holder per signing key: a lease in the ledger, by the database's clock, fenced by a number that only grows.

A holder that stalls may believe that it still holds the lease; what it then tries to write is refused, because its
`epoch` is not the ledger's any more.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.errors import WS402Error
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import insert_ignore
from ws402.gateway.ledger.tables import networks, signers
from ws402.gateway.ledger.types import database_clock

log = logging.getLogger(__name__)


class LeaseLostError(WS402Error):
    """Another process holds the key now; nothing was written."""

    code = "lease_lost"


class StaleError(WS402Error):
    """What was read before signing has changed since; nothing was written, the next pass starts anew."""

    code = "stale"


def may_sign(row: Row[Any]) -> bool:
    """Whether a signer's row (`Lease.look`, `Lease.fence`) is that of a key not paused, in a ledger that is no copy."""
    return not row.paused and row.restored_at is None


class Lease:
    """The right to sign with one key, for `seconds` at a time."""

    def __init__(self, database: Database, network: str, address: str, holder: str, seconds: float) -> None:
        self.network = network
        self.address = address
        # A process that restarts under the same name is another holder: it waits like everybody else.
        self.holder = f"{holder}/{secrets.token_hex(4)}"
        self.epoch: int | None = None
        self._database = database
        self._ms = int(seconds * 1000)
        self._deadline = 0.0
        self._known = False
        self._clock = database_clock(database.dialect)
        self._mine = (signers.c.network == network) & (signers.c.address == address)
        marked = signers.outerjoin(networks, networks.c.network == signers.c.network)
        self._row = select(signers, networks.c.restored_at).select_from(marked).where(self._mine)

    @property
    def held(self) -> bool:
        """Whether this process may act on the key now, as far as it can know without asking."""
        return self.epoch is not None and time.monotonic() < self._deadline

    def require(self) -> None:
        """Raise LeaseLostError unless the lease is held."""
        if not self.held:
            raise LeaseLostError(f"The lease of {self.network}/{self.address} is not held.")

    async def acquire(self) -> bool:
        """Take the lease if it is free or has run out; whether it is held now."""
        asked = time.monotonic()
        async with self._database.begin() as connection:
            if not self._known:
                row = {
                    "network": self.network,
                    "address": self.address,
                    "lease_epoch": 0,
                    "lease_until": 0,
                    "paused": False,
                }
                await connection.execute(insert_ignore(connection, signers), [row])
            taken = await connection.execute(
                update(signers)
                .where(self._mine, signers.c.lease_until < self._clock)
                .values(
                    lease_holder=self.holder,
                    lease_epoch=signers.c.lease_epoch + 1,
                    lease_until=self._clock + self._ms,
                )
                .returning(signers.c.lease_epoch)
            )
            epoch: int | None = taken.scalar()
        self._known = True
        if epoch is None:
            return False
        self._begin(epoch, asked)
        log.info("holds the lease of %s/%s, epoch %d", self.network, self.address, epoch)
        return True

    async def renew(self) -> bool:
        """Make it last longer; whether it is still held."""
        if self.epoch is None:
            return False
        asked = time.monotonic()
        async with self._database.begin() as connection:
            kept = await connection.execute(
                update(signers)
                .where(self._mine, signers.c.lease_holder == self.holder, signers.c.lease_epoch == self.epoch)
                .values(lease_until=self._clock + self._ms)
                .returning(signers.c.lease_epoch)
            )
            epoch: int | None = kept.scalar()
        if epoch is None:
            log.warning("lost the lease of %s/%s", self.network, self.address)
            self.drop()
            return False
        self._begin(epoch, asked)
        return True

    async def hold(self) -> bool:
        """Take it, or renew it when half of its time is over; whether it is held."""
        if not self.held:
            return await self.renew() or await self.acquire()
        if self._deadline - time.monotonic() < self._ms / 2000:
            return await self.renew()
        return True

    async def keep(self) -> None:
        """Renew in the background until it is lost. Returns then."""
        while self.epoch is not None:
            await asyncio.sleep(self._ms / 3000)
            try:
                if not await self.renew():
                    return
            except (WS402Error, DBAPIError, OSError) as error:
                log.warning("cannot renew the lease of %s/%s: %s", self.network, self.address, error)
                if not self.held:
                    return

    async def release(self) -> None:
        """Give it back at once, so that another process need not wait."""
        epoch, self.epoch = self.epoch, None
        if epoch is None:
            return
        async with self._database.begin() as connection:
            await connection.execute(
                update(signers)
                .where(self._mine, signers.c.lease_holder == self.holder, signers.c.lease_epoch == epoch)
                .values(lease_until=0, lease_holder=None)
            )

    async def look(self, connection: AsyncConnection) -> Row[Any]:
        """The signer's row, to decide by; what is decided must be written behind `fence`. Raises LeaseLostError."""
        self.require()
        return (await connection.execute(self._row)).one()

    async def fence(self, connection: AsyncConnection) -> Row[Any]:
        """Lock and answer the signer's row inside a transaction. Raises LeaseLostError, which must end it."""
        self.require()
        row = (await connection.execute(self._row.with_for_update(of=signers))).one()
        if row.lease_holder != self.holder or row.lease_epoch != self.epoch:
            self.drop()
            raise LeaseLostError(f"Another process took the lease of {self.network}/{self.address}.")
        return row

    async def advance(self, connection: AsyncConnection, first: int, following: int) -> None:
        """Take the nonces from `first` up to, without, `following`. Raises LeaseLostError, which must end it."""
        taken = await connection.execute(
            update(signers)
            .where(self._mine, signers.c.lease_holder == self.holder, signers.c.lease_epoch == self.epoch)
            .where(signers.c.next_nonce == first, signers.c.paused.is_(False))
            .values(next_nonce=following)
            .returning(signers.c.next_nonce)
        )
        if taken.scalar() is None:
            raise LeaseLostError(f"The nonces of {self.network}/{self.address} moved on without us.")

    def drop(self) -> None:
        """Forget it without telling the database."""
        self.epoch = None

    def _begin(self, epoch: int, asked: float) -> None:
        self.epoch = epoch
        # Counted from before the question, so that our end comes before the database's.
        self._deadline = asked + self._ms / 1000
