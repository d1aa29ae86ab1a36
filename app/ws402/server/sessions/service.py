"""The sessions of one server and everything that they need: put together, started, stopped, handed to the routes."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from ws402.jobs import Jobs
from ws402.provider.base import PaymentProvider
from ws402.server.addresses import TrustedProxies, query_value
from ws402.server.calls import Calls
from ws402.server.catalog import Catalog
from ws402.server.events import Callbacks
from ws402.server.resources.base import Resource
from ws402.server.sessions.arrivals import Arrivals
from ws402.server.sessions.checkpoints import Checkpointer
from ws402.server.sessions.context import SessionContext
from ws402.server.sessions.ends import Ends
from ws402.server.sessions.inbox import Inbox
from ws402.server.sessions.live import Live
from ws402.server.sessions.opening import Opening
from ws402.server.sessions.over_http import OverHttp
from ws402.server.sessions.session import Session
from ws402.server.sessions.terms import Terms
from ws402.server.sockets.admission import Admission
from ws402.server.sockets.context import SocketContext
from ws402.server.sockets.handshake import Upgrade
from ws402.server.sockets.socket import Socket
from ws402.server.wheel import Wheel
from ws402.settings import ServerSettings

MAX_USER_ID: Final = 256

UserIdExtractor = Callable[[Upgrade], str]
"""Who opens a socket, from its upgrade request."""

logger = logging.getLogger(__name__)


class Sessions:
    """Only puts together: each part knows what it was handed, and no part knows this."""

    def __init__(
        self,
        settings: ServerSettings,
        provider: PaymentProvider,
        resources: Mapping[str, Resource],
        callbacks: Callbacks,
        *,
        user_id_extractor: UserIdExtractor | None = None,
        wheel: Wheel | None = None,
    ) -> None:
        self.settings = settings
        self.provider = provider
        self.wheel = wheel or Wheel()
        self.calls = Calls()
        callbacks.spawn = self.calls.spawn
        self.catalog = Catalog(resources)
        self.proxies = TrustedProxies(settings.trusted_proxies)
        self.live = Live()
        self.admission = Admission(settings, self.proxies, self.live)
        self.ends = Ends(provider, self.calls)
        self.session_context = SessionContext(
            wheel=self.wheel,
            ends=self.ends,
            callbacks=callbacks,
            forget=self._forget,
            is_draining=lambda: self.admission.draining,
            update_interval=settings.update_interval,
            ping_interval=int(settings.ping_seconds * 1000),
        )
        self.server_id = "srv_" + secrets.token_hex(8)
        """This process, to the gateway."""
        self.terms = Terms(provider)
        opening = Opening(
            settings,
            provider,
            self.catalog,
            self.live,
            self.calls,
            self.session_context,
            server_id=self.server_id,
        )
        self.socket_context = SocketContext(
            wheel=self.wheel,
            admission=self.admission,
            proxies=self.proxies,
            catalog=self.catalog,
            inbox=Inbox(opening),
            user_id=_user_id(user_id_extractor),
            handshake_seconds=settings.handshake_seconds,
            max_write_buffer_bytes=settings.max_write_buffer_bytes,
        )
        self.over_http = OverHttp(settings, self.session_context, self.live)
        self._checkpointer = Checkpointer(
            provider,
            lambda: list(self.live.values()),
            interval_seconds=settings.checkpoint_seconds,
            clock=self.wheel.clock,
        )
        self.arrivals = Arrivals(provider)
        self.jobs = Jobs(
            [self._checkpointer.job, self.arrivals.job, *([self.terms.job] if settings.x402.enabled else [])]
        )

    @property
    def resources(self) -> Mapping[str, Resource]:
        """What is sold now."""
        return self.catalog.resources

    @property
    def waiting(self) -> set[Socket]:
        """Sockets that have not paid."""
        return self.admission.waiting

    async def start(self) -> None:
        """Connect to the gateway (it may be away), start the resources and the timers."""
        await self.provider.start()
        for resource in self.resources.values():
            await resource.start()
        self.wheel.start()
        self.jobs.start()

    async def close(self, flush_seconds: float = 5) -> None:
        """Hand back what is still live, tell the gateway all that is left, then close everything."""
        for session in list(self.live.values()):
            session.hand_over()
        await self.calls.finish(flush_seconds)
        await self.ends.flush(flush_seconds)
        await self.ends.close()
        await self.jobs.close()
        self.wheel.stop()
        for resource in self.resources.values():
            await resource.close()
        await self.provider.close()

    def _forget(self, session: Session) -> None:
        self.live.forget(session)
        self.wheel.cancel(session)


def _user_id(extractor: UserIdExtractor | None) -> Callable[[Upgrade, str], str]:
    """Who opens a socket: as the server's owner says, or as the query string claims."""

    def user_id(request: Upgrade, query: str) -> str:
        if extractor is not None:
            try:
                return extractor(request)[:MAX_USER_ID]
            except Exception:
                logger.exception("user_id_extractor failed")
        return query_value(query, "userId")[:MAX_USER_ID] or "anonymous"

    return user_id
