"""`connect`: from an address to a paid, live session."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from ws402.client.channel import Channel
from ws402.client.errors import (
    OverchargedError,
    PaymentExpiredError,
    PaymentFailedError,
    PaymentRejectedError,
    SessionLostError,
)
from ws402.client.link import Link, RefusedError, UnreachableError
from ws402.client.offers import Offer, fetch_offer, find_resource
from ws402.client.payment import Payer, proof_message, proof_of
from ws402.client.policy import NATIVE, Policy, normal_address
from ws402.client.session import Session
from ws402.client.store import Payment, PaymentState, Store
from ws402.client.target import Target, parse_target, refuse_plaintext, socket_address
from ws402.client.usage import Meter
from ws402.client.wallet import Wallet
from ws402.errors import ConflictError
from ws402.money import parse_amount
from ws402.outgoing import http_client
from ws402.protocol import (
    PaymentProofMessage,
    Proof,
    RejectCode,
    ResumeMessage,
    ServerMessage,
    SessionStarted,
    UsageUpdate,
)

RENEW_SECONDS: Final = 20
"""How often a live session says in the store that its payment is in use."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How patient a client is (seconds), and what it puts up with."""

    block_seconds: float = 120
    """For a payment to get into a block."""
    prove_seconds: float = 120
    """For the server to accept a payment that is in a block."""
    reconnect_seconds: float = 60
    """For a lost session to be resumed."""
    max_message_bytes: int = 16 * 1024 * 1024
    allow_plaintext: bool = False
    """Speak plain HTTP to other machines: everybody on the way can read and use the proof."""
    on_event: Callable[[ServerMessage], None] | None = None
    """Told every message of the protocol, such as `UsageUpdate`."""
    on_offer: Callable[[Offer], None] | None = None
    """Told what is about to be paid, after the checks."""
    on_payment: Callable[[Payment], None] | None = None
    """Told of the payment, once it is in a block."""
    on_wait: Callable[[str], None] | None = None
    """Told why the client tries again."""


async def ask_offer(
    url: str, *, resource: str | None = None, duration: int = 300, allow_plaintext: bool = False
) -> Offer:
    """What a server asks for, without paying. Raises OfferError, PolicyError, InvalidRequestError, UnavailableError."""
    target = parse_target(url, resource)
    refuse_plaintext(target.base, allowed=allow_plaintext)
    async with http_client(timeout=30) as http:
        return await fetch_offer(http, target, await find_resource(http, target), duration)


@asynccontextmanager
async def connect(
    url: str,
    *,
    wallet: Wallet,
    max_amount: int,
    resource: str | None = None,
    duration: int = 300,
    asset: str = NATIVE,
    network: str | None = None,
    payees: Iterable[str] = (),
    trust_first_use: bool = False,
    max_price_per_second: int | None = None,
    store: Store | None = None,
    payment_id: str | None = None,
    user_id: str | None = None,
    options: Options | None = None,
) -> AsyncIterator[Session]:
    """Pay for `duration` seconds of a resource and open its session; leaving the block ends it.

    `max_amount` caps the whole session in smallest units of `asset` ('native', 'usdc' or a token's address). The payee
    must be one of `payees`, or known from before, or met for the first time with `trust_first_use`. With a `store` in a
    file, a payment that a crash cut off from its session is used up first; with a `payment_id`, that payment is made
    once, however often this is called.

    Raises PolicyError, OfferError, WalletError, InvalidRequestError and UnavailableError before money moves;
    PaymentPendingError, PaymentFailedError and PaymentRejectedError after; SessionLostError and OverchargedError in the
    session.
    """
    policy = Policy(
        max_amount=parse_amount(max_amount, field="max_amount"),
        asset=asset,
        network=network,
        payees=frozenset(map(normal_address, payees)),
        trust_first_use=trust_first_use,
        max_price_per_second=max_price_per_second,
    )
    options = options or Options()
    with ExitStack() as stack:
        if store is None:
            store = stack.enter_context(Store())
        target = parse_target(url, resource)
        refuse_plaintext(target.base, allowed=options.allow_plaintext)
        async with http_client(timeout=30) as http:
            resource_id = await find_resource(http, target)
            payer = Payer(wallet, policy, store, target.base, block_seconds=options.block_seconds)
            session = None
            while session is None:
                payment = await _payment(http, target, resource_id, duration, payer, payment_id, options)
                stack.callback(store.release, payment)
                before = payment.state
                if options.on_payment is not None:
                    options.on_payment(payment)
                try:
                    session = await _Opener(target, payment, payer, user_id, options).open()
                except SessionLostError as error:
                    # What a crash left behind was settled since; without a payment id, a new session will do.
                    if payment_id is not None or before is not PaymentState.PROVED or payment.state is before:
                        raise
                    logger.info("the session from before has ended: %s", error)
        try:
            yield session
        finally:
            await asyncio.shield(_leave(session, store))


