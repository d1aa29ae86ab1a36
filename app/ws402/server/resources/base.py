"""What a resource is: a few callbacks, called by the sessions that use it. One object serves all of its sessions.

A callback must return at once. A resource that needs to wait starts a task of its own for that session in `opened` and
keeps it in `stream.state`; one that does not costs a session nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from ws402.errors import InvalidRequestError
from ws402.settings import ResourceSettings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
"""The three parts of an ASGI call (https://asgi.readthedocs.io/en/latest/specs/www.html)."""


class Stream(Protocol):
    """One session, as its resource sees it."""

    id: str
    user_id: str
    state: Any
    """Belongs to the resource."""

    @property
    def query(self) -> str:
        """The query string with which the client opened its socket."""

    @property
    def subprotocol(self) -> str | None:
        """The WebSocket subprotocol that the client was promised."""

    @property
    def paused(self) -> bool:
        """The client reads too slowly: send nothing before `Resource.writable` is called."""

    @property
    def live(self) -> bool:
        """Whether the session still runs."""

    def send(self, message: str | bytes) -> None:
        """Send a text or a binary message to the client; does nothing after the end."""

    def end(self, code: int = 1000, reason: str = "") -> None:
        """The resource has no more to give: settle, then close with this WebSocket code."""

    def fail(self, message: str) -> None:
        """The resource broke: tell the client, settle, close 1011."""

    def pause_reading(self) -> None:
        """Take no more messages from the client for now."""

    def resume_reading(self) -> None:
        """Take messages again."""

    def charge(self, count: int, unit: str) -> bool:
        """So many `unit`s of the price were used: a whole number from 0 on. Whether the session goes on.

        A unit that the session's price does not have is free. Raises InvalidRequestError.
        """

    def count(self, size: int) -> None:
        """Bytes that went another way than this socket (HTTP) belong to the session's usage."""


class ResourceUnavailableError(InvalidRequestError):
    """The resource cannot be had now; whoever paid for it gets all back."""

    code = "resource_unavailable"
    status = 502


class Resource:
    """Base of all kinds; every callback does nothing here."""

    over_http = False
    """Whether sessions get an HTTP token and `serve` answers requests that show it."""

    def __init__(self, settings: ResourceSettings) -> None:
        self.settings = settings

    def check(self) -> None:
        """Look at the target before the server starts. Raises ConfigurationError."""

    async def start(self) -> None:
        """The server starts."""

    async def close(self) -> None:
        """The server stops; no session is left."""

    async def open(self, stream: Stream) -> None:
        """Get ready for a session that is paid; the meter starts when this returns.

        Raises ResourceUnavailableError; the payer then gets everything back.
        """

    def opened(self, stream: Stream) -> None:
        """The session is live."""

    def received(self, stream: Stream, message: str | bytes) -> None:
        """The client sent a message."""

    def writable(self, stream: Stream) -> None:
        """The client reads again: go on producing."""

    def closed(self, stream: Stream, code: int) -> None:
        """The session ended or left this server; `code` is the client's close code, 1006 without one.

        Called exactly once for each stream for which `open` was.
        """

    async def serve(self, stream: Stream, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request of a live session; `path` is what follows the resource's own address, or empty.

        The session may end in the middle: check `stream.live` between pieces.
        """
        raise NotImplementedError


def header_value(text: str) -> str:
    """Text as a header can carry it: what a client calls itself may hold anything."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)
