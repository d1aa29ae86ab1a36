"""Health, readiness and who is connected."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from ws402.deadlines import within
from ws402.errors import WS402Error
from ws402.jobs import JobDeadError
from ws402.money import wire_amount
from ws402.protocol import SessionStatus, StatusResponse
from ws402.server.reload import ResourceReload
from ws402.server.sessions.service import Sessions
from ws402.server.sockets.handshake import BusyError
from ws402.server.web.answers import AnyRequest, json
from ws402.server.web.callers import require_key
from ws402.server.web.shared import Shared

HEALTH_SECONDS: Final = 5.0
"""How long the gateway may take to answer a health check."""
HEALTH_KEPT_SECONDS: Final = 1.0
"""How long that answer is given out again."""


class GatewayHealth(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """GET /gateway-health."""

    status: str
    gateway_url: str | None = None
    message: str | None = None


class Probe(msgspec.Struct, omit_defaults=True):
    """Answer to a probe. `detail` is what an operator should look at, although the server works; the log says more."""

    status: str
    detail: str | None = None


class StatusRoutes:
    """The probes tell apart: `live`, the process works; `startup`, it has come up; `ready`, it takes new sessions.

    `ready` says nothing about the gateway: when that is away, sessions that are live go on, and every server would drop
    out of the load balancer at once. `/gateway-health` tells.
    """

    def __init__(self, sessions: Sessions, reload: ResourceReload | None = None) -> None:
        self._sessions = sessions
        self._reload = reload
        self.started = False
        self._gateway = Shared(self._gateway_health, HEALTH_KEPT_SECONDS)

    def handlers(self) -> list[HTTPRouteHandler]:
        """The routes."""
        sessions = self._sessions

        @get("/status")
        async def status(request: AnyRequest) -> Response[bytes]:
            if not sessions.settings.status_public:
                require_key(request.scope, sessions.settings.status_key)
            return json(self._status())

        @get("/gateway-health")
        async def gateway_health() -> Response[bytes]:
            answer = await self._gateway()
            return json(answer, 200 if answer.status == "ok" else 503)

        @get("/health/live")
        async def live() -> Response[bytes]:
            return json(Probe("ok"))

        @get("/health/startup")
        async def startup() -> Response[bytes]:
            return json(Probe("ok")) if self.started else json(Probe("starting"), 503)

        @get("/health/ready")
        async def ready() -> Response[bytes]:
            if not self.started:
                return json(Probe("starting"), 503)
            try:
                sessions.admission.check_room()
            except BusyError:
                return json(Probe("draining" if sessions.admission.draining else "full"), 503)
            try:
                sessions.jobs.check()
            except JobDeadError as error:
                return json(Probe("broken", error.message), 503)
            if self._reload is not None and self._reload.broken:
                return json(Probe("ok", "The new list of resources is broken; the one before is sold."))
            return json(Probe("ok"))

        return [status, gateway_health, live, startup, ready]

    def _status(self) -> StatusResponse:
        sessions = self._sessions
        now = sessions.wheel.clock()
        return StatusResponse(
            provider=sessions.provider.name,
            gateway_url=sessions.provider.gateway_url,
            active_sessions=len(sessions.live),
            sessions=[
                SessionStatus(
                    session_id=session.id,
                    user_id=session.user_id,
                    elapsed_seconds=session.meter.elapsed_ms(now) // 1000,
                    remaining_balance=wire_amount(session.meter.remaining(now)),
                )
                for session in sessions.live.values()
            ],
        )

    async def _gateway_health(self) -> GatewayHealth:
        provider = self._sessions.provider
        try:
            await within(HEALTH_SECONDS, provider.ready())
        except (WS402Error, TimeoutError):
            return GatewayHealth(
                status="unhealthy", gateway_url=provider.gateway_url, message="The payment gateway does not answer."
            )
        return GatewayHealth(status="ok", gateway_url=provider.gateway_url)
