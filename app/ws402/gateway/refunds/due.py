"""What is due, and what the ledger says about the key's means. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, case, false, func, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.gateway.ledger.statements import one_of
from ws402.gateway.ledger.states import DeliveryState, RefundState
from ws402.gateway.ledger.tables import attempts, deliveries, refunds
from ws402.gateway.refunds.key_context import KeyContext
from ws402.gateway.refunds.plan import Bundle, Debt
from ws402.gateway.refunds.policy import DAY_MS, HOUR_MS

LINE: Final = 10_000
"""Recipients that one pass goes through at most; the next pass goes on behind them."""

BUNDLES: Final = 500
"""Recipients that are decided about at once."""

DEBTS: Final = 200
"""Debts of one recipient that one delivery pays at most."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A recipient in the line. `passed`: the round before has looked at it, and this one begins again with it."""

    recipient: str
    since: int
    """When its oldest debt was made, ms since the epoch."""
    passed: bool = False


class Line:
    """Whom one asset is due to, whoever waited longest first.

    A pass looks at everybody once. One that is cut short, because no more transactions may be under way or the line is
    very long, goes on in the next pass where it stopped, so that nobody can keep the place of another.
    """

    def __init__(self) -> None:
        self.considered = 0
        """What became due before this time, ms since the epoch, was looked at."""
        self._after: Place | None = None
        self._places: list[Place] = []
        self._position = 0
        self._limited: Place | None = None
        self._began = self._now = 0

    @property
    def after(self) -> Place | None:
        """Behind whom the next pass begins; None: at the head."""
        return self._after

    def begin(self, places: list[Place], now: int) -> None:
        """A pass begins: `places` were read at `now`, from `after` on, and then those before it."""
        self._places, self._position, self._now = places, 0, now
        self._limited = None
        if self._after is None:
            self._began = now

    def next(self, count: int) -> list[str]:
        """The next recipients; none when everybody was looked at."""
        return [place.recipient for place in self._places[self._position : self._position + count]]

    def looked(self, count: int, *, limited: int | None = None) -> None:
        """So many more were looked at. `limited`: the one among them for whom the hour's limit left no room."""
        for offset in range(count):
            place = self._places[self._position]
            if offset == limited and self._limited is None:
                self._limited = self._after or Place(recipient="", since=0)
            if place.passed and self._began < self._now:  # once around
                self.considered, self._began = self._began, self._now
            self._after = place
            self._position += 1

    def end(self) -> None:
        """The pass is over."""
        if self._position == len(self._places) < LINE:
            self.considered, self._after = self._now, None
        elif self._limited is not None:
            self._after = self._limited  # strictly in turn, or small ones would keep a large one out for ever


class Reserved(msgspec.Struct, kw_only=True):
    """What signed transactions may still take from the key's account."""

    transactions: int = 0
    amounts: dict[str, int] = {}
    fees: int = 0


class Queue:
    """The refunds of one key that are due."""

    def __init__(self, context: KeyContext) -> None:
        self._context = context

    async def line(self, connection: AsyncConnection, asset: str, after: Place | None = None) -> list[Place]:
        """Recipients who are due: those behind `after`, who waited longest first, then those before it."""
        since = func.min(refunds.c.created_at).label("since")
        passed: ColumnElement[bool] = false()
        if after is not None:
            same = (since.element == after.since) & (refunds.c.recipient <= after.recipient)
            passed = case((or_(since.element < after.since, same), true()), else_=false())
        passed = passed.label("passed")
        query = (
            select(refunds.c.recipient, since, passed)
            .where(self._ours(asset), refunds.c.state == RefundState.DUE)
            .group_by(refunds.c.recipient)
            .order_by(passed, since, refunds.c.recipient)
            .limit(LINE)
        )
        return [
            Place(recipient=row.recipient, since=row.since, passed=bool(row.passed))
            for row in await connection.execute(query)
        ]

    async def bundles(
        self, connection: AsyncConnection, asset: str, recipients: Sequence[str] | None = None
    ) -> list[Bundle]:
        """What these recipients (by default those at the head of the line) are due, with their credit: one delivery
        each, of the `DEBTS` largest debts. Due ones come first, so that no credit keeps one out.
        """
        if recipients is None:
            recipients = [place.recipient for place in (await self.line(connection, asset))[:BUNDLES]]
        # Amounts are decimal text in SQLite.
        size = [refunds.c.amount.desc()]
        if connection.dialect.name == "sqlite":
            size.insert(0, func.length(refunds.c.amount).desc())
        waiting = case((refunds.c.state == RefundState.DUE, 0), else_=1)
        place = func.row_number().over(partition_by=refunds.c.recipient, order_by=[waiting, *size, refunds.c.id])
        names = ("id", "recipient", "amount", "state", "cleared")
        ranked = (
            select(*refunds.c[names], refunds.c.created_at, place.label("place"))
            .where(self._ours(asset), one_of(refunds.c.recipient, recipients))
            .where(refunds.c.state.in_((RefundState.DUE, RefundState.CREDIT)))
            .subquery()
        )
        query = select(*ranked.c[names]).where(ranked.c.place <= DEBTS)
        debts: dict[str, list[Debt]] = {}
        for row in await connection.execute(query.order_by(ranked.c.created_at, ranked.c.id)):
            debts.setdefault(row.recipient, []).append(Debt(**row._mapping))  # noqa: SLF001 - SQLAlchemy's documented name
        return [
            Bundle(recipient=recipient, asset=asset, debts=tuple(debts[recipient]))
            for recipient in recipients
            if any(debt.state == RefundState.DUE for debt in debts.get(recipient, ()))
        ]

    async def reserved(self, connection: AsyncConnection) -> Reserved:
        """Over the transactions that are in no block."""
        query = (
            select(deliveries.c.id, deliveries.c.asset, deliveries.c.amount, attempts.c.max_fee)
            .join(attempts, attempts.c.delivery_id == deliveries.c.id)
            .where(self._mine(), deliveries.c.state == DeliveryState.SIGNED)
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
            deliveries.c.state != DeliveryState.FAILED,
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

    async def recent(self, connection: AsyncConnection, asset: str, recipients: Sequence[str]) -> dict[str, int]:
        """By recipient: how often it was paid in the last while."""
        query = (
            select(deliveries.c.recipient, func.count().label("total"))
            .where(self._mine(), deliveries.c.asset == asset, deliveries.c.recipient.in_(recipients))
            .where(deliveries.c.created_at > self._context.database.now_ms() - self._context.policy.small_window_ms)
            .group_by(deliveries.c.recipient)
        )
        return {row.recipient: row.total for row in await connection.execute(query)}

    def _ours(self, asset: str) -> ColumnElement[bool]:
        return (refunds.c.network == self._context.network) & (refunds.c.asset == asset)

    def _mine(self) -> Any:
        return (deliveries.c.network == self._context.network) & (deliveries.c.signer == self._context.address)
