"""Events, written in the transaction of what they tell: both are there, or neither.

Each function does nothing while nobody listens (`Database.outbox`). An event has one row, whatever tells it again: a
refund that is sent anew after a reorg, or by another gateway.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import and_, select

from ws402.gateway.ledger.bulk import insert_new
from ws402.gateway.ledger.event_tables import events
from ws402.gateway.ledger.ids import new_id
from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.tables import attempts, deliveries, invoices, refunds, sessions, transfers
from ws402.gateway.ledger.transactions import Connection, Outbox, after_commit, fetch, outbox_of
from ws402.protocol import EndReason
from ws402.protocol.events import (
    EventType,
    Money,
    PaymentUnclaimed,
    RefundFinal,
    RefundSent,
    SessionOpened,
    SessionSettled,
    body,
    rfc3339,
)


class Ended(NamedTuple):
    """How a session (its row as it was before) was settled."""

    session: Any
    paid: int
    consumed: int
    refund_id: str | None
    reason: EndReason


async def tell_opened(connection: Connection, opened: Sequence[dict[str, Any]], now: int) -> None:
    """Sessions were opened; `opened` are their rows as they are written."""
    if (outbox := outbox_of(connection)) is None:
        return
    told = [
        _row(
            "session.opened",
            each["id"],
            each["tenant"],
            SessionOpened(
                **_money(outbox, each["network"], each["asset"]),
                session_id=each["id"],
                tenant=each["tenant"],
                resource_id=each["resource_id"],
                payer=each["payer"],
                paid=str(each["paid"]),
                opened_at=rfc3339(each["opened_at"]),
            ),
            now,
        )
        for each in opened
    ]
    await _write(connection, outbox, told)


async def tell_settled(connection: Connection, ended: Sequence[Ended], now: int) -> None:
    """Sessions were settled."""
    if (outbox := outbox_of(connection)) is None:
        return
    told = [
        _row(
            "session.settled",
            each.session.id,
            each.session.tenant,
            SessionSettled(
                **_money(outbox, each.session.network, each.session.asset),
                session_id=each.session.id,
                tenant=each.session.tenant,
                resource_id=each.session.resource_id,
                payer=each.session.payer,
                paid=str(each.paid),
                opened_at=rfc3339(each.session.opened_at),
                consumed=str(each.consumed),
                refund=str(each.paid - each.consumed),
                refund_id=each.refund_id,
                reason=each.reason,
                ended_at=rfc3339(now),
            ),
            now,
        )
        for each in ended
    ]
    await _write(connection, outbox, told)


async def tell_sent(connection: Connection, txs: Collection[str], now: int) -> None:
    """The network took these transactions; what they carry besides refunds is not told."""
    await _tell_refunds(connection, "refund.sent", RefundSent, _BY_ATTEMPT, txs, now)


async def tell_paid(connection: Connection, ids: Collection[str], now: int, *, final: bool) -> None:
    """These deliveries are in a block, or `final`. That they were sent is told with it, if nobody had."""
    await _tell_refunds(connection, "refund.sent", RefundSent, _BY_DELIVERY, ids, now)
    if final:
        await _tell_refunds(connection, "refund.final", RefundFinal, _BY_DELIVERY, ids, now)


async def tell_unclaimed(connection: Connection, key: tuple[str, str, int], refund_id: str, now: int) -> None:
    """A transfer that opened no session is owed back."""
    if (outbox := outbox_of(connection)) is None:
        return
    for row in await fetch(connection, _TRANSFERS, networks=[key[0]], txs=[key[1]]):
        if (row.network, row.tx, row.idx) != key:
            continue
        said = PaymentUnclaimed(
            **_money(outbox, row.network, row.asset),
            tx=row.tx,
            index=row.idx,
            invoice_id=row.invoice_id,
            tenant=row.tenant,
            sender=row.sender,
            amount=str(row.amount),
            refund_id=refund_id,
            arrived_at=rfc3339(row.seen_at),
        )
        told = _row("payment.unclaimed", "/".join(map(str, key)), row.tenant, said, now)
        await _write(connection, outbox, [told])


async def _tell_refunds(
    connection: Connection,
    kind: EventType,
    data: type[RefundSent],
    which: Statement,
    keys: Collection[str],
    now: int,
) -> None:
    if (outbox := outbox_of(connection)) is None or not keys:
        return
    told = [
        _row(
            kind,
            row.id,
            row.tenant or row.invoice_tenant,
            data(
                **_money(outbox, row.network, row.asset),
                refund_id=row.id,
                session_id=row.session_id,
                tenant=row.tenant or row.invoice_tenant,
                recipient=row.recipient,
                amount=str(row.amount),
                tx=row.sent_tx,
            ),
            now,
        )
        for row in await fetch(connection, which, keys=keys)
    ]
    await _write(connection, outbox, told)


def _money(outbox: Outbox, network: str, asset: str) -> dict[str, Any]:
    # Money of an asset that was taken out of the settings is settled and owed back like any other.
    return {"network": network, "asset": asset, "decimals": outbox.decimals.get(network, {}).get(asset)}


def _row(kind: EventType, subject: str, tenant: str | None, data: Money, now: int) -> dict[str, Any]:
    return {
        "id": new_id("evt"),
        "type": kind,
        "subject": subject,
        "tenant": tenant,
        "body": body(kind, now, data),
        "created_at": now,
        "planned": False,
    }


async def _write(connection: Connection, outbox: Outbox, told: list[dict[str, Any]]) -> None:
    if told:
        # In one order: two gateways that tell the same wait for each other's rows.
        await insert_new(connection, events, sorted(told, key=lambda row: row["subject"]))
        after_commit(connection, outbox.on_told)


_CARRIED: Final = (
    select(
        *refunds.c["id", "session_id", "network", "asset", "recipient", "amount"],
        sessions.c.tenant,
        invoices.c.tenant.label("invoice_tenant"),
    )
    .select_from(refunds)
    .join(deliveries, refunds.c.delivery_id == deliveries.c.id)
    .outerjoin(sessions, sessions.c.id == refunds.c.session_id)
    .outerjoin(
        transfers,
        and_(
            transfers.c.network == refunds.c.network, transfers.c.tx == refunds.c.tx, transfers.c.idx == refunds.c.idx
        ),
    )
    .outerjoin(invoices, invoices.c.id == transfers.c.invoice_id)
)
"""Refunds that are sent, and whose sessions or invoices they are of."""
_BY_ATTEMPT: Final = Statement(
    _CARRIED.join(attempts, attempts.c.delivery_id == deliveries.c.id)
    .add_columns(attempts.c.tx.label("sent_tx"))
    .where(one_of(attempts.c.tx, "keys"), attempts.c.kind == "refund")
)
_BY_DELIVERY: Final = Statement(
    _CARRIED.add_columns(deliveries.c.tx.label("sent_tx")).where(one_of(deliveries.c.id, "keys"))
)
_TRANSFERS: Final = Statement(
    select(transfers, invoices.c.tenant)
    .outerjoin(invoices, invoices.c.id == transfers.c.invoice_id)
    .where(one_of(transfers.c.network, "networks"), one_of(transfers.c.tx, "txs"))
)
