"""What became of signed transactions. The chain alone decides, and the ledger follows, also backwards after a reorg."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import Head, TxState
from ws402.gateway.ledger.bulk import Row as Entry
from ws402.gateway.ledger.entries import move, post
from ws402.gateway.ledger.outbox import tell_paid
from ws402.gateway.ledger.restored import REASON
from ws402.gateway.ledger.states import UNDECIDED, DeliveryState, RefundState
from ws402.gateway.ledger.tables import deliveries, refunds, signers, traces
from ws402.gateway.refunds.key_context import KeyContext
from ws402.gateway.refunds.send import Sender
from ws402.gateway.refunds.store import Attempt, Delivery, load
from ws402.observability import metrics, tracing

log = logging.getLogger(__name__)

BATCH = 500
"""Deliveries in blocks that are looked at in one pass."""

LOOK = " Run `ws402 ops reconcile {}`."
"""How the reason of a key ends that paused itself."""

REFUND_STATES = {
    DeliveryState.SIGNED: RefundState.IN_FLIGHT,
    DeliveryState.INCLUDED: RefundState.CONFIRMED,
    DeliveryState.REVERTED: RefundState.IN_FLIGHT,
    DeliveryState.FINAL: RefundState.FINAL,
}
"""A delivery's state to that of its refunds. When it failed, they leave it."""
_PAID = (DeliveryState.INCLUDED, DeliveryState.FINAL)


class Outcome(msgspec.Struct, kw_only=True):
    """Where a delivery stands now."""

    delivery: Delivery
    state: DeliveryState
    attempt: Attempt | None = None
    """The one that is in a block; None for a delivery in no block, or whose nonce a foreign transaction used."""
    block: int | None = None
    fee: int | None = None

    expired: bool = False
    """It is in no block and never will be: the chain has proven it."""

    @property
    def foreign(self) -> bool:
        """Its nonce was used by a transaction that the ledger does not know."""
        return self.state == DeliveryState.FAILED and self.attempt is None and not self.expired

    @property
    def news(self) -> bool:
        """Whether the ledger says otherwise."""
        was = self.delivery
        tx = self.attempt.signed.tx if self.attempt else None
        return (self.state, tx, self.block, self.fee) != (was.state, was.tx, was.block, was.fee)


class Line(msgspec.Struct, kw_only=True):
    """The transactions that wait for a block, by nonce where there are nonces."""

    nonce: int | None
    """Next on the chain."""
    next_nonce: int | None
    """Next to be given out."""
    paused: bool
    restored: bool
    """The ledger is an old copy: only an operator may let anything be signed."""
    waiting: list[Delivery]


