"""One HTTP connection of uvicorn, with bounds for what a stranger may send and for how long it may take.

httptools gathers a header until it is whole, and uvicorn waits for one without an end: so what was read and is not yet
part of a message is counted here, before the parser sees more of it. Every port of ours has such connections.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ws402.errors import InvalidRequestError, WS402Error
from ws402.protocol import ErrorResponse, encode

MAX_HEAD_BYTES: Final = 32_768
"""Request line and headers together; also the trailers of a body, and what frames its chunks."""
MAX_QUERY_FIELDS: Final = 1000
"""Fields of a query string."""
MAX_PIPELINED: Final = 16
"""Requests that wait on a connection for the answer to the one before (RFC 9112 §9.3.2)."""
STALL_SECONDS: Final = 30.0
"""A client that takes nothing of its answer for so long is cut off."""
LINGER_SECONDS: Final = 2.0
LINGER_BYTES: Final = 1_048_576
"""How much more is read of a request that was refused, and thrown away, so that its client gets to read the answer."""


class HeadTooLargeError(InvalidRequestError):
    """The request's head is longer than any that makes sense here (RFC 6585 §5)."""

    code = "head_too_large"
    status = 431


class _RefusedError(Exception):
    """Stops the parser; the answer is in `_refusal`."""


class BoundedConnection(HttpToolsProtocol):
    """`head_seconds` is how long a request's head may take. Whoever derives from this gives it a clock: `_set_due`."""

    def __init__(self, head_seconds: float, config: Any, server_state: Any, app_state: Any, loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, loop)
        self._head_seconds = head_seconds
        self._unparsed = 0
        """Bytes that were read since the parser last made something of them."""
        self._awaiting = False
        """A request's head, or the end of a request that was answered already, must come before the deadline."""
        self._unsent = 0
        """What waited to be sent when it was last looked at."""
        self._refusal: WS402Error | None = None
        self._lingering = False

    def _set_due(self, seconds: float | None) -> None:
        """Call `overdue` in so many seconds (about), in place of any time that was set before; None: not at all."""
        raise NotImplementedError

    def overdue(self) -> None:
        """The deadline has passed: cut the connection, unless its client has taken some of its answer meanwhile."""
        unsent = 0 if self._lingering else self.transport.get_write_buffer_size()
        if unsent and unsent != self._unsent:
            self._unsent = unsent
            self._set_due(STALL_SECONDS)
        elif unsent or self._awaiting:
            self.transport.abort()

    # --- what comes in -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """The first request must come."""
        super().connection_made(transport)
        self._await()

    def connection_lost(self, exc: Exception | None) -> None:
        """No deadline any more."""
        self._set_due(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Let the parser have as much as a head may be long, and look at what it made of it."""
        size = len(data)
        if self._lingering:
            self._unparsed += size
            if self._unparsed > LINGER_BYTES:
                self.transport.abort()
            return
        if self._unparsed + size < MAX_HEAD_BYTES:
            self._unparsed += size
            super().data_received(data)
        else:
            self._in_parts(memoryview(data))
        if len(self.pipeline) > MAX_PIPELINED:
            self.transport.abort()
        elif not self._awaiting and not self._answering():
            self._await()  # blank lines, or a body that nobody waits for: uvicorn's own time-out is over with the first

    def _in_parts(self, data: memoryview) -> None:
        while data and self.transport.get_protocol() is self and not self.transport.is_closing():
            part = data[: MAX_HEAD_BYTES - self._unparsed]
            data = data[len(part) :]
            self._unparsed += len(part)
            super().data_received(bytes(part))
            if self._lingering or self.transport.is_closing() or len(self.pipeline) > MAX_PIPELINED:
                return
            if self._unparsed >= MAX_HEAD_BYTES:
                self._refusal = HeadTooLargeError(
                    f"The head of the request has more than {MAX_HEAD_BYTES} bytes.",
                    remedy="Send fewer or shorter headers, and a shorter address.",
                )
                self.send_400_response("")
                return

    def on_message_begin(self) -> None:
        """A request begins: its head must be whole in time."""
        super().on_message_begin()
        if not self._awaiting:
            self._await()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._unparsed = 0
        self._awaiting = False
        self._set_due(None)
        if self.url.count(b"&") >= MAX_QUERY_FIELDS:
            self._refusal = InvalidRequestError(
                f"The query has more than {MAX_QUERY_FIELDS} fields.", remedy="Ask with fewer."
            )
            raise _RefusedError
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._unparsed = 0
        super().on_message_complete()

    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _await(self) -> None:
        self._awaiting = True
        self._set_due(self._head_seconds)

    # --- what goes out -------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The client does not keep up: from now on it must take something from time to time."""
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        """It did."""
        super().resume_writing()
        if not self._awaiting:
            self._set_due(None)

    def on_response_complete(self) -> None:
        """The answer is written, if not sent; the connection is closed no sooner than it is."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._watch_sending()
        elif self.cycle.response_complete and self.cycle.more_body and not self._awaiting:
            self._await()  # the rest of a request that was answered before it was whole

    def timeout_keep_alive_handler(self) -> None:
        """No further request came."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self._watch_sending()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be answered otherwise, in the words of every error of ours, and end the connection."""
        error = self._refusal or InvalidRequestError(msg or "The request cannot be read.")
        if self._answering():
            self.transport.abort()  # an answer in the middle of another would be taken for part of it
            return
        self.transport.write(refusal(error))
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._unparsed = 0
            self._lingering = self._awaiting = True
            self._set_due(LINGER_SECONDS)
        else:
            self.transport.close()

    def _watch_sending(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._set_due(STALL_SECONDS)


def refusal(error: WS402Error) -> bytes:
    """A whole answer that tells an error and ends the connection, for those who have no request to answer."""
    phrase = HTTPStatus(error.status).phrase
    body = encode(ErrorResponse(error=phrase, message=error.message, code=error.code, remedy=error.remedy))
    head = (
        f"HTTP/1.1 {error.status} {phrase}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
