"""A paid session as the payer sees it: the resource's messages, the balance, top-ups, the end and the refund."""

from __future__ import annotations

import asyncio
import random
from typing import Final, Self

import httpx
import msgspec

from ws402.client.channel import Channel
from ws402.client.errors import OfferError, PaymentPendingError, PaymentRejectedError, SessionLostError
from ws402.client.link import MAX_TEXT, backoff
from ws402.client.offers import fetch_offer, get_json
from ws402.client.payment import Payer, proof_message, proof_of
from ws402.client.policy import Policy, read_cap
from ws402.client.reading import decode
from ws402.client.store import Payment, PaymentState
from ws402.client.target import Target, TopUp
from ws402.client.usage import Refund, Settlement, Usage
from ws402.deadlines import awake, nap
from ws402.errors import ConflictError, InvalidRequestError
from ws402.money import AmountError, parse_amount
from ws402.outgoing import http_client
from ws402.protocol import (
    TRANSIENT_REJECTS,
    BalanceUpdated,
    HttpAccessGranted,
    PaymentRejected,
    RefundStatusResponse,
    RejectCode,
)

TOP_UP_ANSWER_SECONDS: Final = 35
DELIVERED: Final = frozenset({"confirmed", "final"})
NODE_SECONDS: Final = 3
"""How far our own node may lag behind the gateway's."""
NOT_COMING: Final = frozenset({"credit", "held", "void", "resolved"})
"""States of a refund that waiting does not change: too small to send yet, or kept for an operator."""


