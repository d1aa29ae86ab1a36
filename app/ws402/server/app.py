"""A WS402 server as an object: the web application, its sessions, and the uvicorn that runs both."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket as sockets
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import uvicorn
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException

from ws402.errors import ConfigurationError, WS402Error
from ws402.observability.exporter import exporter
from ws402.provider.base import PaymentProvider
from ws402.server.addresses import Counts
from ws402.server.drain import drain
from ws402.server.events import Callback, Callbacks, PaymentVerified, RefundIssued, SessionEnd
from ws402.server.live_metrics import observe
from ws402.server.reload import ResourceReload
from ws402.server.resources import load_resources
from ws402.server.sessions.service import Sessions, UserIdExtractor
from ws402.server.sockets.first_request import FirstRequest
from ws402.server.sockets.http_connection import HttpConnection
from ws402.server.web.answers import http_error, internal_error, ws402_error
from ws402.server.web.checkout import CheckoutRoutes
from ws402.server.web.looks import dressed
from ws402.server.web.openapi import openapi_handlers
from ws402.server.web.page import page_handlers, read_assets
from ws402.server.web.paid import PaidRequests
from ws402.server.web.resources import ResourceRoutes
from ws402.server.web.schema import SchemaRoutes
from ws402.server.web.status import StatusRoutes
from ws402.server.web.x402_sessions import X402SessionRoutes
from ws402.settings import ServerSettings
from ws402.settings.resources import read_resources, resources_source

if TYPE_CHECKING:
    from types import FrameType

BACKLOG: Final = 4096

logger = logging.getLogger(__name__)

CORS: Final = CORSConfig(
    allow_origins=["*"],
    allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
    allow_headers=[
        "Authorization",
        "Content-Type",
        "Range",
        "If-Range",
        "If-None-Match",
        "PAYMENT-SIGNATURE",
        "X-PAYMENT",
        "Accept-Payment",
        "Access-Control-Expose-Headers",  # stock x402 clients send it with their request
    ],
    expose_headers=[
        "Content-Range",
        "Accept-Ranges",
        "ETag",
        "Link",
        "Retry-After",
        "PAYMENT-REQUIRED",
        "PAYMENT-RESPONSE",
        "X-PAYMENT-RESPONSE",
        "WWW-Authenticate",
        "Payment-Receipt",
    ],
)
"""Any page may use any server: what is private wants a token in the request, and browsers add none by themselves."""


class WS402Server:
    """Made by `create_server`. `serve` runs it until it is told to stop; `sessions` is what goes on in it."""

    def __init__(self, settings: ServerSettings, sessions: Sessions) -> None:
        self.settings = settings
        self.sessions = sessions
        source = resources_source(settings)
        self._reload = ResourceReload(sessions, source) if source is not None else None
        self._status = StatusRoutes(sessions, self._reload)
        self._uvicorn: _Uvicorn | None = None
        self._connections = Counts(settings.max_connections_per_address)
        schema = SchemaRoutes(sessions)
        paid = PaidRequests(sessions)
        self.app = Litestar(
            [
                *schema.handlers(),
                *self._status.handlers(),
                *ResourceRoutes(sessions, schema, paid).handlers(),
                *X402SessionRoutes(sessions, paid).handlers(),
                *CheckoutRoutes(sessions).handlers(),
                *openapi_handlers(),
                *page_handlers(
                    dressed(read_assets(), settings.checkout), sessions.proxies, settings.checkout.embed_origins
                ),
            ],
            cors_config=CORS,
            openapi_config=None,  # ours is made from the wire's types
            logging_config=None,
            exception_handlers=cast(
                "Any", {WS402Error: ws402_error, HTTPException: http_error, Exception: internal_error}
            ),
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._uvicorn is None or not self._uvicorn.started:
            msg = "the server does not listen"
            raise RuntimeError(msg)
        return int(self._uvicorn.servers[0].sockets[0].getsockname()[1])

    @property
    def live(self) -> int:
        """Sessions that run now."""
        return len(self.sessions.live)

    def run(self, *, started: Callable[[], None] | None = None) -> None:
        """Serve in an event loop of its own until SIGTERM or SIGINT, which drain first. Raises ConfigurationError."""
        with asyncio.Runner(loop_factory=self._config().get_loop_factory()) as runner:
            runner.run(self.serve(started=started))

    async def serve(self, *, started: Callable[[], None] | None = None) -> None:
        """Serve on the running loop until `stop` or a signal. Raises ConfigurationError, of the provider's too."""
        listener = self._listen()
        components = ("server", "gateway") if self.sessions.provider.name == "direct" else ("server",)
        exported = exporter(self.settings, *components)
        try:
            if exported is not None:
                await exported.start()
            await self.sessions.start()
        except BaseException:
            listener.close()
            await self.sessions.close()
            if exported is not None:
                await exported.close()
            raise
        if self._reload is not None:
            self._reload.start()
        self._status.started = True
        self.sessions.calls.spawn(self._greet_gateway())
        server = self._uvicorn = _Uvicorn(self._config(), self.drain, started)
        try:
            with observe(self.sessions):
                await server.serve(sockets=[listener])
        finally:
            await self.sessions.close()
            if self._reload is not None:
                await self._reload.close()
            if exported is not None:
                await exported.close()

    async def drain(self) -> None:
        """Stop taking sessions and hand over those that are live: see `ws402.server.drain`."""
        await drain(self.sessions, self.settings.drain_seconds)

    async def stop(self) -> None:
        """Drain, then let `serve` return."""
        await self.drain()
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True

    async def _greet_gateway(self) -> None:
        """Say early that the gateway is away; that it comes later is no reason not to start."""
        try:
            await self.sessions.provider.ready()
        except WS402Error:
            url = self.sessions.provider.gateway_url or self.sessions.provider.name
            logger.warning("the gateway does not answer (%s); sessions can begin when it does", url)

    def _listen(self) -> sockets.socket:
        host, port = self.settings.host, self.settings.port
        family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
        listener = sockets.socket(family, sockets.SOCK_STREAM)
        listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise ConfigurationError(
                f"{host}:{port} cannot be listened on: {error.strerror or error}.",
                remedy="Set PORT (or --port) to a free port, and HOST to an address of this machine.",
            ) from error
        listener.setblocking(False)
        return listener

    def _config(self) -> uvicorn.Config:
        context = self.sessions.socket_context
        return uvicorn.Config(
            self.app,
            http=cast("Any", partial(FirstRequest, context, self._connections, partial(HttpConnection, context))),
            ws="none",  # they know what to upgrade to
            loop="auto",
            lifespan="off",  # `serve` starts and closes what the application needs
            access_log=False,  # it would write session tokens (A35)
            log_config=None,
            proxy_headers=False,  # TRUSTED_PROXIES decides, for sockets too
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
        )


