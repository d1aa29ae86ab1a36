"""One gateway at a time delivers events: a lease in the ledger, by the database's clock."""

from __future__ import annotations

import secrets
import time
from typing import Final

from sqlalchemy import update

from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import insert_ignore
from ws402.gateway.ledger.event_tables import event_leases
from ws402.gateway.ledger.types import database_clock

NAME: Final = "webhooks"
SECONDS: Final = 30.0
"""A gateway that vanished is followed by another one after this long."""


class Lease:
    """The right to deliver, for `SECONDS` at a time. An event that two deliver nevertheless has the same id at both."""

    def __init__(self, database: Database, holder: str, *, seconds: float = SECONDS) -> None:
        # A process that restarts under the same name is another holder.
        self.holder = f"{holder}/{secrets.token_hex(4)}"
        self._database = database
        self._seconds = seconds
        self._deadline = 0.0
        self._known = False

    @property
    def held(self) -> bool:
        """Whether this process may deliver now, as far as it can know without asking."""
        return time.monotonic() < self._deadline

    async def hold(self) -> bool:
        """Take it when it is free, renew it when half of its time is over; whether it is held."""
        if self._deadline - time.monotonic() > self._seconds / 2:
            return True
        asked = time.monotonic()
        now = database_clock(self._database.dialect)
        async with self._database.begin() as connection:
            if not self._known:
                row = {"name": NAME, "holder": "", "until": 0}
                await connection.execute(insert_ignore(connection, event_leases), [row])
            taken = await connection.execute(
                update(event_leases)
                .where(event_leases.c.name == NAME)
                .where((event_leases.c.holder == self.holder) | (event_leases.c.until < now))
                .values(holder=self.holder, until=now + int(self._seconds * 1000))
                .returning(event_leases.c.holder)
            )
            held = taken.scalar() is not None
        self._known = True
        # Counted from before the question, so that our end comes before the database's.
        self._deadline = asked + self._seconds if held else 0.0
        return held

    async def release(self) -> None:
        """Give it back at once, so that another process need not wait."""
        self._deadline = 0.0
        mine = (event_leases.c.name == NAME) & (event_leases.c.holder == self.holder)
        async with self._database.begin() as connection:
            await connection.execute(update(event_leases).where(mine).values(holder="", until=0))
