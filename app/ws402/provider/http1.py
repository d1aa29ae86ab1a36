"""HTTP/1.1 to one origin over kept-alive connections (RFC 9112), as thin as a client can be.

The link to the gateway is on the path of every session. A general client (httpx) costs a WS402 server more CPU than all
else that opening a session takes; this one writes one request and parses one answer, in httptools.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from ws402.tls import reason

MAX_CONNECTIONS: Final = 32
IDLE_SECONDS: Final = 60.0
MAX_ANSWER_BYTES: Final = 67_108_864


class TransferError(Exception):
    """No whole answer came. The request may or may not have had its effect."""


class Answer(NamedTuple):
    """A whole answer; header names are lower-case."""

    status: int
    headers: dict[str, str]
    content: bytes


class HttpClient:
    """Requests to one origin. `headers` go with every request; values must be latin-1 without line breaks.

    `authorization` is asked for the value of that header before each request, `tls` for the context of each new
    connection: both may change while the client lives.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout: float,
        connect_timeout: float,
        tls: Callable[[], ssl.SSLContext] | None = None,
        authorization: Callable[[], str] | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme == "https" and tls is None:
            msg = "https needs a TLS context"
            raise ValueError(msg)
        self._tls = tls if parts.scheme == "https" else None
        self._authorization = authorization
        self._prefix = parts.path.rstrip("/")
        lines = [f"Host: {parts.netloc}", *(f"{name}: {value}" for name, value in headers.items())]
        if any(letter in line for line in lines for letter in "\r\n\0"):
            msg = "a header holds a line break"
            raise ValueError(msg)
        self._head = "".join(f"{line}\r\n" for line in lines)
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._closed = False

    async def request(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        *,
        seconds: float | None = None,
        headers: str = "",
    ) -> Answer:
        """Send and wait for the whole answer, at most so many seconds. Raises TransferError.

        `headers` are whole lines of ours, each with its line break.

        A kept connection that the other side closed meanwhile is replaced: so a request can arrive twice.
        """
        length = "" if content is None else f"Content-Length: {len(content)}\r\n"
        who = "" if self._authorization is None else f"Authorization: {self._authorization()}\r\n"
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._head}{who}{headers}{length}\r\n".encode("latin-1")
        data = head if content is None else head + content
        try:
            async with asyncio.timeout(seconds or self._timeout), self._room:
                return await self._exchange(data)
        except TimeoutError:
            raise TransferError("timed out") from None

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        for connection in list(self._open):
            connection.drop()
        while self._open:  # noqa: ASYNC110 - gone in the loop's next turns
            await asyncio.sleep(0)

    async def _exchange(self, data: bytes) -> Answer:
        while (kept := self._kept()) is not None:
            try:
                return await self._on(kept, data)
            except _StaleError:
                continue
        return await self._on(await self._connect(), data)

    async def _on(self, connection: _Connection, data: bytes) -> Answer:
        try:
            answer = await connection.send(data)
        except BaseException:
            connection.drop()  # also when cancelled: what comes would be the next request's answer
            raise
        if connection.reusable and not self._closed:
            connection.since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.drop()
        return answer

    def _kept(self) -> _Connection | None:
        """The connection that was used last, if it is still open."""
        oldest = time.monotonic() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.since > oldest:
                return connection
            connection.drop()
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._open),
                    self._host,
                    self._port,
                    ssl=self._tls() if self._tls else None,
                    server_hostname=self._host if self._tls else None,
                )
        except TimeoutError:
            raise TransferError("no connection in time") from None
        except (OSError, ssl.SSLError) as error:
            raise TransferError(reason(error)) from error
        return connection


class _StaleError(TransferError):
    """A kept connection was closed before anything of an answer came."""


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, all_open: set[_Connection]) -> None:
        self._all_open = all_open
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._parser: Any = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._complete_head = False
        self._used = False
        self.reusable = True
        self.since = 0.0

    async def send(self, data: bytes) -> Answer:
        """Write a request and wait for its answer."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise _StaleError("closed meanwhile")
        self._begin()
        self._answer = asyncio.get_running_loop().create_future()
        transport.write(data)
        return await self._answer

    def drop(self) -> None:
        """Close at once."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast("asyncio.Transport", transport)
        self._all_open.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        if self._answer is None or self._answer.done():
            self.drop()  # nobody asked
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(TransferError("not HTTP"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The connection is gone: the end of an answer without a length, or of one that is cut off."""
        self.reusable = False
        self._all_open.discard(self)
        self._transport = None
        framed = "content-length" in self._headers or "transfer-encoding" in self._headers
        if self._complete_head and not framed:
            self.on_message_complete()
        elif self._used and not self._headers:
            self._fail(_StaleError("closed meanwhile"))
        else:
            self._fail(TransferError("closed before the whole answer"))

    # --- the parser's side ---------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        self._headers[str(name, "latin-1").lower()] = str(value, "latin-1")

    def on_headers_complete(self) -> None:
        """The head is whole; that of an interim answer (1xx) is forgotten."""
        if self._parser.get_status_code() < 200:
            self._headers = {}
        else:
            self._complete_head = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._size += len(body)
        if self._size > MAX_ANSWER_BYTES:
            self._fail(TransferError("the answer is too large"))
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if not self._complete_head or self._answer is None or self._answer.done():
            return
        self.reusable = self.reusable and bool(self._parser.should_keep_alive())
        self._used = True
        self._answer.set_result(Answer(self._parser.get_status_code(), self._headers, b"".join(self._body)))

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers = {}
        self._body = []
        self._size = 0
        self._complete_head = False

    def _fail(self, error: TransferError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.drop()
