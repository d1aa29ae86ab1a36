"""Settlement: a session's end. What was consumed is final, the rest becomes a debt to the payer, both in one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.errors import ConflictError, InvalidRequestError, NotFoundError, WS402Error
from ws402.gateway.ledger.bulk import Row as Entry
from ws402.gateway.ledger.bulk import insert
from ws402.gateway.ledger.bulk import update as update_rows
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import move, post
from ws402.gateway.ledger.ids import new_id
from ws402.gateway.ledger.outbox import Ended, tell_settled
from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.states import OVER, RefundState, SessionState
from ws402.gateway.ledger.tables import checkpoints, networks, payments, refunds, sessions
from ws402.gateway.ledger.transactions import Connection, Transaction, after_commit, fetch
from ws402.money import parse_amount, wire_amount
from ws402.observability import metrics
from ws402.prices import Price, by_second
from ws402.protocol import EndReason, RefundRequest, RefundResponse, SettleRequest, SettleResponse, kept_price

CLOCK_TOLERANCE_MS = 2_000
"""A server may report this much more usage than has passed by the ledger's clock; above, the ledger's clock counts."""


class NotRefundableError(ConflictError):
    """The refund asked for is above what is left, or differs from the one that is recorded."""

    code = "not_refundable"

    def __init__(self, message: str, *, refundable: int) -> None:
        super().__init__(message, remedy="Ask for at most what is refundable.")
        self.refundable = refundable


@dataclass(slots=True)
class Settle:
    """A settlement to make. `tenant` None: the gateway itself, for a server that vanished."""

    tenant: str | None
    request: SettleRequest


@dataclass(slots=True)
class StockRefund:
    """A stock server's refund: it ends the session by the amount to give back. `tx` is normalised."""

    tenant: str
    tx: str
    amount: int
    request: RefundRequest


_LOCKED: Final = Statement(
    select(sessions, *checkpoints.c["elapsed_ms", "bytes_transferred", "message_count", "units"])
    .join(checkpoints, checkpoints.c.session_id == sessions.c.id)
    .where(one_of(sessions.c.id, "ids"))
    .order_by(sessions.c.id)
    .with_for_update(of=(sessions, checkpoints))
)
_PAID: Final = Statement(
    select(payments.c.tx, sessions.c.tenant, sessions.c.id)
    .join(sessions, payments.c.session_id == sessions.c.id)
    # All networks: there is no invoice for one that was never watched. The index begins with them.
    .where(payments.c.network.in_(select(networks.c.network)), one_of(payments.c.tx, "txs"))
)
_DEBTS: Final = Statement(select(refunds).where(one_of(refunds.c.session_id, "ids")))
_SESSIONS: Final = Statement(select(sessions).where(one_of(sessions.c.id, "ids")))


class Debt(NamedTuple):
    """A session's refund."""

    id: str
    state: str


async def lock_sessions(connection: Connection, ids: set[str]) -> dict[str, Any]:
    """Sessions with their checkpoints, locked in one order.

    Both rows: who waits for a lock at READ COMMITTED reads only locked rows anew (PostgreSQL manual, §13.2.1), and a
    checkpoint from before the wait would take usage back.
    """
    return {row.id: row for row in await fetch(connection, _LOCKED, ids=ids)}


def unpriced() -> InvalidRequestError:
    """A stock server's session, which only that server can meter."""
    return InvalidRequestError(
        "The session has no price: its invoice was made without pricePerSecond.",
        remedy="End it with /api/payment/refund.",
    )


def price_of(row: Any) -> Price:
    """The price of a session or an invoice that has one."""
    return by_second(row.price_per_second) if row.price is None else kept_price(row.price)


def used_units(row: Any, before: str | None, reported: Mapping[str, int] | None) -> str | None:
    """A session's use in other units than time, as it is kept: it never falls, and only what has a price counts."""
    if row.price is None or not (priced := kept_price(row.price).units):
        return None
    old: dict[str, int] = msgspec.json.decode(before) if before else {}
    new = reported or {}
    return msgspec.json.encode({unit: max(old.get(unit, 0), new.get(unit, 0)) for unit in priced}).decode()


def cost_of(row: Any, elapsed_ms: int, units: str | None) -> int:
    """What so much use costs at a session's price: never more than was paid for it. Stock servers' have none."""
    if row.price_per_second is None:
        return 0
    price = price_of(row)
    charged = price.charged(msgspec.json.decode(units)) if units else 0
    consumed: int = min(row.paid, price.cost(elapsed_ms, charged))
    return consumed


