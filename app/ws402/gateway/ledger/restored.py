"""A ledger that was put back from a copy has forgotten what was sent since. The mark that says so keeps every key from
signing, in every gateway, until the network was reconciled with its chain (`ws402.gateway.refunds.recovery`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import networks, signers

REASON = "This ledger was restored from a copy, and may not know what was sent since: run `ws402 ops reconcile {}`."


async def mark(database: Database, *, at: int | None = None) -> list[str]:
    """Mark every network of the ledger; answers their names. `at`: when, ms since the epoch, now by default.

    Leases of the gateway that worked on the original end, for it is gone.
    """
    async with database.begin() as connection:
        return await mark_in(connection, database.now_ms() if at is None else at)


async def mark_in(connection: AsyncConnection, now: int) -> list[str]:
    """The same, in a transaction of the caller's."""
    # A copy of a copy that was not reconciled: from the older one on.
    oldest = func.coalesce(networks.c.restored_block, networks.c.block)
    marked = update(networks).values(restored_at=now, restored_block=oldest).returning(networks.c.network)
    names = sorted((await connection.execute(marked)).scalars())
    await connection.execute(update(signers).values(lease_until=0, lease_holder=None))
    return names


async def mark_of(connection: AsyncConnection, network: str) -> Row[Any] | None:
    """The network's row while it is marked."""
    query = select(networks).where(networks.c.network == network, networks.c.restored_at.is_not(None))
    return (await connection.execute(query)).first()
