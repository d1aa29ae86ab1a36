"""`connect`: from an address to a paid, live session."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager

import httpx

from ws402.client.errors import (
    PaymentExpiredError,
    SessionLostError,
)
from ws402.client.offers import Offer, fetch_offer, find_resource
from ws402.client.opening import Door, Opener
from ws402.client.options import Options
from ws402.client.payment import Payer
from ws402.client.policy import NATIVE, Policy, normal_address, read_cap, read_price_cap
from ws402.client.session import Session
from ws402.client.store import Payment, PaymentState, Store
from ws402.client.target import Target, parse_target, refuse_plaintext
from ws402.client.wallet import Wallet
from ws402.errors import ConflictError, InvalidRequestError
from ws402.outgoing import http_client
from ws402.protocol import (
    Proof,
)

logger = logging.getLogger(__name__)


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
    max_amount: int | str,
    resource: str | None = None,
    duration: int = 300,
    asset: str = NATIVE,
    network: str | None = None,
    payees: Iterable[str] = (),
    trust_first_use: bool = False,
    max_price_per_second: int | str | None = None,
    store: Store | None = None,
    payment_id: str | None = None,
    user_id: str | None = None,
    options: Options | None = None,
) -> AsyncIterator[Session]:
    """Pay for `duration` seconds of a resource and open its session; leaving the block ends it.

    The server's socket is opened first and paid for then: a server that opens none gets no money.
    `max_amount` caps the whole session: in coins, such as '0.01 ETH' or '5 USDC', or in smallest units of `asset`
    ('native', 'usdc' or a token's address); `max_price_per_second` caps the price, in smallest units or written like
    '0.36 USDC per hour'. The payee must be one of `payees`, or known from before, or met for the
    first time with `trust_first_use`. With a `store`, a payment that has opened no session yet is used up before a new
    one is made (in a file: also one that a crash left behind); with a `payment_id`, that payment is made once, however
    often this is called.

    Raises PolicyError, OfferError, WalletError, InvalidRequestError and UnavailableError (SocketUnavailableError where
    there is no socket to be had) before money moves;
    PaymentPendingError, PaymentFailedError and PaymentRejectedError after; SessionLostError and OverchargedError in the
    session.
    """
    written = isinstance(max_amount, str) or isinstance(max_price_per_second, str)
    chain = await wallet.chain() if written else ""
    cap, asset = read_cap(max_amount, asset, chain)
    price_cap = None
    if max_price_per_second is not None:
        price_cap, priced_in = read_price_cap(max_price_per_second, asset, chain)
        if priced_in != asset:
            raise InvalidRequestError("The cap and the highest price are in different assets.", remedy="Use one.")
    policy = Policy(
        max_amount=cap,
        asset=asset,
        network=network,
        payees=frozenset(map(normal_address, payees)),
        trust_first_use=trust_first_use,
        max_price_per_second=price_cap,
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
            door = stack.enter_context(Door(user_id, options))
            session = None
            while session is None:
                payment = await _payment(http, target, resource_id, duration, payer, payment_id, door)
                stack.callback(store.release, payment)
                before = payment.state
                if options.on_payment is not None:
                    options.on_payment(payment)
                try:
                    session = await Opener(target, payment, payer, door, options).open()
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
    with Door(user_id, options) as door:
        session = await Opener(target, payment, None, door, options).open()
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
    door: Door,
) -> Payment:
    """The payment of this id, or one that was not used; else a new one, once there is a socket to show it on."""
    options = door.options
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
        if options.on_reuse is not None:
            options.on_reuse(known)
        if known.state is PaymentState.PROVED:
            return known
        try:
            await door.open(known.socket_url, known.resource_id)
        except BaseException:
            store.release(known)
            raise
        try:
            return await payer.go_on(known)
        except PaymentExpiredError as error:
            logger.info("paying anew: %s", error)
    offer = await fetch_offer(http, target, resource_id, duration)
    refuse_plaintext(offer.socket_url, allowed=options.allow_plaintext)
    await payer.check(offer)
    if options.on_offer is not None:
        options.on_offer(offer)
    await door.open(offer.socket_url, resource_id)
    return await payer.pay(offer, payment_id or f"auto-{secrets.token_hex(12)}")


async def _leave(session: Session, store: Store) -> None:
    await session.end()
    for payment in session.payments if not session.resumable else ():
        store.update(payment, PaymentState.DONE)
