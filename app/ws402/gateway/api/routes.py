"""The gateway's calls, by the wire."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive

from ws402.errors import InvalidRequestError, UnavailableError, WS402Error
from ws402.gateway.api.openapi import document
from ws402.gateway.api.operations import Operations, UnreadBatch
from ws402.gateway.api.requests import Requests, still_there
from ws402.gateway.auth.keys import LOOK, Principal, Scope
from ws402.protocol import (
    BatchResponse,
    BlockhashRequest,
    BlockhashResponse,
    GenerateRequest,
    HealthResponse,
    PaymentDetails,
    RefundRequest,
    RefundResponse,
    StatsResponse,
    VerifyRequest,
    VerifyResponse,
)
from ws402.protocol.service import Service

log = logging.getLogger(__name__)

READY_SECONDS: Final = 1.0
"""Probes within this time share one check."""

MAX_OPS: Final = 1000
"""Operations in one batch; our own provider sends fewer."""


class Routes:
    """The calls over one payment service. `provider` is the name that GET /api/health shows.

    `away`: the networks that cannot be reached now. `restored`: those that wait to be reconciled with the ledger.
    """

    def __init__(
        self,
        service: Service,
        requests: Requests,
        *,
        provider: str,
        away: Callable[[], Iterable[str]] = tuple,
        restored: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._service = service
        self._requests = requests
        self._operations = Operations(service)
        self._provider = provider
        self._away, self._restored = away, restored
        self._ready_until = 0.0
        self.draining = False
        """True: no longer ready, because the process ends."""

    def handlers(self) -> list[ASGIRouteHandler]:
        """All of them."""
        post, get = self._requests.post, self._requests.get
        return [
            post("/api/payment/generate", GenerateRequest, self.generate),
            post("/api/payment/verify", VerifyRequest, self.verify),
            post("/api/payment/refund", RefundRequest, self.refund),
            post("/api/ops", UnreadBatch, self.ops),
            get("/api/stats", self.stats, Scope.PAYMENTS, *LOOK),
            self._requests.query("/api/blockhash", BlockhashRequest, self.blockhash, Scope.PAYMENTS),
            get("/api/admin/pending", self._service.pending, *LOOK),
            get("/api/health", self.health),
            get("/health/live", self.health),
            get("/health/startup", self.startup),
            get("/health/ready", self.ready),
            get("/openapi.json", self.openapi, Scope.PAYMENTS, *LOOK),
        ]

    async def generate(self, principal: Principal, request: GenerateRequest, _: Receive) -> PaymentDetails:
        """POST /api/payment/generate."""
        return await self._service.of(principal.tenant).generate(request)

    async def verify(self, principal: Principal, request: VerifyRequest, receive: Receive) -> VerifyResponse:
        """POST /api/payment/verify.

        A stock server repeats a call whose answer it did not get, without a key. Its session therefore stays
        unanswered, and a repeated proof is answered as the first, until an answer is about to go to a client that
        still waits for it.
        """
        response = await self._service.of(principal.tenant).verify(request)
        if request.server_id is None and response.valid and response.session_id and await still_there(receive):
            await self._service.mark_answered(response.session_id)
        return response

    async def refund(self, principal: Principal, request: RefundRequest, _: Receive) -> RefundResponse:
        """POST /api/payment/refund."""
        return await self._service.of(principal.tenant).refund(request)

    async def ops(self, principal: Principal, request: UnreadBatch, _: Receive) -> BatchResponse:
        """POST /api/ops."""
        tenant, ops = principal.tenant, request.ops
        if len(ops) > MAX_OPS:
            raise InvalidRequestError(
                f"A batch has at most {MAX_OPS} operations, not {len(ops)}.", remedy="Send several batches."
            )
        return BatchResponse(results=await self._operations.run(tenant, request.read()))

    async def close(self) -> None:
        """Stop what waits for payments."""
        await self._operations.close()

    async def openapi(self) -> dict[str, Any]:
        """GET /openapi.json: every call with its types."""
        return self.document()

    def document(self) -> dict[str, Any]:
        """What `openapi` answers."""
        return document(self._requests.queries)

    async def stats(self) -> StatsResponse:
        """GET /api/stats."""
        stats = await self._service.stats()
        stats.average_response_time = round(1000 * self._requests.seconds / max(self._requests.calls, 1), 3)
        return stats

    async def blockhash(self, request: BlockhashRequest) -> BlockhashResponse:
        """GET /api/blockhash."""
        return await self._service.blockhash(request.network)

    async def health(self) -> HealthResponse:
        """GET /api/health and /health/live: the process runs and its event loop turns."""
        return HealthResponse(status="ok", provider=self._provider, timestamp=time.time_ns() // 1_000_000)

    async def startup(self) -> HealthResponse:
        """GET /health/startup: the gateway has caught up with its chains."""
        if not self._requests.serving:
            raise UnavailableError("The gateway is starting.", code="starting")
        return await self.health()

    async def ready(self) -> HealthResponse:
        """GET /health/ready: the gateway can do its work now. Anybody may ask, so only a code tells why not."""
        if self.draining:
            raise UnavailableError("The gateway is stopping.", code="draining")
        health = await self.startup()
        if time.monotonic() >= self._ready_until:
            try:
                self._requests.check_ready()
                await self._service.ready()
            except WS402Error as error:
                log.warning("not ready: %s", error)
                raise UnavailableError("The gateway cannot serve payments now.", code=error.code) from None
            self._ready_until = time.monotonic() + READY_SECONDS
        health.away = sorted(self._away()) or None
        health.restored = sorted(self._restored()) or None
        return health
