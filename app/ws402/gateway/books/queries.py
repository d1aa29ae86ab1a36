"""What operators and servers look at one by one, or in sums, as the ledger has it (lists: `lists`). Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select

from ws402.errors import NotFoundError
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.states import MOVING, OVER, UNFINISHED, RefundState
from ws402.gateway.ledger.tables import (
    attempts,
    deliveries,
    entries,
    invoices,
    networks,
    payments,
    refunds,
    sessions,
)
from ws402.gateway.ledger.types import amount_sum
from ws402.money import wire_amount
from ws402.protocol import RefundStatusResponse, SessionRefund, SessionResponse

MOST: Final = 500
"""Rows of one answer."""

AMOUNTS: Final = {"amount", "paid", "consumed", "refunded", "price_per_second", "fee", "max_fee", "total"}


def unpaid(now: int) -> ColumnElement[bool]:
    """Invoices that can still be paid; network by network, as the index has them."""
    paid = select(payments.c.id).where(payments.c.invoice_id == invoices.c.id).exists()
    return invoices.c.network.in_(select(networks.c.network)) & (invoices.c.expires_at > now) & ~paid


class Queries:
    """Questions to one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def refund(self, refund_id: str) -> dict[str, Any]:
        """One refund with its delivery, every signed attempt (not the bytes), and its ledger entries.

        Raises NotFoundError.
        """
        async with self._database.read() as connection:
            row = (await connection.execute(select(refunds).where(refunds.c.id == refund_id))).first()
            if row is None:
                raise NotFoundError(
                    f"There is no refund '{refund_id}'.", remedy="List them with: ws402 ops refunds list"
                )
            answer = wire(row)
            subjects = [refund_id, *([row.session_id] if row.session_id else [])]
            answer["delivery"], answer["attempts"] = None, []
            if row.delivery_id:
                subjects.append(row.delivery_id)
                found = await connection.execute(select(deliveries).where(deliveries.c.id == row.delivery_id))
                answer["delivery"] = wire(found.one())
                tries = select(*attempts.c["number", "kind", "tx", "max_fee", "valid_until", "created_at", "sent_at"])
                tries = tries.where(attempts.c.delivery_id == row.delivery_id).order_by(attempts.c.number)
                answer["attempts"] = [wire(each) for each in await connection.execute(tries)]
            booked = select(*entries.c["debit", "credit", "amount", "kind", "created_at"])
            booked = booked.where(
                entries.c.subject.in_(subjects) | entries.c.subject.like(f"{row.session_id}@%")
            ).order_by(entries.c.id)
            answer["entries"] = [wire(each) for each in await connection.execute(booked)]
        return answer

    async def refund_status(self, tenant: str, refund_id: str) -> RefundStatusResponse:
        """Where a refund of this tenant is. Raises NotFoundError."""
        query = (
            select(refunds, sessions.c.tenant, deliveries.c.tx.label("delivered"))
            .outerjoin(sessions, refunds.c.session_id == sessions.c.id)
            .outerjoin(deliveries, refunds.c.delivery_id == deliveries.c.id)
            .where(refunds.c.id == refund_id)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
            if row is None or row.tenant != tenant:
                raise NotFoundError(f"There is no refund '{refund_id}'.")
            tx = row.delivered
            if tx is None and row.delivery_id:
                newest = select(attempts.c.tx).where(attempts.c.delivery_id == row.delivery_id)
                tx = (await connection.execute(newest.order_by(attempts.c.number.desc()).limit(1))).scalar()
        return RefundStatusResponse(
            refund_id=row.id, state=row.state, amount=wire_amount(row.amount), recipient=row.recipient, tx_hash=tx
        )

    async def session(self, tenant: str, session_id: str) -> SessionResponse:
        """What a session of this tenant was paid, has consumed, and gives back. Raises NotFoundError."""
        query = (
            select(
                *sessions.c["id", "tenant", "state", "network", "asset", "paid", "consumed"],
                refunds.c.id.label("refund_id"),
            )
            .outerjoin(refunds, refunds.c.session_id == sessions.c.id)
            .where(sessions.c.id == session_id)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
        if row is None or row.tenant != tenant:
            raise NotFoundError(f"There is no session '{session_id}'.")
        refund = await self.refund_status(tenant, row.refund_id) if row.refund_id else None
        over = row.state in OVER
        return SessionResponse(
            session_id=row.id,
            state=row.state,
            network=row.network,
            asset=row.asset,
            paid_amount=wire_amount(row.paid),
            consumed_amount=wire_amount(row.consumed) if over else None,
            refund=SessionRefund(amount=refund.amount, state=refund.state, tx_hash=refund.tx_hash) if refund else None,
        )

    async def credits(self) -> list[dict[str, Any]]:
        """Debts too small to send yet: by network and asset, how many and how much."""
        keys = (refunds.c.network, refunds.c.asset)
        query = (
            select(
                *keys,
                func.count().label("refunds"),
                func.count(refunds.c.recipient.distinct()).label("payers"),
                amount_sum(refunds.c.amount).label("total"),
                func.min(refunds.c.created_at).label("oldest_at"),
            )
            .where(refunds.c.state == RefundState.CREDIT)
            .group_by(*keys)
            .order_by(*keys)
        )
        async with self._database.read() as connection:
            return [wire(row) for row in await connection.execute(query)]

    async def counts(self) -> dict[str, Any]:
        """Sessions and refunds by state, open invoices, and when the oldest unfinished refund was made (ms)."""
        now = self._database.now_ms()
        moving = refunds.c.state.in_(MOVING)
        async with self._database.read() as connection:
            return {
                "sessions": await self._by_state(connection, sessions.c.state),
                "refunds": await self._by_state(connection, refunds.c.state),
                "openInvoices": await connection.scalar(select(func.count()).select_from(invoices).where(unpaid(now))),
                "oldestRefundAt": await connection.scalar(select(func.min(refunds.c.created_at)).where(moving)),
            }

    async def pending(self) -> dict[str, Any]:
        """Open invoices and unfinished refunds, as stock operators know them; at most 500 of each."""
        columns = refunds.c["id", "network", "asset", "amount", "recipient", "state", "reason", "created_at"]
        unfinished = select(*columns).where(refunds.c.state.in_(UNFINISHED))
        query = unfinished.order_by(refunds.c.created_at.desc()).limit(MOST)
        asked = invoices.c["id", "tenant", "network", "asset", "amount", "resource_id", "created_at", "expires_at"]
        still = select(*asked).where(unpaid(self._database.now_ms())).order_by(invoices.c.created_at.desc()).limit(MOST)
        async with self._database.read() as connection:
            owed = [wire(row) for row in await connection.execute(query)]
            waiting = [wire(row) for row in await connection.execute(still)]
        return {"invoices": waiting, "refunds": owed}

    async def refund_counts(self) -> dict[str, int]:
        """Refunds by state."""
        async with self._database.read() as connection:
            return await self._by_state(connection, refunds.c.state)

    async def _by_state(self, connection: Any, column: Any) -> dict[str, int]:
        query = select(column, func.count().label("total")).group_by(column)
        return {row[0]: row.total for row in await connection.execute(query)}


def wire(row: Any) -> dict[str, Any]:
    """A row in the wire's spelling."""
    return _named(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "".join(part.capitalize() if i else part for i, part in enumerate(name.split("_"))): (
            wire_amount(value) if name in AMOUNTS and value is not None else value
        )
        for name, value in values.items()
    }
