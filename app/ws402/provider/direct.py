"""The gateway inside the server's process: no HTTP between them."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ws402.backoff import pause
from ws402.errors import UnavailableError
from ws402.protocol import (
    BlockhashResponse,
    Checkpoint,
    CheckpointResponse,
    CollectRequest,
    CollectResponse,
    GenerateRequest,
    PaymentDetails,
    PaymentStatusRequest,
    PaymentStatusResponse,
    RefundRequest,
    RefundResponse,
    RefundStatusResponse,
    ReleaseRequest,
    ResumeRequest,
    ResumeResponse,
    SessionResponse,
    SettleRequest,
    SettleResponse,
    StatsResponse,
    TermsResponse,
    VerifyRequest,
    VerifyResponse,
)
from ws402.protocol.service import Service
from ws402.provider.base import StockNames

ATTEMPTS: Final = 3
BACKOFF_SECONDS: Final = 0.1
MAX_BACKOFF_SECONDS: Final = 5.0

T = TypeVar("T")


class DirectPaymentProvider(StockNames):
    """Calls a payment service in this process as one tenant.

    Repeats a call that the service could not finish (its database was away) with the same idempotency key. Closing the
    provider leaves the service running: it belongs to whoever made it.
    """

    name = "direct"
    gateway_url: str | None = None

    def __init__(self, service: Service, tenant: str = "default", *, attempts: int = ATTEMPTS) -> None:
        self._service = service
        self._calls = service.of(tenant)
        self._attempts = attempts

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def generate(self, request: GenerateRequest, /) -> PaymentDetails:
        """See `PaymentCalls`, as all of these."""
        return await self._repeat(lambda: self._calls.generate(request))

    async def verify(self, request: VerifyRequest, /, *, key: str | None = None) -> VerifyResponse:
        """Check a proof, by a key of its own if none is given."""
        key = key or secrets.token_hex(16)
        response = await self._repeat(lambda: self._calls.verify(request, key=key))
        if request.server_id is None and response.valid and response.session_id:
            await self._service.mark_answered(response.session_id)  # the answer is here
        return response

    async def checkpoint(self, request: Checkpoint, /) -> CheckpointResponse:
        """Report usage."""
        return await self._repeat(lambda: self._calls.checkpoint(request))

    async def settle(self, request: SettleRequest, /) -> SettleResponse:
        """End a session."""
        return await self._repeat(lambda: self._calls.settle(request))

    async def release(self, request: ReleaseRequest, /) -> CheckpointResponse:
        """Hand a live session back."""
        return await self._repeat(lambda: self._calls.release(request))

    async def resume(self, request: ResumeRequest, /, *, key: str | None = None) -> ResumeResponse:
        """Take a session over, by a key of its own if none is given."""
        key = key or secrets.token_hex(16)
        return await self._repeat(lambda: self._calls.resume(request, key=key))

    async def refund_status(self, refund_id: str, /) -> RefundStatusResponse:
        """Where a refund is."""
        return await self._repeat(lambda: self._calls.refund_status(refund_id))

    async def terms(self) -> TermsResponse:
        """In which tokens the service collects."""
        return await self._repeat(self._calls.terms)

    async def collect(self, request: CollectRequest, /, *, key: str | None = None) -> CollectResponse:
        """Collect what a payer signed."""
        return await self._repeat(lambda: self._calls.collect(request, key=key))

    async def session(self, session_id: str, /) -> SessionResponse:
        """How a session stands."""
        return await self._repeat(lambda: self._calls.session(session_id))

    async def payment_status(self, request: PaymentStatusRequest, /) -> PaymentStatusResponse:
        """What has arrived for invoices."""
        return await self._repeat(lambda: self._calls.payment_status(request))

    async def refund(self, request: RefundRequest, /) -> RefundResponse:
        """End a session as stock servers do."""
        return await self._repeat(lambda: self._calls.refund(request))

    async def blockhash(self, network: str | None = None, /) -> BlockhashResponse:
        """A recent blockhash for payers on Solana."""
        return await self._repeat(lambda: self._calls.blockhash(network))

    async def stats(self) -> StatsResponse:
        """The service's counters."""
        return await self._calls.stats()

    async def ready(self) -> None:
        """Whether the service can work."""
        await self._calls.ready()

    async def _repeat(self, call: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(1, self._attempts):
            try:
                return await call()
            except UnavailableError:
                await pause(attempt, first=BACKOFF_SECONDS, most=MAX_BACKOFF_SECONDS)
        return await call()
