"""From `due` to `in_flight`: refunds are signed and stored in one transaction, and sent only after it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import (
    BroadcastRefusedError,
    ChainUnavailableError,
    RefundImpossibleError,
    RefundOrder,
    SignedTransaction,
)
from ws402.gateway.ledger.bulk import Row as Entry
from ws402.gateway.ledger.entries import move, post
from ws402.gateway.ledger.ids import new_id
from ws402.gateway.ledger.tables import attempts, deliveries, refunds, traces
from ws402.gateway.refunds.due import Queue
from ws402.gateway.refunds.key_context import KeyContext
from ws402.gateway.refunds.lease import StaleError
from ws402.gateway.refunds.plan import Bundle, Debt, Means, Plan, plan
from ws402.gateway.refunds.send import Sender
from ws402.gateway.refunds.store import Attempt, Delivery, next_attempt
from ws402.observability import tracing

log = logging.getLogger(__name__)

EXAMPLES = 5
"""Recipients that are tried before giving up on learning what a delivery costs."""


Signed = tuple[Bundle, Delivery]


class Deliverer:
    """Sends what is due, group by group."""

    def __init__(self, context: KeyContext, sender: Sender) -> None:
        self._context = context
        self._sender = sender
        self._queue = Queue(context)

    async def run(self) -> int:
        """Sign and send all that may go now; answers how many transactions that were."""
        context = self._context
        context.condition.short, context.condition.limited, context.condition.deferred = {}, set(), 0
        if self._sender.unfunded:
            context.condition.short[context.chain.native] = sum(self._sender.unfunded.values())
        total = 0
        sending: list[asyncio.Task[None]] = []
        trouble: ChainUnavailableError | None = None
        try:
            for asset in context.chain.assets:
                try:
                    while count := await self._group(asset, sending):
                        total += count
                except ChainUnavailableError as error:
                    trouble = error  # one asset's contract may be what fails
        finally:
            # A group is sent while the next one is being signed.
            for answer in await asyncio.gather(*sending, return_exceptions=True):
                if isinstance(answer, BaseException):
                    raise answer
        if trouble is not None:
            raise trouble
        return total

    async def _group(self, asset: str, sending: list[asyncio.Task[None]]) -> int:
        """Move one group of refunds on; answers how many moved."""
        context = self._context
        async with context.database.begin() as connection:
            row = await context.lease.fence(connection)
            if row.paused:
                return 0
            bundles = await self._queue.bundles(connection, asset)
            if not bundles:
                return 0
            reserved = await self._queue.reserved(connection)
            spent = await self._queue.spent(connection, asset)
            fees = await self._queue.fees(connection)
            recent = await self._queue.recent(connection, asset, {bundle.recipient for bundle in bundles})
        room = min(context.policy.group, context.policy.window - reserved.transactions)
        if room <= 0:
            return 0
        native = context.chain.native
        held = await context.chain.balance(context.address, native) - context.chain.reserve
        gas = held - reserved.amounts.get(native, 0) - reserved.fees
        balance = gas
        if asset != native:
            balance = await context.chain.balance(context.address, asset) - reserved.amounts.get(asset, 0)
        cost, refused = await self._cost(bundles, balance)
        budget = None if context.policy.daily_fees is None else context.policy.daily_fees - fees
        if cost is None or self._spent(cost, budget):
            decided = Plan()
        else:
            means = Means(
                asset=asset,
                native=asset == native,
                cost=cost,
                balance=balance,
                gas=gas,
                spent_in_hour=spent,
                recent=recent,
            )
            decided = plan([each for each in bundles if each.recipient not in refused], means, context.policy, room)
        for bundle in bundles:
            if bundle.recipient in refused:
                decided.hold += [(debt, refused[bundle.recipient]) for debt in bundle.debts if debt.state == "due"]
        signed = self._affordable(await self._sign(decided, row.next_nonce), gas, budget)
        self._note(asset, decided, certain=not reserved.transactions)
        if not (signed or decided.hold or decided.credit):
            return 0
        stored = await self._store(asset, decided, signed, row.next_nonce)
        span = await self._span(signed) if tracing.enabled() else None
        with tracing.use(span):
            task = asyncio.create_task(self._sender.send(stored))
        if span is not None:
            task.add_done_callback(lambda done: span.end(tracing.error_of(done)))
        sending.append(task)
        return len(stored) + len(decided.hold) + len(decided.credit)

    async def _span(self, signed: list[Signed]) -> tracing.Span | None:
        """The sending, in the traces of the sessions whose refunds it delivers."""
        debts = [debt.id for bundle, _ in signed for debt in bundle.debts]
        query = select(traces.c.traceparent).join(refunds, refunds.c.session_id == traces.c.session_id)
        async with self._context.database.read() as connection:
            parents = (await connection.execute(query.where(refunds.c.id.in_(debts)))).scalars().all()
        about: dict[str, str | int] = {"ws402.network": self._context.network, "ws402.deliveries": len(signed)}
        return tracing.begin_linked("ws402.refund deliver", parents, about)

    # --- deciding and signing ----------------------------------------------------------------------------------------

    async def _cost(self, bundles: Sequence[Bundle], balance: int) -> tuple[int | None, dict[str, str]]:
        """What a delivery costs now, learnt from the first recipients; and those among them that refuse, with why."""
        examples = [
            # Not more than there is: an empty account must not look like a recipient that refuses.
            RefundOrder(
                recipient=bundle.recipient,
                asset=bundle.asset,
                amount=min(bundle.amount, max(balance // 2, 1)),
                memo="",
            )
            for bundle in bundles[:EXAMPLES]
        ]
        estimate = self._context.chain.estimate_fee
        costs: list[int] = []
        refused: dict[str, str] = {}
        for order, answer in await self._context.each(examples, lambda order: estimate(order, self._context.address)):
            if isinstance(answer, RefundImpossibleError):
                refused[order.recipient] = refusal(answer)
            elif isinstance(answer, BroadcastRefusedError):
                costs.append(0)  # there is nothing to send; what it would cost does not matter
            elif isinstance(answer, Exception):
                raise answer
            else:
                costs.append(answer)
        # The lowest: one recipient whose contract burns gas must not raise everybody's minimum.
        cost = min(costs, default=None)
        self._context.condition.delivery_cost = cost or self._context.condition.delivery_cost
        return cost, refused

    async def _sign(self, decided: Plan, nonce: int | None) -> list[Signed]:
        """Sign what is to be sent, with consecutive nonces where there are nonces. Recipients that refuse are to be
        held, and leave no gap.
        """
        context = self._context
        context.lease.require()
        now = self._context.database.now_ms()
        done: list[Signed] = []
        todo = list(decided.send)
        while todo:
            first = None if nonce is None else nonce + len(done)
            drafts = [
                (each, self._draft(each, None if first is None else first + i, now)) for i, each in enumerate(todo)
            ]
            answers = await context.each(drafts, lambda draft: self._sign_one(draft[1]))
            todo = []
            refused = False
            for (bundle, delivery), answer in answers:
                if isinstance(answer, RefundImpossibleError):
                    refused = True
                    decided.hold += [(debt, refusal(answer)) for debt in bundle.debts if debt.state == "due"]
                elif isinstance(answer, BroadcastRefusedError):
                    log.warning("%s: %s", context.network, answer)
                    return done  # what comes after it stays due too, so that no nonce is left out
                elif isinstance(answer, Exception):
                    raise answer
                elif refused and nonce is not None:
                    todo.append(bundle)  # once more, one nonce lower
                else:
                    delivery.attempts.append(next_attempt(delivery, answer, now))
                    done.append((bundle, delivery))
        return done

    async def _sign_one(self, delivery: Delivery) -> SignedTransaction:
        return await self._context.chain.sign(delivery.order, self._context.signer, nonce=delivery.nonce)

    def _draft(self, bundle: Bundle, nonce: int | None, now: int) -> Delivery:
        return Delivery(
            id=new_id("del"),
            network=self._context.network,
            signer=self._context.address,
            nonce=nonce,
            kind="refund",
            recipient=bundle.recipient,
            asset=bundle.asset,
            amount=bundle.amount,
            state="signed",
            created_at=now,
            updated_at=now,
        )

    def _spent(self, cost: int, budget: int | None) -> bool:
        """Whether the day's budget for fees has no room for one more delivery."""
        if budget is None or cost <= budget:
            return False
        if "fees" not in self._context.condition.limited:
            log.warning("%s: the day's budget for fees is spent; refunds wait", self._context.network)
        self._context.condition.limited.add("fees")
        return True

    def _affordable(self, signed: list[Signed], gas: int, budget: int | None) -> list[Signed]:
        """The longest head of the line that the account and the budget for fees cover even at the highest fee: what is
        left out never was.
        """
        native = self._context.chain.native
        for position, (_, delivery) in enumerate(signed):
            if self._spent(delivery.last.signed.max_fee, budget):
                return signed[:position]
            budget = None if budget is None else budget - delivery.last.signed.max_fee
            gas -= delivery.last.signed.max_fee + (delivery.amount if delivery.asset == native else 0)
            if gas < 0:
                self._context.condition.short[native] = self._context.condition.short.get(native, 0) - gas
                return signed[:position]
        return signed

    def _note(self, asset: str, decided: Plan, *, certain: bool) -> None:
        condition = self._context.condition
        condition.deferred += decided.deferred
        if decided.limited:
            condition.limited.add(asset)
            log.warning("%s: the hourly limit for %s is reached; refunds wait", self._context.network, asset)
        lacking = {asset: decided.short}
        if asset != self._context.chain.native:
            lacking[self._context.chain.native] = decided.short_of_gas
        for symbol, amount in lacking.items():
            # With transactions under way, the balance that was read may lack them already: that is no alarm yet.
            if amount and certain:
                condition.short[symbol] = condition.short.get(symbol, 0) + amount
                log.error(
                    "%s: top up %s: %d units of %s lack", self._context.network, self._context.address, amount, symbol
                )

    # --- storing -----------------------------------------------------------------------------------------------------

    async def _store(self, asset: str, decided: Plan, signed: list[Signed], nonce: int | None) -> list[Attempt]:
        """Commit the decision. Nothing of it happened when this raises."""
        context, now = self._context, self._context.database.now_ms()
        changes: list[dict[str, Any]] = []
        entries: list[Entry] = []

        def change(debt: Debt, state: str, *, delivery: str | None = None, reason: str | None = None) -> None:
            row = {"b_id": debt.id, "b_was": debt.state, "state": state, "delivery_id": delivery, "reason": reason}
            changes.append(row | {"cleared": debt.cleared or delivery is not None, "updated_at": now})

        for bundle, delivery in signed:
            for debt in bundle.debts:
                change(debt, "in_flight", delivery=delivery.id)
            entries += _signed_entries(bundle, delivery, now)
        for debt in decided.credit:
            change(debt, "credit")
            entries.append(move("payer_due", "credit", context.network, asset, debt.amount, "credit", debt.id, now))
        for debt, reason in decided.hold:
            change(debt, "held", reason=reason)
            log.warning("refund %s is held: %s", debt.id, reason)
        async with context.database.begin() as connection:
            row = await context.lease.fence(connection)
            if row.next_nonce != nonce or (row.paused and signed):
                raise StaleError("The key was paused, or its nonces moved, while refunds were being signed.")
            await _check(connection, changes)
            if signed:
                await connection.execute(deliveries.insert(), [delivery.row() for _, delivery in signed])
                await connection.execute(attempts.insert(), [delivery.last.row() for _, delivery in signed])
                if nonce is not None:
                    await context.lease.advance(connection, nonce, nonce + len(signed))
            await connection.execute(_CHANGE, changes)
            await post(connection, entries)
        context.counters.signed += len(signed)
        context.counters.refunds_credited += len(decided.credit)
        context.counters.refunds_held += len(decided.hold)
        return [delivery.last for _, delivery in signed]