def refund_row(row: Any, refund: int, now: int) -> dict[str, Any]:
    """The outbox row of a session's refund; it waits until the session's payments are final."""
    return {
        "id": new_id("ref"),
        "session_id": row.id,
        "network": row.network,
        "asset": row.asset,
        "recipient": row.payer,
        "amount": refund,
        "state": RefundState.WAITING,
        "source_block": row.source_block,
        "created_at": now,
        "updated_at": now,
    }


async def owe_session(connection: AsyncConnection, row: Any, refund: int, now: int) -> str:
    """Owe a reversed session's rest, in place of a refund that was voided; the refund's id."""
    changed = await connection.execute(
        update(refunds)
        .where(refunds.c.session_id == row.id, refunds.c.state == RefundState.VOID)
        .values(amount=refund, state=RefundState.WAITING, updated_at=now)
        .returning(refunds.c.id)
    )
    revived: str | None = changed.scalar()
    if revived is not None:
        return revived
    made = refund_row(row, refund, now)
    await connection.execute(refunds.insert(), [made])
    refund_id: str = made["id"]
    return refund_id


class Settlement:
    """Ends sessions. Every repetition of a settlement gets the answer of the first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def settle(self, ops: Sequence[Settle]) -> list[SettleResponse | WS402Error]:
        """Settle sessions in one transaction."""
        plan = _Plan(self._database.now_ms())
        return await self._database.run(partial(_settle, ops, plan))

    async def refund(self, ops: Sequence[StockRefund]) -> list[RefundResponse | WS402Error]:
        """End sessions as stock servers do: by the amount that goes back."""
        plan = _Plan(self._database.now_ms())
        return await self._database.run(partial(_refund, ops, plan))


async def _settle(ops: Sequence[Settle], plan: _Plan, connection: Transaction) -> list[SettleResponse | WS402Error]:
    found = await lock_sessions(connection, {op.request.session_id for op in ops})
    results: list[SettleResponse | WS402Error] = []
    for op in ops:
        row = found.get(op.request.session_id)
        if row is None or (op.tenant is not None and row.tenant != op.tenant):
            results.append(NotFoundError(f"There is no session '{op.request.session_id}'."))
        elif row.state in OVER or row.id in plan.ended:
            results.append(_SettledBeforeError(row))  # answered below, with its refund
        elif row.epoch != op.request.epoch:
            results.append(ConflictError("The session was resumed by another server.", code="superseded"))
        elif row.price_per_second is None:
            results.append(unpriced())
        else:
            results.append(plan.end(row, _consumed(row, op, plan.now), op))
    await plan.execute(connection)
    await _fill_known(connection, results)
    return results


def _consumed(row: Any, op: Settle, now: int) -> int:
    reported = min(op.request.elapsed_ms, now - row.opened_at + CLOCK_TOLERANCE_MS)
    return cost_of(row, max(row.elapsed_ms, reported), used_units(row, row.units, op.request.units))


async def _refund(
    ops: Sequence[StockRefund], plan: _Plan, connection: Transaction
) -> list[RefundResponse | WS402Error]:
    paid = await connection.fetch(_PAID, txs={op.tx for op in ops})
    by_tx = {(row.tenant, row.tx): row.id for row in paid}
    found = await lock_sessions(connection, set(by_tx.values()))
    outcomes: list[tuple[Any, int] | WS402Error] = []
    before: set[str] = set()
    for op in ops:
        row = found.get(by_tx.get((op.tenant, op.tx), ""))
        if row is None:
            outcomes.append(NotFoundError("No session of yours was paid by this transaction."))
            continue
        ended = plan.ended.get(row.id)
        refunded = ended[1] if ended else row.refunded if row.state in OVER else None
        if refunded is None and op.amount > row.paid:
            outcomes.append(NotRefundableError("More than was paid.", refundable=row.paid))
        elif refunded is not None and refunded != op.amount:
            outcomes.append(_not_refundable(refunded))
        else:
            if refunded is None:
                plan.end_by(row, row.paid - op.amount, EndReason.REFUND_REQUESTED)
            elif not ended:
                before.add(row.id)
            outcomes.append((row, op.amount))
    await plan.execute(connection)
    debts = plan.debts() | await _debts(connection, before)
    return [
        each if isinstance(each, WS402Error) else _stock_answer(each[0], each[1], debts.get(each[0].id), plan.now)
        for each in outcomes
    ]


class _SettledBeforeError(WS402Error):
    """Stands for the answer of a session that is settled already, until its refund was read."""

    def __init__(self, row: Any) -> None:
        super().__init__("")
        self.row = row


class _Plan:
    """What one transaction will write."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.ended: dict[str, tuple[int, int]] = {}
        self._sessions: list[dict[str, Any]] = []
        self._refunds: list[dict[str, Any]] = []
        self._entries: list[Entry] = []
        self._usage: list[dict[str, Any]] = []
        self._told: list[Ended] = []

    def end(self, row: Any, consumed: int, op: Settle) -> SettleResponse:
        refund_id = self.end_by(row, consumed, op.request.reason)
        self._usage.append(
            {
                "session_id": row.id,
                "elapsed_ms": max(row.elapsed_ms, op.request.elapsed_ms),
                "bytes_transferred": max(row.bytes_transferred, op.request.bytes_transferred),
                "message_count": max(row.message_count, op.request.message_count),
                "units": used_units(row, row.units, op.request.units),
                "reported_at": self.now,
            }
        )
        return SettleResponse(
            session_id=row.id,
            paid=wire_amount(row.paid),
            consumed=wire_amount(consumed),
            refund=wire_amount(row.paid - consumed),
            refund_id=refund_id,
            refund_state=RefundState.WAITING if refund_id else None,
        )

    def end_by(self, row: Any, consumed: int, reason: EndReason) -> str | None:
        refund = row.paid - consumed
        self.ended[row.id] = (consumed, refund)
        self._sessions.append(
            {
                "id": row.id,
                "state": SessionState.ENDED.value,
                "consumed": consumed,
                "refunded": refund,
                "ended_at": self.now,
                "end_reason": reason.value,
                "resume_hash": None,
            }
        )
        for account, amount in (("revenue", consumed), ("payer_due", refund)):
            if amount:
                self._entries.append(
                    move("session_escrow", account, row.network, row.asset, amount, "settle", row.id, self.now)
                )
        if refund:
            self._refunds.append(refund_row(row, refund, self.now))
        refund_id = self._refunds[-1]["id"] if refund else None
        self._told.append(Ended(row, row.paid, consumed, refund_id, reason))
        return refund_id

    async def execute(self, connection: Transaction) -> None:
        await update_rows(connection, checkpoints, "session_id", self._usage)
        await update_rows(connection, sessions, "id", self._sessions)
        await post(connection, self._entries)
        await insert(connection, refunds, self._refunds)
        await tell_settled(connection, self._told, self.now)
        after_commit(connection, self._count)

    def debts(self) -> dict[str, Debt | None]:
        """By session: the refund that it has now."""
        return {each["session_id"]: Debt(each["id"], each["state"]) for each in self._refunds}

    def _count(self) -> None:
        """Show in the metrics what is committed now."""
        for each in self._sessions:
            metrics.SESSIONS_SETTLED.inc(each["end_reason"])
        for each in self._refunds:
            metrics.REFUNDS_ISSUED.inc(each["network"], each["asset"])