@asynccontextmanager
async def connect_with_proof(
    url: str, *, proof: Proof, resource: str, user_id: str | None = None, options: Options | None = None
) -> AsyncIterator[Session]:
    """Open a session with a payment that was made elsewhere; nothing is paid, so nothing can be topped up.

    Raises PaymentRejectedError, SessionLostError.
    """
    options = options or Options()
    target = parse_target(url, resource)
    refuse_plaintext(target.base, allowed=options.allow_plaintext)
    payment = Payment(
        id="proof",
        base=target.base,
        resource_id=resource,
        socket_url=target.socket_url,
        sender=proof.sender or "",
        recipient="",
        network="",
        chain="solana:" if proof.signature else "eip155:",
        asset="",
        token=None,
        amount=0,
        price_per_second=0,
        reference=proof.reference or "",
        claim_token=None,
        signature=None,
        expires_at=0,
        tx=proof.tx or "",
        raw="",
        nonce=None,
        valid_until=None,
        created_at=int(time.time() * 1000),
    )
    session = await _Opener(target, payment, None, user_id, options).open()
    try:
        yield session
    finally:
        await asyncio.shield(session.end())


async def _payment(
    http: httpx.AsyncClient,
    target: Target,
    resource_id: str,
    duration: int,
    payer: Payer,
    payment_id: str | None,
    options: Options,
) -> Payment:
    """The payment of this id, or one that a crash left behind; else a new one."""
    store = payer.store
    if payment_id is not None:
        known = store.take(payment_id)
    else:
        chain = await payer.wallet.chain()
        known = store.take_open(target.base, resource_id, payer.wallet.address, chain)
    if known is not None:
        if known.state is PaymentState.DONE:
            store.release(known)
            raise ConflictError(
                f"The payment '{known.id}' was used: its session has ended.", remedy="Use another payment id."
            )
        if (known.base, known.resource_id) != (target.base, resource_id):
            store.release(known)
            raise ConflictError(f"The payment '{known.id}' is for {known.resource_id} at {known.base}.")
        if known.state is PaymentState.PROVED:
            return known
        try:
            return await payer.go_on(known)
        except PaymentExpiredError as error:
            logger.info("paying anew: %s", error)
    offer = await fetch_offer(http, target, resource_id, duration)
    refuse_plaintext(offer.socket_url, allowed=options.allow_plaintext)
    await payer.check(offer)
    if options.on_offer is not None:
        options.on_offer(offer)
    return await payer.pay(offer, payment_id or f"auto-{secrets.token_hex(12)}")