class Reconciler:
    """Follows one key's transactions."""

    def __init__(self, context: KeyContext, sender: Sender) -> None:
        self._context = context
        self._sender = sender
        self._passed: dict[str, int] = {}

    async def run(self) -> tuple[Head, Line]:
        """Bring the ledger up to the chain."""
        context = self._context
        # The nonce first: whatever used it is then in a block up to the head.
        nonce = await context.chain.next_nonce(context.address)
        head = await context.chain.head()
        async with context.database.begin() as connection:
            row = await context.lease.fence(connection)
            context.condition.paused = row.pause_reason or "paused" if row.paused else None
            restored = context.condition.restored = row.restored_at is not None
            if restored:
                context.condition.paused = REASON.format(context.network)
            if restored and nonce is not None:
                # What has used a nonce may be a dearer form of ours that this copy does not know.
                return head, Line(nonce=nonce, next_nonce=row.next_nonce, paused=True, restored=True, waiting=[])
            next_nonce = None if nonce is None else await self._follow(connection, row, nonce)
            waiting = await load(connection, self._mine() & (deliveries.c.state == DeliveryState.SIGNED))
            in_blocks = deliveries.c.state.in_((DeliveryState.INCLUDED, DeliveryState.REVERTED))
            moved = deliveries.c.block <= head.final
            if nonce is not None:
                moved = moved | (deliveries.c.nonce >= nonce)
            settled = await load(connection, self._mine() & in_blocks & moved, limit=BATCH)
        # A nonce tells without a question which may be in a block; where there are none, any may.
        look = [each for each in waiting if nonce is None or _place(each) < nonce] + settled
        outcomes: list[Outcome] = []
        for _, answer in await context.each(look, lambda each: self._look(each, nonce, head)):
            if isinstance(answer, Exception):
                raise answer
            if answer is not None and answer.news:
                outcomes.append(answer)
        if outcomes:
            await self._apply(outcomes)
        gone = {each.delivery.id for each in outcomes if each.state != DeliveryState.SIGNED}
        back = [each.delivery for each in outcomes if each.state == DeliveryState.SIGNED]
        for delivery in back:
            self._sender.forget([each.signed.tx for each in delivery.attempts])
        waiting = sorted([each for each in waiting if each.id not in gone] + back, key=_place)
        paused = bool(row.paused) or context.condition.paused is not None
        return head, Line(nonce=nonce, next_nonce=next_nonce, paused=paused, restored=restored, waiting=waiting)

    async def _follow(self, connection: AsyncConnection, row: Any, nonce: int) -> int:
        """The next nonce to give out. It starts where the chain is, and never goes back."""
        context = self._context
        mine = (signers.c.network == context.network) & (signers.c.address == context.address)
        if row.next_nonce is None:
            await connection.execute(update(signers).where(mine).values(next_nonce=nonce))
            return nonce
        known: int = row.next_nonce
        if nonce <= known:
            return known
        context.counters.foreign += nonce - known
        reason = f"Nonces {known} to {nonce - 1} were used by transactions that the ledger does not know."
        await connection.execute(update(signers).where(mine).values(next_nonce=nonce))
        await self._pause(connection, reason)
        return nonce

    async def _pause(self, connection: AsyncConnection, reason: str) -> None:
        """Somebody else uses the key, or this ledger is an old copy that does not know what was sent. Either way, what
        looks due may be paid already: an operator must look.
        """
        context = self._context
        reason += LOOK.format(context.network)
        log.critical("%s: the key %s is paused: %s", context.network, context.address, reason)
        mine = (signers.c.network == context.network) & (signers.c.address == context.address)
        await connection.execute(update(signers).where(mine).values(paused=True, pause_reason=reason))
        context.condition.paused = reason

    def _mine(self) -> Any:
        return (deliveries.c.network == self._context.network) & (deliveries.c.signer == self._context.address)

    async def _look(self, delivery: Delivery, nonce: int | None, head: Head) -> Outcome | None:
        """Ask the chain for all attempts: any may be the one. None: nothing can be said yet."""
        pending = False
        for attempt in reversed(delivery.attempts):
            status = await self._context.chain.status(attempt.signed.tx)
            pays = attempt.kind == delivery.kind
            match status.state:
                case TxState.FINAL:
                    state = DeliveryState.FINAL if pays else DeliveryState.FAILED
                case TxState.INCLUDED:
                    state = DeliveryState.INCLUDED if pays else DeliveryState.REVERTED
                case TxState.FAILED:
                    state = DeliveryState.FAILED if status.final else DeliveryState.REVERTED
                case _:
                    pending = pending or status.state is TxState.PENDING
                    continue
            self._passed.pop(delivery.id, None)
            return Outcome(delivery=delivery, state=state, attempt=attempt, block=status.block, fee=status.fee)
        if nonce is None:
            expired = await self._context.chain.expired(delivery.last.signed)
            state = DeliveryState.FAILED if expired else DeliveryState.SIGNED
            return Outcome(delivery=delivery, state=state, expired=expired)
        if _place(delivery) >= nonce:
            self._passed.pop(delivery.id, None)
            return Outcome(delivery=delivery, state=DeliveryState.SIGNED)
        if pending:
            return None
        # The nonce is used, but not by us as far as this node knows. It may lag: believe it only for final blocks.
        if head.final < self._passed.setdefault(delivery.id, head.block):
            return None
        for attempt in delivery.attempts:
            found = await self._context.chain.lookup(attempt.signed.tx, amount=delivery.amount)
            if found.state is not TxState.UNKNOWN:
                return None
        self._passed.pop(delivery.id, None)
        return Outcome(delivery=delivery, state=DeliveryState.FAILED)

    # --- booking -----------------------------------------------------------------------------------------------------

    async def _apply(self, outcomes: list[Outcome]) -> None:
        context, now = self._context, self._context.database.now_ms()
        entries = [entry for each in outcomes for entry in _entries(each, context.chain.native, now)]
        async with context.database.begin() as connection:
            await context.lease.fence(connection)
            await connection.execute(_MOVE, [_row(each, now) for each in outcomes])
            for state, refund_state in REFUND_STATES.items():
                ids = [each.delivery.id for each in outcomes if each.state == state]
                if ids:
                    follow = update(refunds).where(refunds.c.delivery_id.in_(ids), refunds.c.state != refund_state)
                    await connection.execute(follow.values(state=refund_state, updated_at=now))
                    if state is DeliveryState.FINAL:
                        done = select(refunds.c.id).where(refunds.c.delivery_id.in_(ids))
                        context.counters.refunds_final += len((await connection.execute(done)).all())
            for state in _PAID:
                ids = [each.delivery.id for each in outcomes if each.state == state]
                await tell_paid(connection, ids, now, final=state is DeliveryState.FINAL)
            for each in outcomes:
                if each.state == DeliveryState.FAILED:
                    await self._give_back(connection, each, now)
            await post(connection, entries)
        for each in outcomes:
            self._count(each)
        arrived = [each for each in outcomes if each.state in _PAID and each.delivery.state == DeliveryState.SIGNED]
        await self._arrived([each.delivery.id for each in arrived], now)

    async def _arrived(self, ids: list[str], now: int) -> None:
        """Tell metrics and traces of refunds that came into a block. A reorg may make one arrive twice."""
        if not ids:
            return
        query = (
            select(refunds, traces.c.traceparent, deliveries.c.tx.label("delivered"))
            .join(deliveries, refunds.c.delivery_id == deliveries.c.id)
            .outerjoin(traces, traces.c.session_id == refunds.c.session_id)
            .where(refunds.c.delivery_id.in_(ids))
        )
        async with self._context.database.read() as connection:
            rows = (await connection.execute(query)).all()
        series = metrics.REFUND_DELIVERY_SECONDS.of(self._context.network)
        for row in rows:
            series.observe(max(0, now - (row.due_at or row.created_at)) / 1000)
            if row.traceparent is not None:
                _trace(row)

    async def _give_back(self, connection: AsyncConnection, outcome: Outcome, now: int) -> None:
        """The delivery paid nothing, for good: its refunds are owed as before."""
        delivery, attempt = outcome.delivery, outcome.attempt
        if delivery.kind == "collect" and attempt is not None:
            return  # it owed nobody anything; what became of the authorization is asked of the chain
        if outcome.expired:
            state, reason = RefundState.DUE, None
        elif attempt is None:
            state, reason = RefundState.DUE, None
            self._context.counters.foreign += 1
            await self._pause(
                connection, f"Nonce {delivery.nonce} was used by a transaction that the ledger does not know."
            )
        elif attempt.kind != delivery.kind:
            state, reason = (
                RefundState.HELD,
                f"The recipient refuses it, so transaction {attempt.signed.tx} gave the nonce back.",
            )
        else:
            state, reason = (
                RefundState.HELD,
                f"Transaction {attempt.signed.tx} had no effect: the recipient refused it.",
            )
        moved = await connection.execute(
            update(refunds)
            .where(refunds.c.delivery_id == delivery.id)
            .values(state=state, delivery_id=None, reason=reason, cleared=True, updated_at=now)
            .returning(refunds.c.id)
        )
        ids = list(moved.scalars())
        if state is RefundState.HELD:
            self._context.counters.refunds_held += len(ids)
        else:
            self._context.counters.refunds_returned += len(ids)
        level = logging.WARNING if outcome.expired else logging.ERROR
        log.log(level, "delivery %s paid nothing; refunds %s are %s again", delivery.id, ", ".join(ids), state)

    def _count(self, outcome: Outcome) -> None:
        counters, was = self._context.counters, outcome.delivery.state
        if outcome.state != DeliveryState.SIGNED:
            self._sender.forget([each.signed.tx for each in outcome.delivery.attempts])
        if was == DeliveryState.SIGNED and outcome.state in _PAID:
            counters.included += 1
        elif outcome.expired:
            counters.expired += 1
        elif was == DeliveryState.SIGNED and not outcome.foreign:
            counters.reverted += 1
        elif outcome.state == DeliveryState.SIGNED:
            counters.reorged += 1
            log.warning("a reorg removed delivery %s; its transaction is sent again", outcome.delivery.id)


