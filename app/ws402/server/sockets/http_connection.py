"""HTTP connections of a server: deadlines by the wheel, the transport for those who must cut it, and upgrades."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from ws402.http_connection import BoundedConnection
from ws402.server.resources.http_answers import CONNECTION
from ws402.server.sockets.handshake import Upgrade
from ws402.server.sockets.socket import Socket

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from ws402.server.sockets.context import SocketContext


class HttpConnection(BoundedConnection):
    """One client's HTTP connection, which may turn into a `Socket`."""

    def __init__(
        self,
        context: SocketContext,
        leave: Callable[[], None],
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(context.handshake_seconds, config, server_state, app_state, _loop)
        self._context = context
        self._wheel = context.wheel
        self.ws_protocol_class = Socket  # not None: uvicorn hands upgrades to `handle_websocket_upgrade`
        self.due_tick = 0
        self._leave = leave
        """Its address has one connection less."""

    def connection_lost(self, exc: Exception | None) -> None:
        """One less."""
        self._leave()
        super().connection_lost(exc)

    def _set_due(self, seconds: float | None) -> None:
        if seconds is None:
            self._wheel.cancel(self)
        else:
            self._wheel.schedule(self, self._wheel.clock() + int(seconds * 1000))

    def tick(self, now: int) -> None:  # noqa: ARG002
        """A deadline has passed."""
        self.overdue()

    def broken(self) -> None:
        """`tick` raised."""
        self.transport.abort()

    def handle_websocket_upgrade(self) -> None:
        """The head is parsed: no need to write it down and parse it again, as uvicorn does."""
        if self.scope["method"] != "GET":
            self.send_400_response("A WebSocket is opened with GET.")
            return
        self._leave()
        self._awaiting = True  # nothing more here: the rest is the socket's
        self.connections.discard(self)
        self.parser = None  # type: ignore[assignment]  # it and this hold each other, which only the collector would see
        socket = Socket(self._context, cast("set[Any]", self.connections), self.transport)
        self.transport.set_protocol(socket)
        socket.begin(Upgrade(str(self.url, "latin-1"), self.headers))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.scope["extensions"] = cast("Any", {CONNECTION: self.transport})
        super()._start_asgi_task(cycle, app)
