"""From `due` to `in_flight`: refunds are signed and stored in one transaction, and sent only after it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec import structs
from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import (
    BroadcastRefusedError,
    ChainUnavailableError,
    RefundImpossibleError,
    RefundOrder,
)
from ws402.gateway.ledger.bulk import Row as Entry
from ws402.gateway.ledger.entries import move, post
from ws402.gateway.ledger.states import ACCOUNT_OF, RefundState
from ws402.gateway.ledger.tables import attempts, deliveries, refunds, traces
from ws402.gateway.refunds.due import BUNDLES, Line, Queue, Reserved
from ws402.gateway.refunds.key_context import KeyContext
from ws402.gateway.refunds.lease import StaleError, may_sign
from ws402.gateway.refunds.plan import Bundle, Debt, Means, Plan, plan
from ws402.gateway.refunds.send import Sender
from ws402.gateway.refunds.sign import Signed, Signing, refusal
from ws402.gateway.refunds.store import Attempt, Delivery
from ws402.observability import tracing

log = logging.getLogger(__name__)

EXAMPLES: Final = 5
"""Recipients that are tried before giving up on learning what a delivery costs."""


@dataclass(slots=True, kw_only=True)
class Group:
    """Some who are due, and what the ledger says about the key's means."""

    asset: str
    nonce: int | None
    bundles: list[Bundle]
    room: int
    """How many transactions may be signed."""
    reserved: Reserved
    spent: int
    fees: int
    recent: dict[str, int]
    limited: bool
    """Somebody before them waits for the hour's limit."""


@dataclass(slots=True, kw_only=True)
class Decision:
    """What happens to a group."""

    plan: Plan
    signed: list[Signed]


