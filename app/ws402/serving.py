"""An ASGI application on a TCP port, with TLS or without, in the running event loop, until the caller ends it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Iterator
from functools import partial
from typing import Any, Final, cast

import uvicorn

from ws402.errors import ConfigurationError
from ws402.http_connection import BoundedConnection

BACKLOG: Final = 2048
KEEP_ALIVE_SECONDS: Final = 75
"""Longer than our own provider keeps an idle connection, so that it never writes into a closing one."""
GRACE_SECONDS: Final = 30
HEAD_SECONDS: Final = 30.0
"""How long a client may take for the head of a request."""
SWEEP_SECONDS: Final = 5.0
"""How late a deadline may be noticed."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the event loop."""
        yield


class _Connection(BoundedConnection):
    """Its deadlines are looked at together, every few seconds.

    Without a client certificate its calls go to `strangers`, if there is such an application. A certificate was checked
    in the handshake; clients without any get that far because probes have none.
    """

    def __init__(self, strangers: Any, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        super().__init__(HEAD_SECONDS, config, server_state, app_state, _loop)
        self._strangers = strangers
        self.due: float | None = None
        """By the loop's clock."""

    def _set_due(self, seconds: float | None) -> None:
        self.due = None if seconds is None else self.loop.time() + seconds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if self._strangers is not None and not transport.get_extra_info("peercert"):
            self.app = self._strangers


class HttpServer:
    """Binds at once, so that a taken port is known before anything else starts; serves from `start` to `close`.

    With `tls` it serves nothing but TLS. With `strangers` too, that application answers clients without a certificate.
    """

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._socket = _bind(host, port)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        scheme = "https" if self._tls is not None else "http"
        return f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"

    async def start(self, app: Any, *, strangers: Any = None, lifespan: bool = True) -> None:
        """Serve. `lifespan`: the application wants to be told of its start and end."""
        config = uvicorn.Config(
            app,
            interface="asgi3",
            http=cast("Any", partial(_Connection, strangers)),
            ws="none",
            lifespan="on" if lifespan else "off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            backlog=BACKLOG,
        )
        config.load()
        config.ssl = self._tls
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name=f"http {self.port}")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise ConfigurationError(f"The server on port {self.port} ended while it started.")
            await asyncio.sleep(0.005)
        self._sweep()

    def _sweep(self) -> None:
        """Look at the deadlines of all connections; one timer for all of them."""
        assert self._server is not None  # noqa: S101 - it was started
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in cast("list[_Connection]", list(self._server.server_state.connections)):
            if connection.due is not None and connection.due <= now:
                connection.due = None
                connection.overdue()
        self._sweeper = loop.call_later(min(SWEEP_SECONDS, HEAD_SECONDS / 5), self._sweep)

    async def close(self) -> None:
        """Take no new connections, answer what was asked, and end."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
            self._task = None
        self._socket.close()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, for asyncio turns Nagle's delay off only where it sees TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _refused(host, port, error) from error
    listener.setblocking(False)
    return listener


def _refused(host: str, port: int, error: Exception) -> ConfigurationError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return ConfigurationError(
            f"Port {port} is in use.",
            remedy=f"Stop what listens there, or set another port (ss -ltnp 'sport = :{port}').",
        )
    if number in (errno.EACCES, errno.EPERM):
        return ConfigurationError(f"Port {port} may not be opened by this user.", remedy="Use a port above 1023.")
    reason = getattr(error, "strerror", None) or str(error)
    return ConfigurationError(f"{host}:{port} cannot be listened on: {reason}.", remedy="Check the host and the port.")
