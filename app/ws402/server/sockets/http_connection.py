"""HTTP connections of uvicorn, plus a deadline for the request, and the transport for those who must cut it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ws402.server.resources.http_answers import CONNECTION
from ws402.server.sockets.handshake import Upgrade
from ws402.server.sockets.socket import Socket

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from ws402.server.sockets.context import SocketContext


class HttpConnection(HttpToolsProtocol):
    """One client's HTTP connection, which may turn into a `Socket`.

    uvicorn waits for ever for a request that does not come, or comes a byte a minute; here the wheel has a deadline.
    """

    def __init__(
        self,
        context: SocketContext,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._context = context
        self.ws_protocol_class = Socket  # not None: uvicorn hands upgrades to `handle_websocket_upgrade`
        self.due_tick = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """The request has `handshake_seconds` to arrive."""
        super().connection_made(transport)
        wheel = self._context.wheel
        wheel.schedule(self, wheel.clock() + int(self._context.handshake_seconds * 1000))

    def connection_lost(self, exc: Exception | None) -> None:
        """No deadline any more."""
        self._context.wheel.cancel(self)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        """The head is parsed: no need to write it down and parse it again, as uvicorn does."""
        self._context.wheel.cancel(self)
        if self.scope["method"] != "GET":
            self.send_400_response("A WebSocket is opened with GET.")
            return
        self.connections.discard(self)
        self.parser = None  # type: ignore[assignment]  # it and this hold each other, which only the collector would see
        socket = Socket(self._context, cast("set[Any]", self.connections), self.transport)
        self.transport.set_protocol(socket)
        socket.begin(Upgrade(str(self.url, "latin-1"), self.headers))

    def tick(self, now: int) -> None:  # noqa: ARG002
        """No whole request head came in time."""
        self.transport.abort()

    def broken(self) -> None:
        """`tick` raised."""
        self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._context.wheel.cancel(self)  # the head is here; keep-alive has uvicorn's own time-out
        cycle.scope["extensions"] = cast("Any", {CONNECTION: self.transport})
        super()._start_asgi_task(cycle, app)