class Session:
    """Made by `ws402.client.connect`. Amounts are smallest units of `asset`."""

    def __init__(
        self, channel: Channel, target: Target, payment: Payment, payer: Payer | None, *, prove_seconds: float
    ) -> None:
        self._channel = channel
        self._target = target
        self._payment = payment
        self._payer = payer
        self._prove_seconds = prove_seconds
        self._top_up_lock = asyncio.Lock()
        self.id = channel.id
        """As the server names it."""
        self.resource_id = payment.resource_id
        """What is used."""
        self.asset = payment.asset
        """What it is paid in, as the server names it."""
        self.price = channel.meter.price
        """What is charged, exactly."""
        self.price_per_second = self.price.per_second
        """Rounded up."""
        self.payments = [payment]
        """All payments of this session, top-ups included, in order."""
        for each in payer.store.top_ups(self.id, PaymentState.PROVED) if payer else ():
            # Credited before a crash: it counts against the cap like the rest.
            channel.meter.paid += each.amount
            self.payments.append(each)
        self._sent = {each.tx: each.amount for each in self.payments}
        """What we paid, for the cap: a server may credit less."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        return await anext(self._channel)

    @property
    def paid(self) -> int:
        """What was paid so far."""
        return self._channel.meter.paid

    @property
    def usage(self) -> Usage:
        """Use, as the server last said."""
        return self._channel.meter.usage

    @property
    def balance(self) -> int:
        """What is left right now, counted on from the server's last figure."""
        return 0 if self._channel.ended else self._channel.meter.remaining

    @property
    def live(self) -> bool:
        """Whether the session goes on."""
        return not self._channel.ended

    @property
    def resumable(self) -> bool:
        """It broke off, but connecting again with the same store may go on with it."""
        return self._channel.resumable

    @property
    def settlement(self) -> Settlement | None:
        """How the session ended; None while it goes on, or when nobody said (`end()` then estimates)."""
        return self._channel.settlement

    @property
    def http_access(self) -> HttpAccessGranted | None:
        """Address and token of a resource that is served over HTTP while the session lives."""
        return self._channel.http_access

    async def send(self, message: str | bytes) -> None:
        """Send to the resource. Raises SessionLostError when the session has ended."""
        await self._channel.send(message)

    async def top_up(self, more: int | str, *, payment_id: str | None = None) -> int:
        """Pay for that many seconds more, or for what an amount like '0.01 ETH' buys; answers what was credited.

        An amount buys whole seconds, so no more than it is paid; where more than time has a price, say seconds. The
        limits of `connect` count for all payments together. Raises as `connect` does, ConflictError for a session that
        cannot be topped up, AmountError for an amount that buys nothing.
        """
        if self._payer is None or self._channel.token is None:
            raise ConflictError("This session cannot be topped up.", remedy="Open a new one when it ends.")
        seconds = self._bought(more, self._payer.policy) if isinstance(more, str) else more
        async with self._top_up_lock:
            top_up = TopUp(self.id, self._channel.token)
            async with http_client(timeout=30) as http:
                offer = await fetch_offer(http, self._target, self.resource_id, seconds, top_up)
            if not offer.price.same(self.price):
                raise OfferError(f"The top-up costs {offer.price_per_second} a second, not {self.price_per_second}.")
            name = payment_id or f"{self._payment.id}/top-up-{len(self.payments)}"
            spent = sum(self._sent.values())
            try:
                payment = await self._payer.pay(offer, name, spent=spent, top_up_of=self.id)
            except PaymentPendingError:
                self._sent[name] = offer.amount  # it may still get into a block
                raise
            self._sent.pop(name, None)
            return await self.prove_top_up(payment)

    def _bought(self, amount: str, policy: Policy) -> int:
        """For how many whole seconds an amount of our asset lasts. Raises AmountError, InvalidRequestError."""
        if self.price.units:
            raise InvalidRequestError(
                "An amount does not tell how long it lasts where more than time has a price.", remedy="Say seconds."
            )
        units, asset = read_cap(amount, policy.asset, self._payment.chain)
        if asset != policy.asset:
            raise InvalidRequestError(f"'{amount}' is not in what this session is paid in.", remedy="Say seconds.")
        seconds = self.price.lasts_ms(units) // 1000
        if seconds == 0:
            raise AmountError(f"'{amount}' does not pay for a second of {self.resource_id}.")
        return seconds

    async def prove_top_up(self, payment: Payment) -> int:
        """Show a payment in the live session until it is credited. Raises PaymentRejectedError, SessionLostError."""
        assert self._payer is not None  # noqa: S101 - only a payer has top-ups
        self._sent[payment.tx] = payment.amount
        deadline = awake() + self._prove_seconds
        attempt = 0
        while True:
            answer = await self._channel.ask_top_up(proof_message(payment), TOP_UP_ANSWER_SECONDS)
            match answer:
                case BalanceUpdated(added=added):
                    return self._credit(payment, parse_amount(added))
                case PaymentRejected(code=RejectCode.ALREADY_CLAIMED):
                    # Ours alone to claim: an answer before this one was lost.
                    return self._credit(payment, payment.amount)
                case PaymentRejected(reason=reason, code=code) if code not in TRANSIENT_REJECTS:
                    self._payer.store.update(payment, PaymentState.DONE)
                    raise PaymentRejectedError(
                        f"The top-up was refused: {reason[:MAX_TEXT]}", proof=proof_of(payment), code=code
                    )
                case None if self._channel.ended:
                    raise SessionLostError(
                        "The session ended before its top-up was credited.", remedy="The gateway refunds the payment."
                    )
            attempt += 1
            if awake() > deadline:
                said = getattr(answer, "reason", None) or getattr(answer, "message", None) or "no answer"
                raise PaymentRejectedError(f"The top-up was not credited: {said[:MAX_TEXT]}", proof=proof_of(payment))
            await nap(backoff(attempt))

    async def end(self) -> Settlement:
        """End the session now; the rest goes back to the payer. Again is harmless."""
        return await self._channel.end()

    async def refund(self, seconds: float = 60) -> Refund | None:
        """Wait for the refund of an ended session: until it is on the chain, or `seconds` are over.

        None when nothing is owed, or when the server does not tell (stock servers).
        """
        settlement = self.settlement
        if settlement is None or settlement.refund_id is None:
            return None
        deadline = awake() + seconds
        lagging = False
        async with http_client(timeout=30) as http:
            while True:
                refund = await self._refund(http, settlement.refund_id)
                if refund is None or refund.seen or refund.state in NOT_COMING:
                    return refund
                if refund.state in DELIVERED:
                    if refund.seen is None:
                        return refund
                    if not lagging:
                        lagging, deadline = True, min(deadline, awake() + NODE_SECONDS)
                if awake() > deadline:
                    return refund
                await nap(random.uniform(0.5, 1.5))  # noqa: S311 - spreads load, hides nothing

    async def _refund(self, http: httpx.AsyncClient, refund_id: str) -> Refund | None:
        try:
            body = await get_json(http, self._target.refund_url(refund_id))
            status = decode(body, RefundStatusResponse)
            refund = Refund(parse_amount(status.amount), status.state, status.tx_hash)
        except (InvalidRequestError, OfferError, msgspec.DecodeError):
            return None
        if status.state not in DELIVERED or not status.tx_hash or self._payer is None:
            return refund
        wallet = self._payer.wallet
        seen = await wallet.received(status.tx_hash, wallet.address, refund.amount, self._payment.token)
        return Refund(refund.amount, refund.state, refund.tx_hash, seen)

    def _credit(self, payment: Payment, added: int) -> int:
        assert self._payer is not None  # noqa: S101 - only a payer has top-ups
        self._channel.meter.paid += added
        self.payments.append(payment)
        self._payer.store.update(payment, PaymentState.PROVED, session_id=self.id)
        return added