class Deliverer:
    """Sends what is due. A pass looks at everybody who is due once: read a group, decide, commit, send."""

    def __init__(self, context: KeyContext, sender: Sender) -> None:
        self._context = context
        self._sender = sender
        self._queue = Queue(context)
        self._signing = Signing(context)
        self._lines: dict[str, Line] = {}

    async def run(self) -> int:
        """Sign and send all that may go now; answers how many refunds and transactions moved."""
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
                    total += await self._pass(asset, self._lines.setdefault(asset, Line()), sending)
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

    async def _pass(self, asset: str, line: Line, sending: list[asyncio.Task[None]]) -> int:
        """Go through the line of one asset; answers how many moved."""
        database = self._context.database
        async with database.read() as connection:
            line.begin(await self._queue.line(connection, asset, line.after), database.now_ms())
        total, limited = 0, False
        while recipients := line.next(BUNDLES):
            group = await self._read(asset, recipients, limited=limited)
            if group is None:
                break
            decided = await self._decide(group)
            total += await self._commit(group, decided, sending)
            # Who is in no bundle is not due any more.
            left = [bundle.recipient for bundle in group.bundles[decided.plan.looked :]]
            looked = recipients.index(left[0]) if left else len(recipients)
            limited = limited or decided.plan.limited
            at = decided.plan.limited_at
            line.looked(looked, limited=None if at is None else recipients.index(group.bundles[at].recipient))
        line.end()
        self._context.condition.considered[asset] = line.considered
        self._tell(asset, limited=limited)
        return total

    async def _read(self, asset: str, recipients: list[str], *, limited: bool) -> Group | None:
        """A group as the ledger has it; None when nothing may be signed now."""
        context = self._context
        async with context.database.read() as connection:
            row = await context.lease.look(connection)
            if row.paused:
                return None
            reserved = await self._queue.reserved(connection)
            room = min(context.policy.group, context.policy.window - reserved.transactions)
            if room <= 0:
                return None
            return Group(
                asset=asset,
                nonce=row.next_nonce,
                bundles=await self._queue.bundles(connection, asset, recipients),
                room=room,
                reserved=reserved,
                spent=await self._queue.spent(connection, asset),
                fees=await self._queue.fees(connection),
                recent=await self._queue.recent(connection, asset, recipients),
                limited=limited,
            )

    async def _decide(self, group: Group) -> Decision:
        """Ask the chain what it costs and whether it is there, decide, and sign."""
        context, asset = self._context, group.asset
        if not group.bundles:
            return Decision(plan=Plan(), signed=[])
        native = context.chain.native
        held = await context.chain.balance(context.address, native) - context.chain.reserve
        gas = held - group.reserved.amounts.get(native, 0) - group.reserved.fees
        balance = gas
        if asset != native:
            balance = await context.chain.balance(context.address, asset) - group.reserved.amounts.get(asset, 0)
        cost, refused = await self._cost(group.bundles, balance)
        budget = None if context.policy.daily_fees is None else context.policy.daily_fees - group.fees
        if cost is None or self._signing.beyond(cost, budget):
            decided = Plan(looked=len(group.bundles))
        else:
            means = Means(
                asset=asset,
                native=asset == native,
                cost=cost,
                balance=balance,
                gas=gas,
                spent_in_hour=group.spent,
                recent=group.recent,
                limited=group.limited,
            )
            decided = plan(group.bundles, means, context.policy, group.room, refused=refused.keys())
        for bundle in group.bundles[: decided.looked]:
            if bundle.recipient in refused:
                decided.hold += [
                    (debt, refused[bundle.recipient]) for debt in bundle.debts if debt.state == RefundState.DUE
                ]
        signed = await self._signing.sign(decided, group.nonce, gas, budget)
        self._note(asset, decided, certain=not group.reserved.transactions)
        return Decision(plan=decided, signed=signed)

    async def _commit(self, group: Group, decided: Decision, sending: list[asyncio.Task[None]]) -> int:
        """Store what was decided and begin to send it; answers how many moved."""
        choice, signed = decided.plan, decided.signed
        if not (signed or choice.hold or choice.credit):
            return 0
        stored = await self._store(group.asset, choice, signed, group.nonce)
        span = await self._span(signed) if tracing.enabled() else None
        with tracing.use(span):
            task = asyncio.create_task(self._sender.send(stored))
        if span is not None:
            task.add_done_callback(lambda done: span.end(tracing.error_of(done)))
        sending.append(task)
        return len(stored) + len(choice.hold) + len(choice.credit)

    async def _span(self, signed: list[Signed]) -> tracing.Span | None:
        """The sending, in the traces of the sessions whose refunds it delivers."""
        debts = [debt.id for bundle, _ in signed for debt in bundle.debts]
        query = select(traces.c.traceparent).join(refunds, refunds.c.session_id == traces.c.session_id)
        async with self._context.database.read() as connection:
            parents = (await connection.execute(query.where(refunds.c.id.in_(debts)))).scalars().all()
        about: dict[str, str | int] = {"ws402.network": self._context.network, "ws402.deliveries": len(signed)}
        return tracing.begin_linked("ws402.refund deliver", parents, about)

    # --- deciding ----------------------------------------------------------------------------------------------------

    async def _cost(self, bundles: Sequence[Bundle], balance: int) -> tuple[int | None, dict[str, str]]:
        """What a delivery costs now, learnt from the first recipients; and those among them that refuse, with why.

        Recipients whose simulation cannot be had say nothing about the others: then our own account is asked instead.
        """
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
        away = poor = False
        for order, answer in await self._context.each(examples, lambda order: estimate(order, self._context.address)):
            if isinstance(answer, RefundImpossibleError):
                refused[order.recipient] = refusal(answer)
            elif isinstance(answer, BroadcastRefusedError):
                poor = True
            elif isinstance(answer, ChainUnavailableError):
                away = True
            elif isinstance(answer, Exception):
                raise answer
            else:
                costs.append(answer)
        if poor and not costs:
            costs.append(0)  # there is nothing to send; what it would cost does not matter
        elif away and not costs:
            own = self._context.address
            costs.append(await estimate(structs.replace(examples[0], recipient=own, amount=1), own))
        # The lowest: one recipient whose contract burns gas must not raise everybody's minimum.
        cost = min(costs, default=None)
        self._context.condition.delivery_cost = cost or self._context.condition.delivery_cost
        return cost, refused

    def _note(self, asset: str, decided: Plan, *, certain: bool) -> None:
        condition = self._context.condition
        condition.deferred += decided.deferred
        lacking = {asset: decided.short}
        if asset != self._context.chain.native:
            lacking[self._context.chain.native] = decided.short_of_gas
        for symbol, amount in lacking.items():
            # With transactions under way, the balance that was read may lack them already: that is no alarm yet.
            if amount and certain:
                condition.short[symbol] = condition.short.get(symbol, 0) + amount

    def _tell(self, asset: str, *, limited: bool) -> None:
        context = self._context
        if limited:
            context.condition.limited.add(asset)
            log.warning("%s: the hourly limit for %s is reached; refunds wait", context.network, asset)
        for symbol in {asset, context.chain.native} & context.condition.short.keys():
            lacks = context.condition.short[symbol]
            log.error("%s: top up %s: %d units of %s lack", context.network, context.address, lacks, symbol)

    # --- storing -----------------------------------------------------------------------------------------------------

    async def _store(self, asset: str, decided: Plan, signed: list[Signed], nonce: int | None) -> list[Attempt]:
        """Commit the decision. Nothing of it happened when this raises."""
        context, now = self._context, self._context.database.now_ms()
        changes: list[dict[str, Any]] = []
        entries: list[Entry] = []

        def change(debt: Debt, state: RefundState, *, delivery: str | None = None, reason: str | None = None) -> None:
            row = {"b_id": debt.id, "b_was": debt.state, "state": state, "delivery_id": delivery, "reason": reason}
            changes.append(row | {"cleared": debt.cleared or delivery is not None, "updated_at": now})

        for bundle, delivery in signed:
            for debt in bundle.debts:
                change(debt, RefundState.IN_FLIGHT, delivery=delivery.id)
            entries += _signed_entries(bundle, delivery, now)
        for debt in decided.credit:
            change(debt, RefundState.CREDIT)
            entries.append(move("payer_due", "credit", context.network, asset, debt.amount, "credit", debt.id, now))
        for debt, reason in decided.hold:
            change(debt, RefundState.HELD, reason=reason)
            log.warning("refund %s is held: %s", debt.id, reason)
        async with context.database.begin() as connection:
            row = await context.lease.fence(connection)
            if row.next_nonce != nonce or (signed and not may_sign(row)):
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
    for state in (RefundState.DUE, RefundState.CREDIT):
        if amount := sum(debt.amount for debt in bundle.debts if debt.state == state):
            network, asset = delivery.network, delivery.asset
            entries.append(
                move(ACCOUNT_OF[state], "refund_in_flight", network, asset, amount, "refund_signed", delivery.id, now)
            )
    return entries
