"""Paying an offer once: signed, written down, sent, seen in a block; and going on after a crash at any step."""

from __future__ import annotations

import time
from typing import Final

from ws402.client.errors import (
    OfferError,
    PaymentExpiredError,
    PaymentFailedError,
    PaymentPendingError,
    PaymentRejectedError,
    WalletError,
)
from ws402.client.offers import Offer
from ws402.client.policy import Policy
from ws402.client.store import Payment, PaymentState, Store
from ws402.client.wallet import Inclusion, SignedPayment, Wallet
from ws402.observability import tracing
from ws402.protocol import PaymentProofMessage, Proof, RejectCode, payer_message, price_text

ATTEMPTS: Final = 5
"""How often a payment is signed anew: because another process pays from the same account, or none took it in time."""


def proof_of(payment: Payment) -> Proof:
    """What the server wants to see."""
    if payment.chain.startswith("solana:"):
        return Proof(signature=payment.tx, reference=payment.reference, sender_wallet=payment.sender)
    return Proof(tx_hash=payment.tx, reference=payment.reference, sender_address=payment.sender)


def proof_message(payment: Payment) -> PaymentProofMessage:
    """The proof with all that can tie the payment to its invoice."""
    return PaymentProofMessage(
        proof=proof_of(payment),
        claim_token=payment.claim_token,
        payer_signature=payment.signature,
        traceparent=tracing.outgoing(),
    )


REMEMBERED_MS: Final = 3_600_000
"""A node that does not know a transaction of this age may have forgotten it."""


