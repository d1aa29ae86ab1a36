"""One client's WebSocket, without ASGI: an asyncio protocol, frames straight from and to the transport.

`HttpConnection` hands a connection over when its client asks for an upgrade. The socket knows bytes, frames and
deadlines; what they mean for money is the session that lives on it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from enum import IntEnum
from typing import Any, Final

from websockets.exceptions import ProtocolError
from websockets.frames import Close

from ws402.errors import WS402Error
from ws402.protocol import Message, encode
from ws402.server.addresses import UNKNOWN, query_value
from ws402.server.sockets.channel import Channel
from ws402.server.sockets.context import Occupant, SocketContext
from ws402.server.sockets.frames import BINARY, CLOSE, PING, PONG, TEXT, FrameError, frame
from ws402.server.sockets.handshake import Upgrade, accept, rejection

UNPAID_BYTES: Final = 65_536
"""What a client may send before it has paid, in one message and (times four) in all."""
UNPAID_FRAMES: Final = 1_024
"""Frames of any kind that a client may send before it has paid."""

CLOSE_SECONDS: Final = 10
"""How long the peer may take to answer a close frame."""

ABNORMAL: Final = 1006
"""RFC 6455 §7.4.1: the connection was lost without a close frame."""

_NORMAL: Final = (1000).to_bytes(2, "big")


class Phase(IntEnum):
    """What a socket is for now."""

    UNPAID = 1
    VERIFYING = 2
    LIVE = 3
    ENDING = 4
    """The session ended; the settlement is awaited."""
    CLOSING = 5
    CLOSED = 6


class Socket(Channel):
    """See the module. Stands in the wheel for its deadlines: proof, settlement, close."""

    __slots__ = (
        "_backlog",
        "_close_sent",
        "_connections",
        "address",
        "base_url",
        "close_with",
        "context",
        "due_tick",
        "phase",
        "query",
        "received_bytes",
        "received_frames",
        "resource_id",
        "session",
        "subprotocol",
        "user_id",
    )

    def __init__(self, context: SocketContext, connections: set[Any], transport: asyncio.Transport) -> None:
        super().__init__(transport, UNPAID_BYTES)
        self.context = context
        self._connections = connections
        self.phase = Phase.UNPAID
        self.session: Occupant | None = None
        self.address: str | None = None
        """The address whose count of unpaid sockets includes this one."""
        self.due_tick = 0
        self._backlog: deque[str | bytes] | None = None
        self.received_bytes = 0
        self.received_frames = 0
        self._close_sent = False
        self.close_with: tuple[int, str] = (1000, "")
        self.query = ""
        self.base_url = ""
        """How the client reaches this server by HTTP."""
        self.resource_id: str | None = None
        self.user_id = ""
        self.subprotocol: str | None = None

    # --- the transport's side ------------------------------------------------------------------------------------

    def begin(self, request: Upgrade) -> None:
        """Answer the handshake: the socket waits for a payment proof from now on, or is refused."""
        context = self.context
        peername = self.transport.get_extra_info("peername")
        peer = str(peername[0]) if isinstance(peername, tuple) else UNKNOWN
        path, _, self.query = request.path.partition("?")
        try:
            response, self.subprotocol = accept(request)
            self.resource_id = context.catalog.named(query_value(self.query, "resourceId"), path)
            context.admission.admit(self, peer, request)
        except WS402Error as error:
            self.phase = Phase.CLOSING
            self.transport.write(rejection(error))
            self.transport.close()
            self.deadline(CLOSE_SECONDS)
            return
        self._connections.add(self)
        self.user_id = context.user_id(request, self.query)
        secure = self.transport.get_extra_info("sslcontext") is not None
        self.base_url = context.proxies.base_url(peer, request.header, secure=secure)
        self.transport.write(response)
        self.deadline(context.handshake_seconds)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The connection is gone, however."""
        self._connections.discard(self)
        self._reader.stop()
        self._gone(ABNORMAL)
        self.phase = Phase.CLOSED
        self.context.wheel.cancel(self)
        self._forget_unpaid()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self.session is not None and not self.paused:
            self.session.writable()

    def shutdown(self) -> None:
        """uvicorn stops; drained sessions are gone by now."""
        if self.phase is Phase.LIVE and self.session is not None:
            self.session.hand_over()
        elif self.phase is Phase.CLOSING:
            self.transport.close()
        else:
            self.leave()

    def leave(self) -> None:
        """The server goes away. A proof that the gateway looks at now still opens its session."""
        if self.phase is Phase.UNPAID:
            self.close(1012, "the server goes away")

    # --- the wheel's side ----------------------------------------------------------------------------------------

    def tick(self, now: int) -> None:  # noqa: ARG002
        """A deadline of this phase has passed."""
        if self.phase is Phase.UNPAID:
            self.close(1008, "no payment proof arrived in time")
        elif self.phase is Phase.ENDING:
            self.close(*self.close_with)
        elif self.phase is Phase.CLOSING:
            self.transport.abort()

    def broken(self) -> None:
        """`tick` raised."""
        self.transport.abort()

    def deadline(self, seconds: float) -> None:
        """Call `tick` after this many seconds."""
        wheel = self.context.wheel
        wheel.schedule(self, wheel.clock() + int(seconds * 1000))

    # --- the session's side --------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether messages still reach the client."""
        return self.phase < Phase.CLOSING

    def verifying(self) -> None:
        """The gateway looks at the proof; it has its own deadlines."""
        self.phase = Phase.VERIFYING
        self.context.wheel.cancel(self)

    def paid(self, session: Occupant, max_message_bytes: int) -> None:
        """The session lives on this socket now; `replay` begins to give it what the client sent since its proof."""
        self.phase = Phase.LIVE
        self.session = session
        self._reader.max_bytes = max_message_bytes
        self.held = False
        self._forget_unpaid()

    def replay(self) -> None:
        """Give the session what waited, as fast as it takes it."""
        self._read()

    def send(self, *messages: Message) -> None:
        """Protocol messages, in one write."""
        if self.open:
            self.write(b"".join([frame(TEXT, encode(message)) for message in messages]))

    def send_message(self, message: str | bytes) -> None:
        """A message of the resource."""
        self.write(frame(TEXT, message.encode()) if isinstance(message, str) else frame(BINARY, message))

    def await_close(self, code: int, reason: str, seconds: float) -> None:
        """Nothing more comes from the resource; close in this way, at the latest after some seconds."""
        if self.phase < Phase.ENDING:
            self.phase = Phase.ENDING
            self.close_with = (code, reason)
            self.deadline(seconds)

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame and wait for the client's."""
        if self.phase >= Phase.CLOSING:
            return
        self.phase = Phase.CLOSING
        self._send_close(Close(code, reason).serialize())
        self.deadline(CLOSE_SECONDS)
        self.hold(False)

    def abort(self) -> None:
        """Drop the connection and what it holds."""
        self.phase = Phase.CLOSING
        self._reader.stop()
        self.transport.abort()

    # --- frames --------------------------------------------------------------------------------------------------

    @property
    def backlog(self) -> Collection[str | bytes]:
        """What the client sent between its proof and the start, as far as it was read."""
        return self._backlog or ()

    @property
    def _max_waiting_bytes(self) -> int:
        return self.context.max_write_buffer_bytes

    def _replay(self) -> None:
        if self._backlog is None or self.phase is Phase.VERIFYING:
            return
        while self._backlog and not (self.held or self.paused):
            message = self._backlog.popleft()
            self._deliver(message, len(message.encode() if isinstance(message, str) else message))
        if not self._backlog:
            self._backlog = None

    def _overflow(self) -> None:
        self.phase = Phase.CLOSING
        session, self.session = self.session, None
        if session is not None:
            session.read_too_slowly()

    def _take(self, first: int, payload: bytes) -> None:
        if self.phase < Phase.LIVE and not self._within_limits(len(payload)):
            return
        if first == TEXT:
            try:
                self._message(str(payload, "utf-8"), len(payload))
            except UnicodeDecodeError:
                raise FrameError(1007, "a text message is not UTF-8") from None
        elif first == BINARY:
            self._message(payload, len(payload))
        elif first == PING:
            self.write(frame(PONG, payload))
        elif first == CLOSE:
            self._receive_close(payload)

    def _within_limits(self, size: int) -> bool:
        """Count what a client sends before it has paid; while its proof is looked at, it waits, else it is sent off."""
        self.received_bytes += size
        self.received_frames += 1
        if self.received_bytes > 4 * UNPAID_BYTES or self.received_frames > UNPAID_FRAMES:
            if self.phase is Phase.UNPAID:
                self.close(1008, "too much data before the payment proof")
                return False
            self.hold(True)
        return True

    def _message(self, message: str | bytes, size: int) -> None:
        if self.phase is Phase.VERIFYING or self._backlog:
            if self._backlog is None:
                self._backlog = deque()
            self._backlog.append(message)
        elif self.phase is Phase.UNPAID:
            if isinstance(message, str):
                self.context.inbox.greet(self, message)
        else:
            self._deliver(message, size)

    def _deliver(self, message: str | bytes, size: int) -> None:
        session = self.session
        if self.phase is not Phase.LIVE or session is None:
            return
        if not (isinstance(message, str) and self.context.inbox.control(session, message)):
            session.received(message, size)

    # --- ends ----------------------------------------------------------------------------------------------------

    def _receive_close(self, payload: bytes) -> None:
        code = 1000
        if payload != _NORMAL:
            try:
                code = int(Close.parse(payload).code)
            except ProtocolError as error:
                raise FrameError(1002, str(error)) from None
            except UnicodeDecodeError:
                raise FrameError(1007, "the reason of a close is not UTF-8") from None
        self._send_close(payload)
        self._reader.stop()
        self._gone(code)
        self.transport.close()

    def _send_close(self, payload: bytes) -> None:
        if not self._close_sent:
            self._close_sent = True
            self.write(frame(CLOSE, payload))

    def _fail(self, code: int, reason: str) -> None:
        """The peer broke the protocol."""
        self._send_close(Close(code, reason).serialize())
        self._reader.stop()
        self._gone(code)
        self.transport.close()

    def _gone(self, code: int) -> None:
        """No message reaches the client any more: the session ends, or is handed back."""
        if self.phase < Phase.CLOSING:
            self.phase = Phase.CLOSING
            self.deadline(CLOSE_SECONDS)
        session, self.session = self.session, None
        if session is not None:
            session.client_left(code)

    def _forget_unpaid(self) -> None:
        if self.address is not None:
            self.context.admission.give_back(self, self.address)
            self.address = None
