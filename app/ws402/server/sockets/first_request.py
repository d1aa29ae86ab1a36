"""The first request of a connection: mostly one that opens a socket, in one piece, and then no HTTP connection is made.

Everything else, an upgrade in pieces too, goes to `HttpConnection`, which knows all of HTTP. Both use the same parser.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import httptools

from ws402.errors import RateLimitedError
from ws402.http_connection import MAX_HEAD_BYTES, MAX_QUERY_FIELDS, refusal
from ws402.server.addresses import UNKNOWN, Counts, group
from ws402.server.sockets.handshake import Upgrade
from ws402.server.sockets.socket import Socket

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from ws402.server.sockets.context import SocketContext
    from ws402.server.sockets.http_connection import HttpConnection


class _Head:
    """What the parser finds."""

    __slots__ = ("headers", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


class FirstRequest(asyncio.Protocol):
    """A connection that has sent nothing yet; it has `handshake_seconds` for that."""

    __slots__ = ("_connections", "_context", "_counts", "_http", "_leave", "due_tick", "transport")

    def __init__(
        self,
        context: SocketContext,
        counts: Counts,
        http: Callable[..., HttpConnection],
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`counts`: connections by address. `http` makes what takes over any other request, and is handed what to call
        when it is gone. The rest is uvicorn's.
        """
        self._context = context
        self._counts = counts
        self._connections = cast("set[Any]", server_state.connections)
        self._http: Callable[..., HttpConnection] = lambda leave: http(leave, config, server_state, app_state, _loop)
        self._leave: Callable[[], None] = _nothing
        """Its address has one connection less."""
        self.due_tick = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The deadline begins. An address has only so many connections."""
        self.transport = cast("asyncio.Transport", transport)
        self._connections.add(self)
        if not self._take():
            self.transport.write(
                refusal(
                    RateLimitedError(
                        f"{self._counts.limit} connections of your address are open.",
                        retry_after=1,
                        remedy="Close some.",
                    )
                )
            )
            self.transport.close()
            return
        wheel = self._context.wheel
        wheel.schedule(self, wheel.clock() + int(self._context.handshake_seconds * 1000))

    def data_received(self, data: bytes) -> None:
        """Whoever is to speak with this client from now on takes over."""
        self._end()
        upgrade = _whole_upgrade(data)
        if upgrade is None:
            leave, self._leave = self._leave, _nothing
            http = self._http(leave)
            self.transport.set_protocol(http)
            http.connection_made(self.transport)
            http.data_received(data)
            return
        self._leave()  # sockets that have not paid are counted by themselves
        socket = Socket(self._context, self._connections, self.transport)
        self.transport.set_protocol(socket)
        socket.begin(upgrade)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """It never said anything."""
        self._end()
        self._leave()

    def shutdown(self) -> None:
        """uvicorn stops."""
        self.transport.close()

    def tick(self, now: int) -> None:  # noqa: ARG002
        """The deadline has passed."""
        self.transport.abort()

    def broken(self) -> None:
        """`tick` raised."""
        self.transport.abort()

    def _take(self) -> bool:
        """Count it, unless that is too many; connections of proxies that we trust are those of many clients."""
        peername = self.transport.get_extra_info("peername")
        peer = str(peername[0]) if isinstance(peername, tuple) else UNKNOWN
        if self._context.proxies.trusts(peer):
            return True
        address = group(peer)
        if not self._counts.take(address):
            return False
        self._leave = partial(self._counts.give, address)
        return True

    def _end(self) -> None:
        self._connections.discard(self)
        self._context.wheel.cancel(self)


def _nothing() -> None:
    """It was not counted."""


def _whole_upgrade(data: bytes) -> Upgrade | None:
    """The request to open a socket that this is from the first byte to the last."""
    whole = data.endswith(b"\r\n\r\n") and data.count(b"\r\n\r\n") == 1
    if not whole or len(data) > MAX_HEAD_BYTES or not data.startswith(b"GET ") or data.count(b"&") >= MAX_QUERY_FIELDS:
        return None
    head = _Head()
    try:
        httptools.HttpRequestParser(head).feed_data(data)
    except httptools.HttpParserUpgrade:
        for name, value in head.headers:
            if name == b"upgrade" and value.lower() == b"websocket":
                return Upgrade(str(head.url, "latin-1"), head.headers)
    except httptools.HttpParserError:
        pass
    return None
