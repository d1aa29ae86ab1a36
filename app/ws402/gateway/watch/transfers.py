"""Transfers in the ledger: recorded once, whatever showed them first, and refunded when they pay for nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Table, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import Transfer
from ws402.gateway.ledger.bulk import insert_new
from ws402.gateway.ledger.entries import insert_ignore, move, post
from ws402.gateway.ledger.ids import new_id
from ws402.gateway.ledger.outbox import tell_unclaimed
from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.states import SENT, RefundState, TransferState
from ws402.gateway.ledger.tables import networks, payments, refunds, sessions, transfers
from ws402.gateway.ledger.transactions import Connection, after_commit, fetch
from ws402.gateway.watch.named import Named, TransferKey, key_of, names
from ws402.observability import metrics


def of_transactions(table: Table) -> ColumnElement[bool]:
    """Rows whose network and tx are likely a pair among `networks` and `txs`: the columns are matched apart, for SQLite
    has no index search for lists of pairs. A network's transaction ids do not occur on another, so nothing else comes
    back in practice; callers look rows up by their whole key anyway.
    """
    return one_of(table.c.network, "networks") & one_of(table.c.tx, "txs")


def transaction_keys(keys: Collection[tuple[Any, ...]]) -> dict[str, set[str]]:
    """The parameters of `of_transactions` for these (network, tx, …)."""
    return {"networks": {key[0] for key in keys}, "txs": {key[1] for key in keys}}


_LOCKED: Final = Statement(
    select(transfers)
    .where(of_transactions(transfers))
    .order_by(transfers.c.network, transfers.c.tx, transfers.c.idx)
    .with_for_update()
)


async def lock_transfers(connection: Connection, keys: Collection[tuple[Any, ...]]) -> dict[TransferKey, Any]:
    """The recorded transfers of these transactions ((network, tx, …)), locked in one order so that two gateways never
    wait for each other in a ring.
    """
    if not keys:
        return {}
    found = await fetch(connection, _LOCKED, **transaction_keys(keys))
    return {(row.network, row.tx, row.idx): row for row in found}


async def record(connection: AsyncConnection, found: Sequence[Transfer], now: int, *, grace_ms: int) -> None:
    """Record transfers, and book the money that is new: once, also when they are found twice or in another block.

    What names an invoice, and opens no session, is sent back `grace_ms` after the invoice's end.
    """
    if not found:
        return
    first_blocks = {
        row.network: row.first_block
        for row in await connection.execute(
            select(networks).where(networks.c.network.in_({each.network for each in found}))
        )
    }
    # What is older than the opening balance is part of it.
    unique = {key_of(each): each for each in found if each.block > first_blocks.get(each.network, -1)}
    known = await lock_transfers(connection, unique)
    new = [each for key, each in sorted(unique.items()) if key not in known]
    named = await names(connection, new)
    rows = [_row(each, now, named.get(key_of(each)), grace_ms) for each in new]
    booked: list[Transfer] = []
    if rows:
        columns = (transfers.c.network, transfers.c.tx, transfers.c.idx)
        inserted = await connection.execute(insert_ignore(connection, transfers).returning(*columns), rows)
        booked += [unique[row.network, row.tx, row.idx] for row in inserted]
        for each in booked:
            if key_of(each) not in named:
                _tell_nameless(connection, each)
    back = [key for key, row in known.items() if row.state == TransferState.ORPHANED]
    for key, row in known.items():
        # A reorg can also bring back the very block that an earlier one took away.
        if row.block_hash != unique[key].block_hash:
            await _move(connection, unique[key])
    booked += [unique[key] for key in back]
    await post(
        connection,
        [
            move(
                "chain", "unclaimed", each.network, each.asset, each.amount, "transfer", subject(key_of(each), now), now
            )
            for each in booked
        ],
    )
    for key in back:
        await connection.execute(update(transfers).where(_where(transfers, key)).values(state=TransferState.SEEN))
        await _give_back(connection, unique[key], now)


def subject(key: TransferKey, at: int) -> str:
    """How entries name a transfer's arrival or loss at `at`; a reorg can make it come and go more than once."""
    return f"{key[0]}/{key[1]}/{key[2]}@{at}"


