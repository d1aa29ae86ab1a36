"""One client's WebSocket, without ASGI: an asyncio protocol over the sans-I/O one, frames straight to the transport.

`HttpConnection` hands a connection over when its client asks for an upgrade. The socket knows bytes, frames and
deadlines; what they mean for money is `Session` and `Sessions`.
"""

from __future__ import annotations

import asyncio
import logging
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN

from ws402.errors import WS402Error
from ws402.protocol import Message, encode
from ws402.server.addresses import UNKNOWN, query_value
from ws402.server.sessions.notices import ABNORMAL
from ws402.server.sockets.frames import BINARY, TEXT, Connection, frame
from ws402.server.sockets.handshake import Upgrade, accept, rejection

if TYPE_CHECKING:
    from ws402.server.sessions.service import Sessions
    from ws402.server.sessions.session import Session

UNPAID_BYTES: Final = 65_536
"""What a client may send before it has paid, in one message and (times four) in all."""

CLOSE_SECONDS: Final = 10
"""How long the peer may take to answer a close frame."""

logger = logging.getLogger(__name__)


class Phase(IntEnum):
    """What a socket is for now."""

    UNPAID = 1
    VERIFYING = 2
    LIVE = 3
    ENDING = 4
    """The session ended; the settlement is awaited."""
    CLOSING = 5
    CLOSED = 6


