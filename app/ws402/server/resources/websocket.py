"""A WebSocket service in front of which the server stands: messages, close codes and back-pressure pass through."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from ws402.errors import ConfigurationError
from ws402.money import MAX_JSON_INTEGER
from ws402.server.resources.base import Resource, ResourceUnavailableError, Stream, header_value
from ws402.settings import ResourceSettings

OPEN_SECONDS: Final = 10
PING_SECONDS: Final = 20
"""Proxies on the way close connections that are silent for long."""
CLOSE_SECONDS: Final = 5
MAX_MESSAGE_BYTES: Final = 16_777_216
HIGH_WATER: Final = 32
"""Messages of the client that wait for the upstream before its socket is read no further."""

logger = logging.getLogger(__name__)


CHARGE: Final = '"ws402:charge"'


class Charge(msgspec.Struct, tag_field="type", tag="ws402:charge"):
    """What an upstream says between its messages: so many `unit`s of the price were used. Clients do not get it."""

    unit: str
    count: Annotated[int, msgspec.Meta(ge=0, le=MAX_JSON_INTEGER)]


class _Link:
    """One session's upstream connection."""

    __slots__ = ("held", "outgoing", "pump", "sender", "upstream", "writable")

    def __init__(self, upstream: ClientConnection) -> None:
        self.upstream = upstream
        self.outgoing: deque[str | bytes] = deque()
        self.held = False
        self.writable = asyncio.Event()
        self.pump: asyncio.Task[None] | None = None
        self.sender: asyncio.Task[None] | None = None


class WebSocketResource(Resource):
    """The upstream is connected before the meter starts. It learns the session and the user from two headers."""

    def __init__(self, settings: ResourceSettings) -> None:
        super().__init__(settings)
        self._tasks: set[asyncio.Task[None]] = set()

    def check(self) -> None:
        """The target is a ws:// or wss:// URL."""
        target = urlsplit(self.settings.target)
        if target.scheme not in ("ws", "wss") or not target.hostname:
            raise ConfigurationError(
                f"Resource '{self.settings.id}': '{self.settings.target}' is no WebSocket URL.",
                remedy="Write it as ws://host:port/path.",
            )

    async def close(self) -> None:
        """Wait for the last close handshakes."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)

    async def open(self, stream: Stream) -> None:
        """Connect, with the subprotocol that the client was promised."""
        offered = [Subprotocol(stream.subprotocol)] if stream.subprotocol else None
        try:
            upstream = await connect(
                self.settings.target,
                subprotocols=offered,
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                open_timeout=OPEN_SECONDS,
                close_timeout=CLOSE_SECONDS,
                ping_interval=PING_SECONDS,
                # No pong is read while a slow client holds the upstream back: that must not look like a dead upstream.
                ping_timeout=None,
                additional_headers={"X-WS402-Session": stream.id, "X-WS402-User": header_value(stream.user_id)},
                user_agent_header=None,
                proxy=None,
            )
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
            logger.warning("resource %s: the upstream cannot be reached: %s", self.settings.id, error)
            raise ResourceUnavailableError("The resource cannot be reached now.") from error
        if stream.subprotocol and upstream.subprotocol != stream.subprotocol:
            await upstream.close(1002, "subprotocol refused")
            raise ResourceUnavailableError(f"The resource does not speak '{stream.subprotocol}'.")
        _notice_death(upstream)
        stream.state = _Link(upstream)

    def opened(self, stream: Stream) -> None:
        """Pass on what the upstream sends."""
        link: _Link = stream.state
        link.pump = self._spawn(self._pump(stream, link))

    def received(self, stream: Stream, message: str | bytes) -> None:
        """Pass on what the client sends, in order."""
        link: _Link = stream.state
        link.outgoing.append(message)
        if len(link.outgoing) >= HIGH_WATER and not link.held:
            link.held = True
            stream.pause_reading()
        if link.sender is None:
            link.sender = self._spawn(self._send(stream, link))

    def writable(self, stream: Stream) -> None:
        """Read the upstream again."""
        stream.state.writable.set()

    def closed(self, stream: Stream, code: int) -> None:
        """Close the upstream as the client closed."""
        link: _Link | None = stream.state
        if link is None:
            return
        for task in (link.pump, link.sender):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        self._spawn(self._hang_up(link, code))

    async def _pump(self, stream: Stream, link: _Link) -> None:
        upstream = link.upstream
        try:
            while stream.live:
                message = await upstream.recv()
                if not self._charges(stream, message):
                    stream.send(message)
                while stream.paused and stream.live:
                    link.writable.clear()
                    await link.writable.wait()
        except ConnectionClosed:
            code = upstream.close_code or 1006
            if code == 1006:
                stream.fail("The connection to the resource was lost; what was not used is refunded.")
            else:
                stream.end(_sendable(code), upstream.close_reason or "")

    def _charges(self, stream: Stream, message: str | bytes) -> bool:
        """Whether a message is none for the client, but says what to charge."""
        if not isinstance(message, str) or not message.startswith("{") or CHARGE not in message[:64]:
            return False
        try:
            charge = msgspec.json.decode(message, type=Charge)
        except msgspec.DecodeError as error:
            logger.warning("resource %s: a charge of the upstream cannot be read: %s", self.settings.id, error)
        else:
            stream.charge(charge.count, charge.unit)
        return True

    async def _send(self, stream: Stream, link: _Link) -> None:
        try:
            while link.outgoing:
                await link.upstream.send(link.outgoing.popleft())
                if link.held and len(link.outgoing) < HIGH_WATER // 2:
                    link.held = False
                    stream.resume_reading()
        except ConnectionClosed:
            link.outgoing.clear()  # the pump tells the client
        finally:
            link.sender = None

    async def _hang_up(self, link: _Link, code: int) -> None:
        """Close, and read what still comes: the answer to our close frame stands behind it."""
        closing = self._spawn(link.upstream.close(_sendable(code)))
        with suppress(ConnectionClosed):
            while True:
                await link.upstream.recv()
        await closing

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _notice_death(upstream: ClientConnection) -> None:
    """Let TCP find out within a minute that the other machine is gone (tcp(7)), whether or not anything is read."""
    link = upstream.transport.get_extra_info("socket")
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # not on every system
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _sendable(code: int) -> int:
    """A code that a close frame may carry (RFC 6455 §7.4): 1005 means none, 1006 a lost connection."""
    if code in (1000, 1001, 1002, 1003, *range(1007, 1015)) or 3000 <= code < 5000:
        return code
    return 1000 if code == 1005 else 1001