def _tell_nameless(connection: AsyncConnection, each: Transfer) -> None:
    """Nobody can say by itself whose money this is: it may be the operator's own."""
    after_commit(connection, lambda: metrics.UNCLAIMED_NAMELESS.inc(each.network, each.asset))


def _row(each: Transfer, now: int, named: Named | None, grace_ms: int) -> dict[str, Any]:
    return {
        "network": each.network,
        "tx": each.tx,
        "idx": each.index,
        "block": each.block,
        "block_hash": each.block_hash,
        "block_time": each.block_time,
        "sender": each.sender,
        "recipient": each.recipient,
        "asset": each.asset,
        "amount": each.amount,
        "tags": " ".join(each.tags),
        "state": TransferState.SEEN,
        "seen_at": now,
        "refund_at": None if named is None else max(each.block_time, named.expires_at) + grace_ms,
        "invoice_id": None if named is None else named.invoice_id,
    }


def _where(table: Any, key: Sequence[Any]) -> Any:
    return (table.c.network == key[0]) & (table.c.tx == key[1]) & (table.c.idx == key[2])


_NAMED: Final[Sequence[Any]] = (bindparam("b_network"), bindparam("b_tx"), bindparam("b_idx"))
_REVIVED: Final = Statement(
    update(refunds)
    .where(_where(refunds, _NAMED), refunds.c.state == RefundState.VOID)
    .values(state=RefundState.WAITING, source_block=bindparam("block"), updated_at=bindparam("now"))
    .returning(refunds.c.id)
)
_OWED: Final = Statement(
    update(transfers).where(_where(transfers, _NAMED)).values(state=TransferState.OWED, refund_at=None)
)


async def _move(connection: AsyncConnection, each: Transfer) -> None:
    """A reorg put the transfer into another block: refunds must wait for that one. What it is otherwise, it stays."""
    key = key_of(each)
    await connection.execute(
        update(transfers)
        .where(_where(transfers, key))
        .values(block=each.block, block_hash=each.block_hash, block_time=each.block_time)
    )
    paid = select(payments.c.session_id).where(_where(payments, key))
    await connection.execute(
        update(sessions)
        .where(sessions.c.id.in_(paid), sessions.c.source_block < each.block)
        .values(source_block=each.block)
    )
    await connection.execute(
        update(refunds)
        .where(refunds.c.session_id.in_(paid) | _where(refunds, key), refunds.c.source_block < each.block)
        .values(source_block=each.block)
    )


async def _give_back(connection: AsyncConnection, each: Transfer, now: int) -> None:
    """A transfer came back after a reorg: what it paid for has ended, or it had a refund. So it is owed."""
    key = key_of(each)
    debt = (await connection.execute(select(refunds.c.id, refunds.c.state).where(_where(refunds, key)))).first()
    if debt is not None and debt.state != RefundState.VOID:
        # It was sent back, or paid otherwise, before the reorg: the operator who bore that has the money again.
        owed = update(transfers).where(_where(transfers, key)).values(state=TransferState.OWED)
        await connection.execute(owed)
        entry = move("unclaimed", "capital", key[0], each.asset, each.amount, "reorg_gain", subject(key, now), now)
        await post(connection, [entry])
        return
    paid = select(payments.c.session_id).where(_where(payments, key))
    session_id = (await connection.execute(paid)).scalar()
    if debt is None and session_id is None:
        return
    sent = select(refunds.c.id).where(refunds.c.session_id == session_id, refunds.c.state.in_(SENT))
    before = None if session_id is None else (await connection.execute(sent)).scalar()
    reason = f"Its session's refund {before} was sent before a reorg below finality." if before else None
    await refund_transfer(connection, key, each.asset, each.sender, each.amount, each.block, now, hold=reason)