class _Uvicorn(uvicorn.Server):
    """Drains at the first signal, while it still listens and answers probes; stops at once at the second."""

    def __init__(
        self, config: uvicorn.Config, drain: Callable[[], Any], started: Callable[[], None] | None = None
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._when_started = started
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[sockets.socket] | None = None) -> None:
        """Listen."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self._when_started is not None:
            self._when_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """A signal to stop."""
        if self._draining is not None or self._loop is None:
            self.should_exit = True
            self.force_exit = sig == signal.SIGINT
            return
        self._loop.call_soon_threadsafe(self._begin_to_drain)

    def _begin_to_drain(self) -> None:
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain_and_exit(), name="ws402-drain")

    async def _drain_and_exit(self) -> None:
        try:
            await self._drain()
        except Exception:
            logger.exception("draining failed")
        self.should_exit = True


def create_server(
    settings: ServerSettings,
    provider: PaymentProvider,
    *,
    user_id_extractor: UserIdExtractor | None = None,
    on_payment_verified: Callback[PaymentVerified] | None = None,
    on_refund_issued: Callback[RefundIssued] | None = None,
    on_session_end: Callback[SessionEnd] | None = None,
) -> WS402Server:
    """A server that sells the resources of its settings and asks `provider` for everything about money.

    `user_id_extractor` names the user of an upgrade request (by default its `userId`, which proves nothing); the
    callbacks, plain or async, are told what happens. The server starts and closes the provider. Raises
    ConfigurationError for a resource that cannot be sold.
    """
    callbacks = Callbacks(
        on_payment_verified=on_payment_verified, on_refund_issued=on_refund_issued, on_session_end=on_session_end
    )
    listed = settings.resources if settings.resources_file is None else read_resources(settings.resources_file)
    resources = load_resources(listed)
    return WS402Server(
        settings, Sessions(settings, provider, resources, callbacks, user_id_extractor=user_id_extractor)
    )
