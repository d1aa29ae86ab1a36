"""HTTP connections of a server: deadlines by the wheel, the transport for those who must cut it, and upgrades."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from ws402.errors import RateLimitedError
from ws402.http_connection import BoundedConnection, refusal
from ws402.server.addresses import UNKNOWN, Counts, group
from ws402.server.handshake import Upgrade
from ws402.server.resources.http_answers import CONNECTION
from ws402.server.socket import Socket

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from ws402.server.sessions import Sessions


class HttpConnection(BoundedConnection):
    """One client's HTTP connection, which may turn into a `Socket`."""

    def __init__(
        self,
        sessions: Sessions,
        open_connections: Counts,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(sessions.settings.handshake_seconds, config, server_state, app_state, _loop)
        self._sessions = sessions
        self._wheel = sessions.wheel
        self.ws_protocol_class = Socket  # not None: uvicorn hands upgrades to `handle_websocket_upgrade`
        self.due_tick = 0
        self._open_connections = open_connections
        self._address: str | None = None
        """Whose connections this one counts among."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """An address has only so many."""
        super().connection_made(transport)
        peer = self.client[0] if self.client else UNKNOWN
        if self._sessions.proxies.trusts(peer):
            return
        address = group(peer)
        if self._open_connections.take(address):
            self._address = address
            return
        self.transport.write(
            refusal(
                RateLimitedError(
                    f"{self._open_connections.limit} connections of your address are open.",
                    retry_after=1,
                    remedy="Close some.",
                )
            )
        )
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """One less."""
        self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        if self._address is not None:
            self._open_connections.give(self._address)
            self._address = None

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
        socket = Socket(self._sessions, cast("set[Any]", self.connections), self.transport)
        self.transport.set_protocol(socket)
        socket.begin(Upgrade(str(self.url, "latin-1"), self.headers))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.scope["extensions"] = cast("Any", {CONNECTION: self.transport})
        super()._start_asgi_task(cycle, app)