async def _debts(connection: Transaction, ids: set[str]) -> dict[str, Debt | None]:
    """By session: its refund, if there is one."""
    return {row.session_id: Debt(row.id, row.state) for row in await connection.fetch(_DEBTS, ids=ids)} if ids else {}


async def _fill_known(connection: Transaction, results: list[SettleResponse | WS402Error]) -> None:
    known = {each.row.id for each in results if isinstance(each, _SettledBeforeError)}
    if not known:
        return
    debts = await _debts(connection, known)
    fresh = {row.id: row for row in await connection.fetch(_SESSIONS, ids=known)}
    for position, each in enumerate(results):
        if isinstance(each, _SettledBeforeError):
            row, debt = fresh[each.row.id], debts.get(each.row.id)
            results[position] = SettleResponse(
                session_id=row.id,
                paid=wire_amount(row.paid),
                consumed=wire_amount(row.consumed),
                refund=wire_amount(row.refunded),
                refund_id=debt.id if debt else None,
                refund_state=debt.state if debt else None,
            )


def _not_refundable(refunded: int) -> NotRefundableError:
    return NotRefundableError(f"The session has ended with a refund of {refunded}.", refundable=0)


def _stock_answer(row: Any, amount: int, debt: Debt | None, now: int) -> RefundResponse:
    return RefundResponse(
        status="success",
        amount=wire_amount(amount),
        recipient=row.payer,
        message="The refund is recorded and will be delivered." if debt else "Nothing is left to refund.",
        timestamp=now,
        refund_id=debt.id if debt else None,
        state=debt.state if debt else None,
    )


def stock_refund(tenant: str, tx: str, request: RefundRequest) -> StockRefund:
    """Check a stock refund request. Raises AmountError."""
    return StockRefund(tenant=tenant, tx=tx, amount=parse_amount(request.amount, zero=True), request=request)