class Socket(asyncio.Protocol):
    """See the module. Stands in the wheel for its deadlines: proof, settlement, close."""

    __slots__ = (
        "_connections",
        "address",
        "backlog",
        "base_url",
        "close_with",
        "conn",
        "due_tick",
        "fragments",
        "fragments_text",
        "heard",
        "held",
        "paused",
        "phase",
        "query",
        "received_bytes",
        "resource_id",
        "session",
        "sessions",
        "subprotocol",
        "transport",
        "user_id",
    )

    def __init__(self, sessions: Sessions, connections: set[Any], transport: asyncio.Transport) -> None:
        self.sessions = sessions
        self._connections = connections
        self.transport = transport
        self.conn = Connection(UNPAID_BYTES)
        self.phase = Phase.UNPAID
        self.session: Session | None = None
        self.address: str | None = None
        """The address whose count of unpaid sockets includes this one."""
        self.due_tick = 0
        self.heard = True
        self.held = False
        self.paused = False
        self.fragments: list[bytes] | None = None
        self.fragments_text = False
        self.backlog: list[str | bytes] = []
        self.received_bytes = 0
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
        sessions = self.sessions
        peername = self.transport.get_extra_info("peername")
        peer = str(peername[0]) if isinstance(peername, tuple) else UNKNOWN
        path, _, self.query = request.path.partition("?")
        try:
            response, self.subprotocol = accept(request.headers)
            self.resource_id = sessions.resource_named(query_value(self.query, "resourceId"), unquote(path))
            sessions.admit(self, peer, request)
        except WS402Error as error:
            self.phase = Phase.CLOSING
            self.transport.write(rejection(error))
            self.transport.close()
            self.deadline(CLOSE_SECONDS)
            return
        self._connections.add(self)
        self.user_id = sessions.user_id(request, self.query)
        secure = self.transport.get_extra_info("sslcontext") is not None
        self.base_url = sessions.proxies.base_url(peer, request.header, secure=secure)
        self.transport.write(response)
        self.deadline(sessions.settings.handshake_seconds)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self.heard = True
        conn = self.conn
        conn.receive_data(data)
        for event in conn.events_received():
            if isinstance(event, Frame):
                self._frame(event)
        if conn.writes:
            self._flush()
        if conn.parser_exc is not None:
            self._broken()

    def eof_received(self) -> bool:
        """The client sends no more: a WebSocket cannot be half-closed."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The connection is gone, however."""
        self._connections.discard(self)
        self._gone(ABNORMAL)
        self.phase = Phase.CLOSED
        self.sessions.wheel.cancel(self)
        self._forget_unpaid()

    def pause_writing(self) -> None:
        """The transport's buffer is above its high-water mark."""
        self.paused = True

    def resume_writing(self) -> None:
        """The client reads again."""
        self.paused = False
        if self.session is not None:
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
        wheel = self.sessions.wheel
        wheel.schedule(self, wheel.clock() + int(seconds * 1000))

    # --- the session's side --------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether messages still reach the client."""
        return self.phase < Phase.CLOSING

    def verifying(self) -> None:
        """The gateway looks at the proof; it has its own deadlines."""
        self.phase = Phase.VERIFYING
        self.sessions.wheel.cancel(self)

    def paid(self, session: Session, max_message_bytes: int) -> list[str | bytes]:
        """The session lives on this socket now; answers what the client sent since its proof."""
        self.phase = Phase.LIVE
        self.session = session
        self.conn.max_message_size = max_message_bytes
        self._forget_unpaid()
        backlog, self.backlog = self.backlog, []
        self.hold(False)
        return backlog

    def send(self, *messages: Message) -> None:
        """Protocol messages, in one write."""
        if self.open:
            self.transport.write(b"".join([frame(TEXT, encode(message)) for message in messages]))

    def send_message(self, message: str | bytes) -> None:
        """A message of the resource."""
        self.transport.write(frame(TEXT, message.encode()) if isinstance(message, str) else frame(BINARY, message))

    @property
    def waiting_bytes(self) -> int:
        """What the client has not read yet, as far as we hold it."""
        return self.transport.get_write_buffer_size()

    def hold(self, held: bool) -> None:
        """Read no further for now, or read again: TCP makes the client wait."""
        if held == self.held or self.phase is Phase.CLOSED:
            return
        self.held = held
        if held:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def ping(self) -> bool:
        """Ask for a sign of life; False when none came since the last ping, although we listened."""
        if not self.heard and not self.held:
            return False
        self.heard = False
        self.conn.send_ping(b"")
        self._flush()
        return True

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
        self.backlog = []
        if self.conn.state is not OPEN:
            self.transport.close()
            return
        self.conn.send_close(code, reason)
        self._flush()
        self.hold(False)
        self.deadline(CLOSE_SECONDS)

    def abort(self) -> None:
        """Drop the connection and what it holds."""
        self.phase = Phase.CLOSING
        self.transport.abort()

    # --- frames --------------------------------------------------------------------------------------------------

    def _frame(self, event: Frame) -> None:
        opcode = event.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if event.fin:
                self._message(event.data, text=opcode is Opcode.TEXT)
            else:
                self.fragments = [bytes(event.data)]
                self.fragments_text = opcode is Opcode.TEXT
        elif opcode is Opcode.CONT and self.fragments is not None:
            self.fragments.append(bytes(event.data))
            if event.fin:
                whole, self.fragments = b"".join(self.fragments), None
                self._message(whole, text=self.fragments_text)
        elif opcode is Opcode.CLOSE:
            code = self.conn.close_rcvd.code if self.conn.close_rcvd is not None else ABNORMAL
            self._gone(code)

    def _message(self, data: bytes | bytearray | memoryview, *, text: bool) -> None:
        if self.phase >= Phase.ENDING:
            return
        message: str | bytes
        if text:
            try:
                message = str(data, "utf-8")
            except UnicodeDecodeError:
                self.conn.fail(1007, "a text message is not UTF-8")
                self._flush()
                self._broken()
                return
        else:
            message = bytes(data)
        if self.phase is Phase.LIVE:
            if self.session is not None:
                self.session.received(message, len(data))
            return
        self.received_bytes += len(data)
        if self.received_bytes > 4 * UNPAID_BYTES:
            if self.phase is Phase.VERIFYING:
                self.hold(True)
            else:
                self.close(1008, "too much data before the payment proof")
                return
        if self.phase is Phase.VERIFYING:
            self.backlog.append(message)
        elif isinstance(message, str):
            self.sessions.greet(self, message)

    # --- ends ----------------------------------------------------------------------------------------------------

    def _gone(self, code: int) -> None:
        """No message reaches the client any more: the session ends, or is handed back."""
        if self.phase < Phase.CLOSING:
            self.phase = Phase.CLOSING
            self.deadline(CLOSE_SECONDS)
        session, self.session = self.session, None
        if session is not None:
            session.client_left(code)

    def _broken(self) -> None:
        """The peer broke the protocol, or went away in the middle of a frame."""
        sent = self.conn.close_sent
        self._gone(sent.code if sent is not None else ABNORMAL)
        self.transport.close()

    def _flush(self) -> None:
        for data in self.conn.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()

    def _forget_unpaid(self) -> None:
        if self.address is not None:
            self.sessions.settled_in(self, self.address)
            self.address = None
