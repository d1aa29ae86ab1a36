"""What a reorg takes away: transfers are orphaned, and what they paid for ends.

Refunds wait until their payments are final, so nothing that a reorg can remove has been sent back.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import ColumnElement, Row, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.gateway.ledger.bulk import Row as Entry
from ws402.gateway.ledger.entries import move, post
from ws402.gateway.ledger.outbox import Ended, tell_settled
from ws402.gateway.ledger.states import ACCOUNT_OF, OVER, UNSENT, RefundState, SessionState, TransferState
from ws402.gateway.ledger.tables import checkpoints, payments, refunds, sessions, transfers
from ws402.gateway.usage.settlement import cost_of, owe_session
from ws402.gateway.watch.transfers import subject
from ws402.protocol import EndReason

log = logging.getLogger(__name__)


async def orphan(connection: AsyncConnection, lost: list[Row[Any]], now: int) -> list[str]:
    """Take transfers (locked rows, not orphaned) out of the books; returns the ids of the sessions that this ended."""
    keys = [(row.network, row.tx, row.idx) for row in lost]
    if not keys:
        return []
    where = tuple_(transfers.c.network, transfers.c.tx, transfers.c.idx).in_(keys)
    await connection.execute(update(transfers).where(where).values(state=TransferState.ORPHANED))
    # What is owed by itself pays for no session any more.
    claiming = {key for key, row in zip(keys, lost, strict=True) if row.state == TransferState.SEEN}
    claims = tuple_(payments.c.network, payments.c.tx, payments.c.idx).in_(claiming)
    paid = (await connection.execute(select(payments).where(claims))).all() if claiming else []
    ended: list[str] = []
    for session_id in sorted({row.session_id for row in paid}):
        amount = sum(row.amount for row in paid if row.session_id == session_id)
        if await _reverse_session(connection, session_id, amount, now):
            ended.append(session_id)
    entries: list[Entry] = []
    for key, row in zip(keys, lost, strict=True):
        if row.state == TransferState.OWED:
            mine = (refunds.c.network == key[0]) & (refunds.c.tx == key[1]) & (refunds.c.idx == key[2])
            account, refund_id = await _void(connection, mine, now)
            kind = "void" if account != "capital" else "reorg_loss"
            entries.append(
                move(account, "unclaimed", row.network, row.asset, row.amount, kind, f"{refund_id}@{now}", now)
            )
        entries.append(move("unclaimed", "chain", row.network, row.asset, row.amount, "orphan", subject(key, now), now))
        log.warning("reorg removed transfer %s/%s/%d of %d %s", *key, row.amount, row.asset)
    await post(connection, entries)
    return ended


async def _void(connection: AsyncConnection, which: ColumnElement[bool], now: int) -> tuple[str, str]:
    """Call off the refund that matches: the account that it was owed from, and its id.

    What was sent, or paid otherwise by an operator, is not called off: the operator bears it, from `capital`.
    """
    found = (await connection.execute(select(refunds).where(which).with_for_update())).one()
    if found.state in UNSENT:
        void = update(refunds).where(refunds.c.id == found.id).values(state=RefundState.VOID, updated_at=now)
        await connection.execute(void)
        return ACCOUNT_OF[RefundState(found.state)], found.id
    log.critical("refund %s is %s already, and a reorg took its payment away", found.id, found.state)
    return "capital", found.id


async def _reverse_session(connection: AsyncConnection, session_id: str, lost: int, now: int) -> bool:
    """End a session that lost `lost` of what it was paid; what other payments brought is settled as usual.

    Whether it was not reversed before: a second reorg can take another of its payments away.
    """
    query = select(sessions, *checkpoints.c["elapsed_ms", "units"]).join(checkpoints).where(sessions.c.id == session_id)
    row = (await connection.execute(query.with_for_update(of=(sessions, checkpoints)))).one()
    subject = f"{session_id}@{now}"
    entries: list[Entry] = []

    def book(debit: str, credit: str, amount: int, kind: str) -> None:
        if amount:
            entries.append(move(debit, credit, row.network, row.asset, amount, kind, subject, now))

    account = "payer_due"
    if row.state in OVER:
        book("revenue", "session_escrow", row.consumed, "unsettle")
        if row.refunded:
            account, _ = await _void(connection, refunds.c.session_id == session_id, now)
            book(account, "session_escrow", row.refunded, "unsettle" if account != "capital" else "reorg_loss")
    book("session_escrow", "unclaimed", lost, "unclaim")
    left = row.paid - lost
    used = (
        row.consumed
        if row.state in OVER
        else cost_of(row, row.elapsed_ms, row.units)
        if row.price_per_second is not None
        else 0
    )
    consumed = min(left, used)
    refund = left - consumed
    sent = account == "capital"
    book("session_escrow", "revenue", consumed, "reversal")
    book("session_escrow", "capital" if sent else "payer_due", refund, "reorg_gain" if sent else "reversal")
    await connection.execute(
        update(sessions)
        .where(sessions.c.id == session_id)
        .values(
            state=SessionState.REVERSED,
            paid=left,
            consumed=consumed,
            refunded=refund,
            ended_at=row.ended_at or now,
            end_reason=EndReason.REORGED,
            resume_hash=None,
        )
    )
    await post(connection, entries)
    owed = await owe_session(connection, row, refund, now) if refund and not sent else None
    if row.state not in OVER:
        await tell_settled(connection, [Ended(row, left, consumed, owed, EndReason.REORGED)], now)
    return bool(row.state != SessionState.REVERSED)