class _Opener:
    """Shows a payment, or resumes what it opened before, and wires the session to the store."""

    def __init__(
        self, target: Target, payment: Payment, payer: Payer | None, user_id: str | None, options: Options
    ) -> None:
        self._target = target
        self._payment = payment
        self._payer = payer
        self._options = options
        self._renewed = time.monotonic()
        url = socket_address(
            payment.socket_url, user_id=user_id or f"payer-{secrets.token_hex(4)}", resource_id=payment.resource_id
        )
        self._link = Link(f"{url}&resumable=1", max_message_bytes=options.max_message_bytes, on_wait=options.on_wait)

    async def open(self) -> Session:
        """Raises PaymentRejectedError, SessionLostError, OverchargedError."""
        payment, options = self._payment, self._options
        resumed = payment.state is PaymentState.PROVED
        hello: PaymentProofMessage | ResumeMessage = proof_message(payment)
        if resumed:
            if payment.resume_token is None:
                self._done()
                raise SessionLostError(
                    "The payment has opened a session that cannot be resumed.", remedy="What was not used is refunded."
                )
            hello = ResumeMessage(token=payment.resume_token)
        asked = time.time() * 1000
        try:
            connection, started = await self._link.hello(hello, seconds=options.prove_seconds)
        except (RefusedError, UnreachableError) as error:
            raise self._refused(error, resumed=resumed) from error
        price = payment.price_per_second or parse_amount(started.price_per_second)
        began = payment.created_at if resumed or self._payer is None else asked
        meter = Meter(
            price_per_second=price,
            paid=payment.amount or parse_amount(started.balance, zero=True),
            started_ms_ago=max(int(time.time() * 1000 - began), 0),
        )
        channel = Channel(
            self._link,
            connection,
            started,
            meter,
            reconnect_seconds=options.reconnect_seconds,
            on_event=self._on_event,
        )
        session = Session(channel, self._target, payment, self._payer, prove_seconds=options.prove_seconds)
        try:
            _check_started(started, payment, price, asked, resumed=resumed)
            if self._payer is not None and resumed:
                await self._prove_open_top_ups(session, self._payer)
        except BaseException:
            await session.end()
            self._done()
            raise
        return session

    async def _prove_open_top_ups(self, session: Session, payer: Payer) -> None:
        """Top-ups that a crash cut off; one that is refused costs the session nothing."""
        for top_up in payer.store.open_top_ups(session.id):
            try:
                await session.prove_top_up(await payer.go_on(top_up))
            except (PaymentRejectedError, PaymentFailedError) as error:
                logger.warning("a top-up from before was not credited: %s", error)

    def _refused(
        self, error: RefusedError | UnreachableError, *, resumed: bool
    ) -> PaymentRejectedError | SessionLostError:
        if isinstance(error, RefusedError):
            self._done()
        if resumed:
            return SessionLostError(
                f"The session of this payment cannot go on: {error.message}",
                remedy="What was not used is refunded. Connect again for a new session.",
                code=error.code,
            )
        again = isinstance(error, UnreachableError) or error.code == RejectCode.TRANSFER_UNCONFIRMED
        return PaymentRejectedError(
            f"The payment {self._payment.tx} opened no session: {error.message}",
            remedy="Show the same proof again later; it is not paid twice." if again else None,
            proof=proof_of(self._payment),
            code=error.code if error.code != RefusedError.code else None,
        )

    def _done(self) -> None:
        if self._payer is not None:
            self._payer.store.update(self._payment, PaymentState.DONE)

    def _on_event(self, event: ServerMessage) -> None:
        if self._payer is not None:
            match event:
                case SessionStarted(session_id=session_id, resume_token=token):
                    self._payer.store.update(
                        self._payment, PaymentState.PROVED, session_id=session_id, resume_token=token
                    )
                case UsageUpdate() if time.monotonic() - self._renewed > RENEW_SECONDS:
                    self._renewed = time.monotonic()
                    self._payer.store.renew(self._payment)
                case _:
                    pass
        if self._options.on_event is not None:
            self._options.on_event(event)


def _check_started(started: SessionStarted, payment: Payment, price: int, asked: float, *, resumed: bool) -> None:
    """The session must be the one that was paid for. Raises OverchargedError.

    A proof that is shown again, for a server left in between, goes on with the session that it had opened: some of it
    is over then, but never more than the time since the proof was first shown (`asked`, ms).
    """
    if parse_amount(started.price_per_second) != price:
        raise OverchargedError(
            f"The session costs {started.price_per_second} a second; {price} was offered.",
            remedy="It was ended at once; the rest is refunded.",
        )
    used = payment.amount - parse_amount(started.balance, zero=True)
    if not resumed and not started.resumed and used * 1000 > max(time.time() * 1000 - asked, 0) * price:
        raise OverchargedError(
            f"The server credits {started.balance} of the {payment.amount} that were paid.",
            remedy="The session was ended at once; the rest is refunded.",
        )


async def _leave(session: Session, store: Store) -> None:
    await session.end()
    for payment in session.payments if not session.resumable else ():
        store.update(payment, PaymentState.DONE)