class Payer:
    """Pays offers of one server from one wallet. `block_seconds`: how long a payment may take to get into a block."""

    def __init__(self, wallet: Wallet, policy: Policy, store: Store, base: str, *, block_seconds: float) -> None:
        self.wallet = wallet
        self.store = store
        self.policy = policy
        self._base = base
        self._block_seconds = block_seconds

    async def check(self, offer: Offer, *, spent: int = 0) -> None:
        """Refuse an offer that has expired or breaks a limit. Raises OfferError, PolicyError."""
        if offer.expires_at <= time.time() * 1000:
            raise OfferError("The offer has expired already.", remedy="Check this machine's clock.")
        chain = await self.wallet.chain()
        self.policy.check(offer, origin=self._base, chain=chain, spent=spent, store=self.store)

    async def pay(self, offer: Offer, payment_id: str, *, spent: int = 0, top_up_of: str | None = None) -> Payment:
        """Pay an offer, or go on with what was paid under this id. Returns when the payment is in a block.

        Raises PolicyError, OfferError and WalletError before money moves; PaymentPendingError, PaymentFailedError and
        NodeUnavailableError after.
        """
        await self.check(offer, spent=spent)
        replaces: Payment | None = None
        lost: WalletError | PaymentExpiredError | None = None
        for _ in range(ATTEMPTS):
            async with self.wallet.lock:
                signed = await self.wallet.sign(offer)
                payment = await self._payment(offer, signed, payment_id, top_up_of)
                payment = self.store.add(payment, replaces=replaces)
                try:
                    await self.wallet.send(_signed(payment))
                except BaseException as error:
                    if isinstance(error, WalletError) and error.code == "nonce_taken":
                        replaces, lost = payment, error
                        continue
                    self.store.release(payment)
                    raise
            try:
                return await self.await_block(payment)
            except PaymentExpiredError as error:
                await self.check(offer, spent=spent)
                replaces, lost = payment, error
        assert replaces is not None  # noqa: S101 - the loop ends here only after a loss
        self.store.update(replaces, PaymentState.DONE)
        if isinstance(lost, PaymentExpiredError):
            raise lost
        raise WalletError(
            "Other transactions of the account came first, again and again.",
            remedy="Pay from an account that nobody else uses.",
            code="nonce_taken",
        )

    async def go_on(self, payment: Payment) -> Payment:
        """Send a payment again that was written down before: the same bytes, so it cannot be paid twice."""
        try:
            await self._send_again(payment)
        except BaseException:
            self.store.release(payment)
            raise
        return await self.await_block(payment)

    async def _send_again(self, payment: Payment) -> None:
        signed = _signed(payment)
        inclusion = await self.wallet.inclusion(signed, 0)
        now = time.time() * 1000
        over = payment.expires_at <= now or (
            inclusion is Inclusion.EXPIRED and now - payment.created_at > REMEMBERED_MS
        )
        if inclusion in (Inclusion.PENDING, Inclusion.EXPIRED) and over:
            # It may still wait at some node, or be too old for a node to remember: never pay anew under this id.
            self.store.update(payment, PaymentState.DONE)
            raise PaymentRejectedError(
                f"The payment {payment.tx} was seen in no block in time.",
                remedy="Should it get into one, the gateway refunds it. Use another payment id.",
                proof=proof_of(payment),
                code=RejectCode.INVOICE_EXPIRED,
            )
        if inclusion is Inclusion.PENDING:
            self.policy.check_again(payment)
            async with self.wallet.lock:
                try:
                    await self.wallet.send(signed)
                except WalletError as error:
                    if error.code == "nonce_taken":
                        self.store.update(payment, PaymentState.DONE)
                    raise

    async def await_block(self, payment: Payment) -> Payment:
        """Wait until it is in a block. Raises PaymentPendingError, PaymentFailedError, NodeUnavailableError."""
        try:
            inclusion = await self.wallet.inclusion(_signed(payment), self._block_seconds)
            self._judge(payment, inclusion)
        except BaseException:
            self.store.release(payment)
            raise
        return payment

    def _judge(self, payment: Payment, inclusion: Inclusion) -> None:
        match inclusion:
            case Inclusion.INCLUDED:
                return
            case Inclusion.PENDING:
                raise PaymentPendingError(
                    f"The payment {payment.tx} is in no block after {self._block_seconds:g} s.",
                    remedy="Connect again with the same store: it is not paid twice.",
                )
            case Inclusion.FAILED:
                self.store.update(payment, PaymentState.DONE)
                raise PaymentFailedError(
                    f"The payment {payment.tx} failed on the chain; only its fee is gone.", remedy="Try again."
                )
            case Inclusion.EXPIRED:
                self.store.forget(payment)
                raise PaymentExpiredError(
                    f"The payment {payment.tx} was in no block in time, and never will be; nothing was paid.",
                    remedy="Try again.",
                )
            case Inclusion.REPLACED:
                self.store.update(payment, PaymentState.DONE)
                raise PaymentFailedError(
                    f"The payment {payment.tx} was replaced by another transaction of the account.", remedy="Try again."
                )

    async def _payment(self, offer: Offer, signed: SignedPayment, payment_id: str, top_up_of: str | None) -> Payment:
        signature = None
        if offer.wants_signature:
            text = payer_message(
                reference=offer.reference, network=offer.network, tx=signed.tx, recipient=offer.recipient
            )
            signature = await self.wallet.sign_message(text)
        return Payment(
            id=payment_id,
            base=self._base,
            resource_id=offer.resource_id,
            socket_url=offer.socket_url,
            sender=self.wallet.address,
            recipient=offer.recipient,
            network=offer.network,
            chain=await self.wallet.chain(),
            asset=offer.symbol,
            token=offer.token,
            amount=offer.amount,
            price_per_second=offer.price_per_second,
            price=price_text(offer.price),
            reference=offer.reference,
            claim_token=offer.claim_token,
            signature=signature,
            expires_at=offer.expires_at,
            tx=signed.tx,
            raw=signed.raw,
            nonce=signed.nonce,
            valid_until=signed.valid_until,
            created_at=int(time.time() * 1000),
            top_up_of=top_up_of,
        )


def _signed(payment: Payment) -> SignedPayment:
    return SignedPayment(tx=payment.tx, raw=payment.raw, nonce=payment.nonce, valid_until=payment.valid_until)
