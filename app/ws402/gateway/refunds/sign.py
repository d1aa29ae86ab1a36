"""Signing: refunds get consecutive nonces, and none of them can keep those behind it from being sent."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ws402.chains.base import (
    BroadcastRefusedError,
    ChainUnavailableError,
    RefundImpossibleError,
    SignedTransaction,
)
from ws402.gateway.ledger.ids import new_id
from ws402.gateway.ledger.states import DeliveryState, RefundState
from ws402.gateway.refunds.key_context import KeyContext
from ws402.gateway.refunds.plan import Bundle, Plan
from ws402.gateway.refunds.store import Delivery, next_attempt

log = logging.getLogger(__name__)

Signed = tuple[Bundle, Delivery]


def refusal(error: RefundImpossibleError) -> str:
    """Why a refund is held whose recipient cannot take it."""
    return f"The recipient cannot take it now: {error.message}"


class Signing:
    """Signs what was decided, for one key."""

    def __init__(self, context: KeyContext) -> None:
        self._context = context

    async def sign(self, decided: Plan, nonce: int | None, gas: int, budget: int | None) -> list[Signed]:
        """Sign what is to be sent, as far as `gas` (what the account holds) and `budget` (for fees) cover it even at
        the highest fee. Nothing is sent yet; what is left out never was. Raises ChainUnavailableError.
        """
        signed = await self._sign(decided.send, decided, nonce)
        kept, short = self._covered(signed, gas, budget)
        if nonce is not None and kept != signed[: len(kept)]:
            # One in the middle costs more than there is: those behind it move up.
            signed = await self._sign([bundle for bundle, _ in kept], decided, nonce)
            kept, _ = self._covered(signed, gas, budget)
            while kept != signed[: len(kept)]:
                kept.pop()
        if short:
            native, condition = self._context.chain.native, self._context.condition
            condition.short[native] = condition.short.get(native, 0) + short
        return kept

    def beyond(self, cost: int, budget: int | None) -> bool:
        """Whether the day's budget for fees has no room for one more delivery."""
        if budget is None or cost <= budget:
            return False
        if "fees" not in self._context.condition.limited:
            log.warning("%s: the day's budget for fees is spent; refunds wait", self._context.network)
        self._context.condition.limited.add("fees")
        return True

    def _covered(self, signed: Sequence[Signed], gas: int, budget: int | None) -> tuple[list[Signed], int]:
        """Those that can be paid, and what the account lacks for the first that cannot."""
        native = self._context.chain.native
        kept: list[Signed] = []
        short = 0
        for bundle, delivery in signed:
            fee = delivery.last.signed.max_fee
            need = fee + (delivery.amount if delivery.asset == native else 0)
            if self.beyond(fee, budget):
                continue
            if need > gas:
                short = short or need - gas
                continue
            kept.append((bundle, delivery))
            gas -= need
            budget = None if budget is None else budget - fee
        return kept, short

    async def _sign(self, bundles: Sequence[Bundle], decided: Plan, nonce: int | None) -> list[Signed]:
        """Sign with consecutive nonces where there are nonces. Recipients that refuse are to be held, those whose
        simulation cannot be had wait, and none leaves a gap.
        """
        context = self._context
        context.lease.require()
        now = context.database.now_ms()
        done: list[Signed] = []
        trouble: ChainUnavailableError | None = None
        todo = list(bundles)
        while todo:
            first = None if nonce is None else nonce + len(done)
            drafts = [
                (each, self._draft(each, None if first is None else first + i, now)) for i, each in enumerate(todo)
            ]
            answers = await context.each(drafts, lambda draft: self._sign_one(draft[1]))
            todo = []
            gap = False
            for (bundle, delivery), answer in answers:
                if isinstance(answer, RefundImpossibleError):
                    gap = True
                    decided.hold += [(debt, refusal(answer)) for debt in bundle.debts if debt.state == RefundState.DUE]
                elif isinstance(answer, ChainUnavailableError):
                    gap, trouble = True, answer
                elif isinstance(answer, BroadcastRefusedError):  # our account does not cover it
                    gap = True
                    log.warning("%s: %s", context.network, answer)
                elif isinstance(answer, Exception):
                    raise answer
                elif gap and nonce is not None:
                    todo.append(bundle)  # once more, one nonce lower
                else:
                    delivery.attempts.append(next_attempt(delivery, answer, now))
                    done.append((bundle, delivery))
        if trouble is not None:
            if not (done or decided.hold or decided.credit):
                raise trouble
            log.warning("%s: some refunds wait: %s", context.network, trouble)
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
            state=DeliveryState.SIGNED,
            created_at=now,
            updated_at=now,
        )
