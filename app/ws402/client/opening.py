"""From a payment to its session: the socket, open before anything is paid, and what is said on it."""

from __future__ import annotations

import logging
import secrets
import time
from typing import Final, Self

from websockets.asyncio.client import ClientConnection

from ws402.client.channel import Channel
from ws402.client.errors import (
    OverchargedError,
    PaymentFailedError,
    PaymentRejectedError,
    SessionLostError,
    SocketUnavailableError,
)
from ws402.client.link import Link, RefusedError, UnreachableError
from ws402.client.options import Options
from ws402.client.payment import Payer, proof_message, proof_of
from ws402.client.session import Session
from ws402.client.store import Payment, PaymentState
from ws402.client.target import Target, socket_address
from ws402.client.usage import Meter, started_price
from ws402.money import parse_amount
from ws402.prices import Price
from ws402.protocol import (
    RejectCode,
    ResumeMessage,
    ServerMessage,
    SessionStarted,
    UsageUpdate,
)

RENEW_SECONDS: Final = 20
"""How often a live session says in the store that its payment is in use."""

logger = logging.getLogger(__name__)


class Door:
    """The server's socket before there is a session: open before anything is paid, and closed if none comes of it."""

    def __init__(self, user_id: str | None, options: Options) -> None:
        self.options = options
        self._user_id = user_id or f"payer-{secrets.token_hex(4)}"
        self._connection: ClientConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if (connection := self.take()) is not None:
            connection.transport.abort()

    def link(self, socket_url: str, resource_id: str) -> Link:
        """How to reach the resource's socket."""
        url = socket_address(socket_url, user_id=self._user_id, resource_id=resource_id)
        options = self.options
        return Link(f"{url}&resumable=1", max_message_bytes=options.max_message_bytes, on_wait=options.on_wait)

    async def open(self, socket_url: str, resource_id: str) -> None:
        """Open it, or find it open. Raises SocketUnavailableError."""
        if self._connection is not None:
            return
        try:
            self._connection = await self.link(socket_url, resource_id).open(seconds=self.options.open_seconds)
        except RefusedError as error:
            raise SocketUnavailableError(
                f"Nothing was paid now, for no session could begin. {error.message}",
                remedy="Tell the server's owner: a proxy in front of it may not pass WebSocket upgrades on.",
            ) from error
        except UnreachableError as error:
            raise SocketUnavailableError(
                f"Nothing was paid now, for no session could begin. {error.message}", remedy="Try again later."
            ) from error

    def take(self) -> ClientConnection | None:
        """The open socket, once: whoever takes it closes it."""
        connection, self._connection = self._connection, None
        return connection


class Opener:
    """Shows a payment, or resumes what it opened before, and wires the session to the store."""

    def __init__(self, target: Target, payment: Payment, payer: Payer | None, door: Door, options: Options) -> None:
        self._target = target
        self._payment = payment
        self._payer = payer
        self._door = door
        self._options = options
        self._renewed = time.monotonic()
        self._link = door.link(payment.socket_url, payment.resource_id)

    async def open(self) -> Session:
        """Raises PaymentRejectedError, SessionLostError, OverchargedError."""
        payment, options = self._payment, self._options
        resumed = payment.state is PaymentState.PROVED
        if resumed and payment.resume_token is None:
            self._done()
            raise SessionLostError(
                "The payment has opened a session that cannot be resumed.", remedy="What was not used is refunded."
            )
        hello = ResumeMessage(token=payment.resume_token or "") if resumed else proof_message(payment)
        asked = time.time() * 1000
        try:
            connection, started = await self._link.hello(
                hello, seconds=options.prove_seconds, connection=self._door.take()
            )
        except (RefusedError, UnreachableError) as error:
            raise self._refused(error, resumed=resumed) from error
        price = payment.terms or started_price(started)
        began = payment.created_at if resumed or self._payer is None else asked
        meter = Meter(
            price=price,
            paid=payment.amount or parse_amount(started.balance, zero=True),
            started_ms_ago=max(int(time.time() * 1000 - began), 0),
            resumed=resumed,
        )
        channel = Channel(
            self._link,
            connection,
            started,
            meter,
            reconnect_seconds=options.reconnect_seconds,
            max_backlog_bytes=options.max_backlog_bytes,
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
        for top_up in payer.store.top_ups(session.id, PaymentState.SIGNED):
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


def _check_started(started: SessionStarted, payment: Payment, price: Price, asked: float, *, resumed: bool) -> None:
    """The session must be the one that was paid for. Raises OverchargedError.

    A proof that is shown again, for a server left in between, goes on with the session that it had opened: some of it
    is over then, but never more than the time since the proof was first shown (`asked`, ms).
    """
    if not started_price(started).same(price):
        raise OverchargedError(
            f"The session costs {started.price_per_second} a second; {price.per_second} was offered.",
            remedy="It was ended at once; the rest is refunded.",
        )
    used = payment.amount - parse_amount(started.balance, zero=True)
    if not resumed and not started.resumed and used > price.cost(max(int(time.time() * 1000 - asked), 0)):
        raise OverchargedError(
            f"The server credits {started.balance} of the {payment.amount} that were paid.",
            remedy="The session was ended at once; the rest is refunded.",
        )
