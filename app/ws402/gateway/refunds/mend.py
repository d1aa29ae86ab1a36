"""Keeps the line of nonces moving: sends again what nodes forgot, raises fees, fills gaps."""

from __future__ import annotations

import logging
import time

from sqlalchemy import select

from ws402.chains.base import BroadcastRefusedError, RefundImpossibleError
from ws402.chains.collecting import CollectingChain
from ws402.gateway.ledger.ids import new_id
from ws402.gateway.ledger.states import DeliveryState
from ws402.gateway.ledger.tables import attempts, deliveries
from ws402.gateway.refunds.key_context import KeyContext
from ws402.gateway.refunds.lease import StaleError, may_sign
from ws402.gateway.refunds.reconcile import Line
from ws402.gateway.refunds.send import Sender
from ws402.gateway.refunds.store import Attempt, Delivery, next_attempt

log = logging.getLogger(__name__)


class Mender:
    """Looks after one key's transactions that are in no block."""

    def __init__(self, context: KeyContext, sender: Sender) -> None:
        self._context = context
        self._sender = sender
        self._next: tuple[int | None, float] = (-1, 0.0)
        self._given_up: dict[str, float] = {}

    async def run(self, line: Line) -> None:
        """One pass. Nothing is signed or sent for a paused key."""
        if line.nonce != self._next[0]:
            self._next = (line.nonce, time.monotonic())
        if line.paused:
            return
        waiting = line.waiting
        if line.nonce is not None and line.next_nonce is not None:
            await self._fill(line, line.nonce, line.next_nonce)
            waiting = [each for each in line.waiting if each.nonce is not None and each.nonce >= line.nonce]
            await self._bump(waiting)
        again = [each.last for each in waiting if self._sender.wants(each.last)]
        if again:
            await self._sender.send(again)

    # --- gaps --------------------------------------------------------------------------------------------------------

    async def _fill(self, line: Line, first: int, following: int) -> None:
        """A nonce below ours that no delivery has blocks all above it: use it up without effect."""
        context = self._context
        context.condition.nonce_gaps = 0
        if first >= following or (line.waiting and line.waiting[0].nonce == first):
            return
        async with context.database.begin() as connection:
            query = select(deliveries.c.nonce).where(
                deliveries.c.network == context.network,
                deliveries.c.signer == context.address,
                deliveries.c.nonce >= first,
            )
            taken = set((await connection.execute(query)).scalars())
        missing = [nonce for nonce in range(first, following) if nonce not in taken]
        context.condition.nonce_gaps = len(missing)
        if not missing:
            return
        log.error("%s: no delivery has the nonces %s; using them up", context.network, missing)
        filled = []
        for nonce in missing[: context.policy.group]:
            now = context.database.now_ms()
            delivery = Delivery(
                id=new_id("del"),
                network=context.network,
                signer=context.address,
                nonce=nonce,
                kind="cancel",
                recipient=context.address,
                asset=context.chain.native,
                amount=0,
                state=DeliveryState.SIGNED,
                created_at=now,
                updated_at=now,
            )
            signed = await context.chain.sign_cancel(context.signer, nonce=nonce, replaces=None)
            delivery.attempts.append(next_attempt(delivery, signed, now))
            filled.append(delivery)
        async with context.database.begin() as connection:
            row = await context.lease.fence(connection)
            if not may_sign(row):
                raise StaleError("The key was paused.")
            await connection.execute(deliveries.insert(), [each.row() for each in filled])
            await connection.execute(attempts.insert(), [each.last.row() for each in filled])
        context.counters.cancelled += len(filled)
        line.waiting = sorted([*line.waiting, *filled], key=lambda each: each.nonce or 0)

    # --- fees --------------------------------------------------------------------------------------------------------

    async def _bump(self, waiting: list[Delivery]) -> None:
        """Replace what waits too long, or what a node called too cheap: same nonce, same order, higher fee."""
        if not waiting:
            return
        context = self._context
        stuck_ms = (time.monotonic() - self._next[1]) * 1000
        oldest = context.database.now_ms() - context.policy.bump_after_ms
        stuck = stuck_ms >= context.policy.bump_after_ms and waiting[0].last.created_at <= oldest
        self._given_up = {each: at for each, at in self._given_up.items() if time.monotonic() < at}
        old = [
            each
            for each in waiting
            if each.id not in self._given_up
            and ((stuck and each.last.created_at <= oldest) or each.last.signed.tx in self._sender.underpriced)
        ]
        fresh: list[tuple[Delivery, Attempt]] = []
        for delivery, answer in await context.each(old, self._replace):
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                self._given_up[delivery.id] = time.monotonic() + context.policy.bump_after_ms / 1000
                continue
            fresh.append((delivery, answer))
        if not fresh:
            return
        async with context.database.begin() as connection:
            row = await context.lease.fence(connection)
            if not may_sign(row):
                raise StaleError("The key was paused.")
            await connection.execute(attempts.insert(), [attempt.row() for _, attempt in fresh])
        for delivery, attempt in fresh:
            self._sender.underpriced.discard(delivery.last.signed.tx)
            self._sender.unfunded.pop(delivery.last.signed.tx, None)
            delivery.attempts.append(attempt)
        context.counters.bumped += len(fresh)
        log.warning(
            "%s: raised the fee of %d transactions from nonce %d", context.network, len(fresh), fresh[0][0].nonce
        )

    async def _replace(self, delivery: Delivery) -> Attempt | None:
        """A dearer attempt, which only gives the nonce back if the recipient refuses by now. None: not possible."""
        chain, signer = self._context.chain, self._context.signer
        last, kind = delivery.last, delivery.last.kind
        if kind == "refund":
            try:
                signed = await chain.sign(delivery.order, signer, nonce=delivery.nonce, replaces=last.signed)
            except BroadcastRefusedError as error:
                log.warning("delivery %s cannot get a higher fee: %s", delivery.id, error)
                return None
            except RefundImpossibleError as error:
                log.warning("delivery %s is called off: %s", delivery.id, error)
                kind = "cancel"
                self._context.counters.cancelled += 1
        elif kind == "collect" and isinstance(chain, CollectingChain):
            signed = await chain.authorizations.outbid(last.signed, signer)
        if kind == "cancel":
            signed = await chain.sign_cancel(signer, nonce=delivery.nonce or 0, replaces=last.signed)
        return (
            None
            if signed.tx == last.signed.tx
            else next_attempt(delivery, signed, self._context.database.now_ms(), kind=kind)
        )
