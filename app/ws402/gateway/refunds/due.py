"""What is due, and what the ledger says about the key's means. Reads only."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.gateway.ledger.tables import attempts, deliveries, refunds
from ws402.gateway.refunds.key_context import KeyContext
from ws402.gateway.refunds.plan import Bundle, Debt
from ws402.gateway.refunds.policy import DAY_MS, HOUR_MS

BUNDLES = 500
"""Recipients looked at at once."""

DEBTS = 2000
"""Refunds looked at at once."""


class Reserved(msgspec.Struct, kw_only=True):
    """What signed transactions may still take from the key's account."""

    transactions: int = 0
    amounts: dict[str, int] = {}
    fees: int = 0


class Queue:
    """The refunds of one key that are due."""

    def __init__(self, context: KeyContext) -> None:
        self._context = context

    async def bundles(self, connection: AsyncConnection, asset: str) -> list[Bundle]:
        """Due refunds with the credit of their recipients, who waited longest first."""
        mine = (refunds.c.network == self._context.network) & (refunds.c.asset == asset)
        first = func.min(refunds.c.created_at)
        waiting = (
            select(refunds.c.recipient).where(mine, refunds.c.state == "due").group_by(refunds.c.recipient)
        ).order_by(first, refunds.c.recipient)
        order = list((await connection.execute(waiting.limit(BUNDLES))).scalars())
        if not order:
            return []
        query = (
            select(*refunds.c["id", "recipient", "amount", "state", "cleared"])
            .where(mine, refunds.c.recipient.in_(order), refunds.c.state.in_(("due", "credit")))
            .order_by(refunds.c.created_at, refunds.c.id)
            .limit(DEBTS)
        )
        debts: dict[str, list[Debt]] = {}
        for row in await connection.execute(query):
            debts.setdefault(row.recipient, []).append(Debt(**row._mapping))  # noqa: SLF001 - SQLAlchemy's documented name
        return [
            Bundle(recipient=recipient, asset=asset, debts=tuple(debts[recipient]))
            for recipient in order
            if any(debt.state == "due" for debt in debts.get(recipient, ()))
        ]

    async def reserved(self, connection: AsyncConnection) -> Reserved:
        """Over the transactions that are in no block."""
        query = (
            select(deliveries.c.id, deliveries.c.asset, deliveries.c.amount, attempts.c.max_fee)
            .join(attempts, attempts.c.delivery_id == deliveries.c.id)
            .where(self._mine(), deliveries.c.state == "signed")
            .order_by(attempts.c.number)
        )
        newest = {row.id: row for row in await connection.execute(query)}
        result = Reserved(transactions=len(newest), fees=sum(row.max_fee for row in newest.values()))
        for row in newest.values():
            result.amounts[row.asset] = result.amounts.get(row.asset, 0) + row.amount
        return result

    async def spent(self, connection: AsyncConnection, asset: str) -> int:
        """What the key signed for in the last hour, where that is limited."""
        query = select(deliveries.c.amount).where(
            self._mine(),
            deliveries.c.asset == asset,
            deliveries.c.state != "failed",
            deliveries.c.created_at > self._context.database.now_ms() - HOUR_MS,
        )
        if asset not in self._context.policy.hourly_limit:
            return 0
        return sum((await connection.execute(query)).scalars())

    async def fees(self, connection: AsyncConnection) -> int:
        """What deliveries cost in the last day, where that is limited; those in no block as they may cost at most."""
        if self._context.policy.daily_fees is None:
            return 0
        recent = self._mine() & (deliveries.c.created_at > self._context.database.now_ms() - DAY_MS)
        paid = select(deliveries.c.fee).where(recent, deliveries.c.fee.is_not(None))
        done: int = sum((await connection.execute(paid)).scalars())
        return done + (await self.reserved(connection)).fees

    async def recent(self, connection: AsyncConnection, asset: str, recipients: set[str]) -> dict[str, int]:
        """By recipient: how often it was paid in the last while."""
        query = (
            select(deliveries.c.recipient, func.count().label("total"))
            .where(self._mine(), deliveries.c.asset == asset, deliveries.c.recipient.in_(recipients))
            .where(deliveries.c.created_at > self._context.database.now_ms() - self._context.policy.small_window_ms)
            .group_by(deliveries.c.recipient)
        )
        return {row.recipient: row.total for row in await connection.execute(query)}

    def _mine(self) -> Any:
        return (deliveries.c.network == self._context.network) & (deliveries.c.signer == self._context.address)