_MOVE = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("b_id"))
    .values({name: bindparam(name) for name in ("state", "tx", "block", "fee", "updated_at")})
)


def _place(delivery: Delivery) -> int:
    """A delivery's place in the line."""
    return delivery.nonce or 0


def _row(outcome: Outcome, now: int) -> dict[str, Any]:
    return {
        "b_id": outcome.delivery.id,
        "state": outcome.state,
        "tx": outcome.attempt.signed.tx if outcome.attempt else None,
        "block": outcome.block,
        "fee": outcome.fee,
        "updated_at": now,
    }


def _trace(row: Any) -> None:
    """A delivered refund in its session's trace: from the debt to the block."""
    about = {"ws402.refund.id": row.id, "ws402.network": row.network, "ws402.asset": row.asset}
    started = row.created_at * 1_000_000
    span = tracing.begin("ws402.refund", parent=row.traceparent, attributes=about, started_ns=started)
    if span is not None:
        span.set({"ws402.delivery.id": row.delivery_id, "ws402.refund.tx": row.delivered or ""})
        span.end()


def _entries(outcome: Outcome, native: str, now: int) -> list[Entry]:
    """Bookings of what can no longer change."""
    delivery = outcome.delivery
    network, entries = delivery.network, []
    if outcome.state in UNDECIDED:
        return []
    if delivery.amount:
        debit, credit = ("refund_in_flight", "chain" if outcome.state == DeliveryState.FINAL else "payer_due")
        kind = f"refund_{outcome.state}"
        entries.append(move(debit, credit, network, delivery.asset, delivery.amount, kind, delivery.id, now))
    if outcome.fee:
        entries.append(move("gas", "chain", network, native, outcome.fee, "gas", delivery.id, now))
    return entries
