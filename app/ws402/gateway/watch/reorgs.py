"""What a reorg takes away: transfers are orphaned, and what they paid for ends.

Refunds wait until their payments are final, so nothing that a reorg can remove has been sent back.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Row, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.gateway.ledger.bulk import Row as Entry
from ws402.gateway.ledger.entries import move, post
from ws402.gateway.ledger.tables import checkpoints, payments, refunds, sessions, transfers
from ws402.gateway.usage.settlement import owe_session
from ws402.gateway.watch.transfers import subject
from ws402.money import price

log = logging.getLogger(__name__)


async def orphan(connection: AsyncConnection, lost: list[Row[Any]], now: int) -> list[str]:
    """Take transfers (locked rows, not orphaned) out of the books; returns the ids of the sessions that this ended."""
    keys = [(row.network, row.tx, row.idx) for row in lost]
    if not keys:
        return []
    where = tuple_(transfers.c.network, transfers.c.tx, transfers.c.idx).in_(keys)
    await connection.execute(update(transfers).where(where).values(state="orphaned"))
    claims = tuple_(payments.c.network, payments.c.tx, payments.c.idx).in_(keys)
    paid_by = {(row.network, row.tx, row.idx): row for row in await connection.execute(select(payments).where(claims))}
    ended: list[str] = []
    for session_id in sorted({row.session_id for row in paid_by.values()}):
        amount = sum(row.amount for row in paid_by.values() if row.session_id == session_id)
        if await _reverse_session(connection, session_id, amount, now):
            ended.append(session_id)
    entries: list[Entry] = []
    for key, row in zip(keys, lost, strict=True):
        # A transfer that was owed to its sender is not owed any more.
        owed = await connection.execute(
            update(refunds)
            .where(refunds.c.network == key[0], refunds.c.tx == key[1], refunds.c.idx == key[2])
            .where(refunds.c.state.in_(("waiting", "due", "held")))
            .values(state="void", updated_at=now)
            .returning(refunds.c.id)
        )
        if (refund := owed.first()) is not None:
            entries.append(
                move("payer_due", "unclaimed", row.network, row.asset, row.amount, "void", f"{refund.id}@{now}", now)
            )
        entries.append(move("unclaimed", "chain", row.network, row.asset, row.amount, "orphan", subject(key, now), now))
        log.warning("reorg removed transfer %s/%s/%d of %d %s", *key, row.amount, row.asset)
    await post(connection, entries)
    return ended


async def _reverse_session(connection: AsyncConnection, session_id: str, lost: int, now: int) -> bool:
    """End a session that lost `lost` of what it was paid; what other payments brought is settled as usual."""
    query = select(sessions, checkpoints.c.elapsed_ms).join(checkpoints).where(sessions.c.id == session_id)
    row = (await connection.execute(query.with_for_update(of=(sessions, checkpoints)))).one()
    if row.state == "reversed":
        return False
    entries: list[Entry] = []

    def book(debit: str, credit: str, amount: int, kind: str) -> None:
        if amount:
            entries.append(move(debit, credit, row.network, row.asset, amount, kind, session_id, now))

    if row.state == "ended":
        book("revenue", "session_escrow", row.consumed, "unsettle")
        voided = await connection.execute(
            update(refunds)
            .where(refunds.c.session_id == session_id, refunds.c.state.in_(("waiting", "due", "held")))
            .values(state="void", updated_at=now)
            .returning(refunds.c.id)
        )
        if voided.first() is not None:
            book("payer_due", "session_escrow", row.refunded, "unsettle")
        elif row.refunded:
            log.critical("reorg below finality: the refund of session %s is gone, and so is its payment", session_id)
            book("capital", "session_escrow", row.refunded, "reorg_loss")
    book("session_escrow", "unclaimed", lost, "unclaim")
    left = row.paid - lost
    consumed = min(left, row.consumed if row.state == "ended" else price(row.elapsed_ms, row.price_per_second or 0))
    refund = left - consumed
    book("session_escrow", "revenue", consumed, "reversal")
    book("session_escrow", "payer_due", refund, "reversal")
    await connection.execute(
        update(sessions)
        .where(sessions.c.id == session_id)
        .values(
            state="reversed",
            paid=left,
            consumed=consumed,
            refunded=refund,
            ended_at=row.ended_at or now,
            end_reason="reorged",
            resume_hash=None,
        )
    )
    await post(connection, entries)
    if refund:
        await owe_session(connection, row, refund, now)
    return True