_CHANGE = (
    update(refunds)
    .where(refunds.c.id == bindparam("b_id"))
    .values({name: bindparam(name) for name in ("state", "delivery_id", "reason", "cleared", "updated_at")})
)


async def _check(connection: AsyncConnection, changes: list[dict[str, Any]]) -> None:
    """Lock the refunds, in one order, and see that none changed since it was read. Raises StaleError."""
    was = {each["b_id"]: each.pop("b_was") for each in changes}
    query = select(refunds.c.id, refunds.c.state).where(refunds.c.id.in_(was)).order_by(refunds.c.id)
    now = {row.id: row.state for row in await connection.execute(query.with_for_update())}
    if now != was:
        raise StaleError("Refunds changed while they were being signed; the next pass signs anew.")


def _signed_entries(bundle: Bundle, delivery: Delivery, now: int) -> list[Entry]:
    entries = []
    for account, state in (("payer_due", "due"), ("credit", "credit")):
        if amount := sum(debt.amount for debt in bundle.debts if debt.state == state):
            network, asset = delivery.network, delivery.asset
            entries.append(move(account, "refund_in_flight", network, asset, amount, "refund_signed", delivery.id, now))
    return entries


def refusal(error: RefundImpossibleError) -> str:
    """Why a refund is held whose recipient cannot take it."""
    return f"The recipient cannot take it now: {error.message}"
