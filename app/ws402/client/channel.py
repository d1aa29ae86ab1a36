"""The socket's side of a session: reads it, keeps the meter, and comes back with the resume token when it is lost."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from ws402.client.errors import OverchargedError, SessionLostError
from ws402.client.link import LOST, Link, RefusedError, UnreachableError, read
from ws402.client.usage import Meter, Settlement
from ws402.deadlines import nap, wait_any
from ws402.money import parse_amount
from ws402.protocol import (
    BalanceUpdated,
    Draining,
    EndReason,
    EndSessionMessage,
    ErrorMessage,
    HttpAccessGranted,
    Message,
    PaymentRejected,
    ResumeMessage,
    ServerMessage,
    SessionEnded,
    SessionStarted,
    UsageUpdate,
    encode,
)

MAX_BACKLOG: Final = 1024
"""Messages that wait for the reader before the socket is left unread, so that the server feels it."""
MESSAGE_OVERHEAD: Final = 64
"""Bytes that a message costs beside its own, so that empty ones are counted too."""
END_SECONDS: Final = 10
PING_SECONDS: Final = 20.0
"""How often a silent server is asked for a sign of life, and how long it has for it."""
TOO_LARGE: Final = 1009
RESUMABLE: Final = frozenset({LOST, 1001, 1012, 1013})
SUPERSEDED: Final = 4001
BROKEN: Final = frozenset(
    {EndReason.SERVER_ERROR, EndReason.SERVER_VANISHED, EndReason.SLOW_READER, EndReason.REORGED, EndReason.SUPERSEDED}
)
"""Ends that neither the payer nor the money brought about."""

TopUpAnswer = BalanceUpdated | PaymentRejected | ErrorMessage
Event = Callable[[ServerMessage], None]


class Channel:
    """Iterating gives what the resource sends, and ends with the session.

    Raises SessionLostError when the session broke off and OverchargedError when its meter ran too fast.
    """

    def __init__(
        self,
        link: Link,
        connection: ClientConnection,
        started: SessionStarted,
        meter: Meter,
        *,
        reconnect_seconds: float,
        max_backlog_bytes: int,
        on_event: Event,
    ) -> None:
        self.id = started.session_id
        self.meter = meter
        self.token = started.resume_token
        self.stock = started.resume_token is None and started.max_session_duration is None
        """A server that knows neither `end_session` nor what comes after it."""
        self.http_access: HttpAccessGranted | None = None
        self.settlement: Settlement | None = None
        self.ended = False
        """Nothing more will come from the server."""
        self.resumable = False
        """It broke off only because the server could not be reached: its token may work later."""
        self._link = link
        self._connection = connection
        self._reconnect_seconds = reconnect_seconds
        self._max_backlog_bytes = max_backlog_bytes
        self._on_event = on_event
        self._heard = False
        self._messages: deque[str | bytes] = deque()
        self._held_bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._linked = asyncio.Event()
        self._linked.set()
        self._impatient = 0
        self._top_up: asyncio.Future[TopUpAnswer] | None = None
        self._failure: Exception | None = None
        self._ending = False
        self._drain_wait = 0.0
        self._hear(started)
        self._reader = asyncio.create_task(self._read(), name="ws402-session")
        self._keeper = asyncio.create_task(self._keep_alive(), name="ws402-keep-alive")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        while not self._messages:
            if self.ended:
                if self._failure is not None:
                    raise self._failure
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        self._room.set()
        message = self._messages.popleft()
        self._held_bytes -= len(message) + MESSAGE_OVERHEAD
        return message

    async def send(self, message: str | bytes) -> None:
        """Send, on whichever socket the session is. Raises SessionLostError when it has ended."""
        self.meter.passed(message)
        with self._hurry():
            while True:
                await self._linked.wait()
                if self.ended:
                    raise SessionLostError("The session has ended.")
                connection = self._connection
                try:
                    return await connection.send(message)
                except ConnectionClosed:
                    if connection is self._connection and not self.ended:
                        self._linked.clear()

    async def ask_top_up(self, proof: Message, seconds: float) -> TopUpAnswer | None:
        """Show a proof in the live session; None when the answer does not come in time, or its socket was lost.

        Raises SessionLostError.
        """
        self._top_up = asyncio.get_running_loop().create_future()
        try:
            with self._hurry():
                await self.send(encode(proof).decode())
                await wait_any(seconds, self._top_up, self._reader)
                return self._top_up.result() if self._top_up.done() and not self._top_up.cancelled() else None
        finally:
            self._top_up = None

    async def end(self) -> Settlement:
        """End the session, unless it has ended; answers the settlement."""
        if not self.ended:
            self._ending = True
            self._room.set()
            with suppress(ConnectionClosed):  # the reader deals with it
                if self.stock:
                    await self._connection.close()
                else:
                    await self._connection.send(encode(EndSessionMessage()).decode())
            await wait_any(END_SECONDS, self._reader)
        await self.close()
        if self.settlement is None:
            self.settlement = self.meter.estimate()
        return self.settlement

    async def close(self) -> None:
        """Close the socket."""
        await self._connection.close()
        self._reader.cancel()
        self._keeper.cancel()
        await asyncio.wait([self._reader, self._keeper])

    # --- the reader ----------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            while await self._read_socket():
                pass
        except Exception as error:  # noqa: BLE001 - whoever iterates gets it
            self._failure = error
            await self._connection.close()
        finally:
            self.ended = True
            for event in (self._news, self._room, self._linked):
                event.set()

    async def _read_socket(self) -> bool:
        """Read one socket to its end; answers whether another one has taken its place."""
        connection = self._connection
        try:
            while True:
                message = await connection.recv()
                self._heard = True
                event = read(message)
                if event is not None:
                    self._hear(event)
                else:
                    self.meter.passed(message)
                    if not self._ending:
                        await self._keep(message)
        except ConnectionClosed as closed:
            if closed.rcvd is None and closed.sent is not None and closed.sent.code == TOO_LARGE:
                raise SessionLostError(
                    f"The server sent a message of more than {self._link.max_message_bytes} bytes.",
                    remedy="What was not used is refunded. Allow more by max_message_bytes.",
                    code="message_too_large",
                ) from closed
            code = closed.rcvd.code if closed.rcvd else LOST
            reason = closed.rcvd.reason if closed.rcvd else ""
        if self._finished(code, reason):
            return False
        self._linked.clear()
        if self._top_up is not None:
            self._top_up.cancel()
        await self._come_back(self.token or "")
        return True

    def _finished(self, code: int, reason: str) -> bool:
        """Whether a closed socket is the session's end. Raises SessionLostError when it is a bad one."""
        settlement = self.settlement
        if settlement is not None and settlement.reason in BROKEN and not self._ending:
            raise SessionLostError(
                f"The server ended the session: {settlement.reason}.", remedy="What was not used is refunded."
            )
        if settlement is not None or code == 1000 or (self._ending and (self.stock or code != LOST)):
            return True
        if code == SUPERSEDED:
            raise SessionLostError("The session goes on on another socket.", code="superseded")
        if self.token is None or code not in RESUMABLE:
            raise SessionLostError(
                f"The socket was closed ({code}{f', {reason}' if reason else ''}).",
                remedy="What was not used is refunded.",
            )
        return False

    async def _come_back(self, token: str) -> None:
        await nap(self._drain_wait)
        self._drain_wait = 0.0
        try:
            connection, started = await self._link.hello(ResumeMessage(token=token), seconds=self._reconnect_seconds)
        except (RefusedError, UnreachableError) as error:
            self.resumable = isinstance(error, UnreachableError)
            raise SessionLostError(
                f"The session cannot go on: {error.message}", remedy="What was not used is refunded.", code=error.code
            ) from error
        self._connection = connection
        self.meter.resumed()
        self._hear(started)
        self._linked.set()
        if self._ending:
            await connection.send(encode(EndSessionMessage()).decode())

    async def _keep(self, message: str | bytes) -> None:
        """Queue a message; while nobody takes them, stop reading.

        Whoever waits for an answer has more messages queued than else, but never more bytes.
        """
        size = len(message) + MESSAGE_OVERHEAD
        while not self._ending and self._messages and self._full(size):
            self._room.clear()
            await self._room.wait()
        self._messages.append(message)
        self._held_bytes += size
        self._news.set()

    def _full(self, more: int) -> bool:
        if self._held_bytes + more > self._max_backlog_bytes:
            return True
        return len(self._messages) >= MAX_BACKLOG and not self._impatient

    async def _keep_alive(self) -> None:
        """Let go of a socket whose server has fallen silent, so that the session is resumed on another one.

        Only while we listen, and only after waiting awake: what answers while this machine sleeps is still heard.
        """
        while not self.ended:
            self._heard = False
            await nap(PING_SECONDS)
            connection = self._connection
            if self._heard or not self._is_read():
                continue
            try:
                pong = await connection.ping()
            except ConnectionClosed:
                continue  # the reader deals with it
            pong = asyncio.ensure_future(pong)
            await wait_any(PING_SECONDS, pong)
            if not (pong.done() or self._heard) and connection is self._connection and self._is_read():
                connection.transport.abort()

    def _is_read(self) -> bool:
        """The socket is being read: not left to wait because nobody takes the messages."""
        return self._linked.is_set() and self._room.is_set()

    def _hear(self, event: ServerMessage) -> None:
        match event:
            case SessionStarted():
                self.token = event.resume_token or self.token
                self.meter.balance(parse_amount(event.balance, zero=True))
            case UsageUpdate():
                self.meter.update(event)
                self._check(self.meter.usage.consumed, self.meter.usage.units)
            case BalanceUpdated():
                self.meter.balance(parse_amount(event.remaining_balance, zero=True))
                self._answer(event)
            case PaymentRejected() | ErrorMessage():
                self._answer(event)
            case HttpAccessGranted():
                self.http_access = event
                self.meter.over_http = True
            case Draining():
                self._drain_wait = min(event.reconnect_after_ms / 1000, self._reconnect_seconds)
            case SessionEnded():
                self._settled(event)
            case _:
                pass  # the rest is for `on_event`
        self._on_event(event)

    def _settled(self, event: SessionEnded) -> None:
        self.settlement = Settlement(
            paid=parse_amount(event.paid_amount, zero=True),
            consumed=parse_amount(event.consumed_amount, zero=True),
            refund=parse_amount(event.refund_amount, zero=True),
            refund_id=event.refund_id,
            reason=event.reason,
        )
        self._check(self.settlement.consumed, event.units or {})

    def _check(self, consumed: int, units: Mapping[str, int]) -> None:
        if not self.meter.fair(consumed, units):
            raise OverchargedError(
                f"The server charges {consumed} smallest units, more than the time that has passed and the use cost.",
                remedy="The session was ended; complain to its owner.",
            )

    def _answer(self, event: TopUpAnswer) -> None:
        if self._top_up is not None and not self._top_up.done():
            self._top_up.set_result(event)

    @contextmanager
    def _hurry(self) -> Iterator[None]:
        """Somebody waits for the server: read on even if nobody takes the messages."""
        self._impatient += 1
        self._room.set()
        try:
            yield
        finally:
            self._impatient -= 1