async def refund_transfer(
    connection: Connection,
    key: TransferKey,
    asset: str,
    sender: str,
    amount: int,
    block: int,
    now: int,
    *,
    hold: str | None = None,
) -> str | None:
    """Owe a transfer that pays no session to its sender; the refund's id, or None when it is owed already.

    The caller holds the transfer's lock and knows that no live session claims it. `hold`: why an operator must look
    before it is sent.
    """
    row = {
        "id": new_id("ref"),
        "network": key[0],
        "tx": key[1],
        "idx": key[2],
        "asset": asset,
        "recipient": sender,
        "amount": amount,
        "state": (RefundState.HELD if hold else RefundState.WAITING).value,
        "reason": hold,
        "source_block": block,
        "created_at": now,
        "updated_at": now,
    }
    refund_id: str | None = next(iter(await insert_new(connection, refunds, [row])), None)
    named = {"b_network": key[0], "b_tx": key[1], "b_idx": key[2]}
    if refund_id is None:
        refund_id = (await fetch(connection, _REVIVED, **named, block=block, now=now)).scalar()
    if refund_id is None:
        return None
    await fetch(connection, _OWED, **named)
    entry = move("unclaimed", "payer_due", key[0], asset, amount, "refund_transfer", f"{refund_id}@{now}", now)
    await post(connection, [entry])
    await tell_unclaimed(connection, key, refund_id, now)
    after_commit(connection, lambda: metrics.REFUNDS_ISSUED.inc(key[0], asset))
    return refund_id


async def owe_unclaimed(connection: AsyncConnection, network: str, tx: str, now: int) -> list[str]:
    """Owe what of one transaction pays for no session to its senders; the refunds' ids."""
    query = select(transfers).where(transfers.c.network == network, transfers.c.tx == tx)
    query = query.where(transfers.c.state == TransferState.SEEN).order_by(transfers.c.idx).with_for_update()
    unpaid, _ = await _divide(connection, (await connection.execute(query)).all())
    made = []
    for row in unpaid:
        key = (row.network, row.tx, row.idx)
        made.append(await refund_transfer(connection, key, row.asset, row.sender, row.amount, row.block, now))
    return [each for each in made if each]


async def refund_unclaimed(connection: AsyncConnection, now: int, *, limit: int = 500) -> int:
    """Owe transfers that name an invoice, or that a proof named, and that nobody claimed in time; how many."""
    query = (
        select(transfers)
        .where(transfers.c.refund_at < now, transfers.c.state == TransferState.SEEN)
        .order_by(transfers.c.network, transfers.c.tx, transfers.c.idx)
        .limit(limit)
        .with_for_update(skip_locked=True)  # what is being claimed now is not waited for: the next pass looks again
    )
    unpaid, paid = await _divide(connection, (await connection.execute(query)).all())
    for row in unpaid:
        key = (row.network, row.tx, row.idx)
        if await refund_transfer(connection, key, row.asset, row.sender, row.amount, row.block, now):
            _tell_returned(connection, row)
    for row in paid:
        await connection.execute(
            update(transfers).where(_where(transfers, (row.network, row.tx, row.idx))).values(refund_at=None)
        )
    return len(unpaid)


def _tell_returned(connection: AsyncConnection, row: Row[Any]) -> None:
    after_commit(connection, lambda: metrics.UNCLAIMED_RETURNED.inc(row.network, row.asset))


async def _divide(connection: AsyncConnection, locked: Sequence[Row[Any]]) -> tuple[list[Row[Any]], list[Row[Any]]]:
    """Locked transfers that pay for no session, and those that do.

    Asked after they are locked: a claim holds the same locks until it is committed, and a query that waits for one in
    PostgreSQL does not look at other tables again (its manual, §13.2.1).
    """
    query = select(*payments.c["network", "tx", "idx"]).where(of_transactions(payments))
    found = await fetch(connection, Statement(query), **transaction_keys([(row.network, row.tx) for row in locked]))
    claimed = {(row.network, row.tx, row.idx) for row in found}
    unpaid = [row for row in locked if (row.network, row.tx, row.idx) not in claimed]
    return unpaid, [row for row in locked if (row.network, row.tx, row.idx) in claimed]
