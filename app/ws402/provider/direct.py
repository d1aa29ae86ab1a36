"""The gateway inside the server's process: no HTTP between them."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from ws402.errors import UnavailableError, WS402Error
from ws402.protocol import (
    BlockhashResponse,
    Checkpoint,
    CheckpointResponse,
    GenerateRequest,
    PaymentDetails,
    RefundRequest,
    RefundResponse,
    RefundStatusRequest,
    RefundStatusResponse,
    ReleaseRequest,
    ResumeRequest,
    ResumeResponse,
    SettleRequest,
    SettleResponse,
    VerifyRequest,
    VerifyResponse,
)
from ws402.protocol.service import Service

ATTEMPTS: Final = 3
BACKOFF_SECONDS: Final = 0.1

T = TypeVar("T")


class DirectPaymentProvider:
    """Calls a payment service in this process as one tenant.

    Repeats a call that the service could not finish (its database was away) with the same idempotency key. Closing the
    provider leaves the service running: it belongs to whoever made it.
    """

    name = "direct"
    gateway_url: str | None = None

    def __init__(self, service: Service, tenant: str = "default", *, attempts: int = ATTEMPTS) -> None:
        self._service = service
        self._tenant = tenant
        self._attempts = attempts

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def generate_payment_details(self, request: GenerateRequest) -> PaymentDetails:
        """Ask for an invoice."""
        return await self._repeat(lambda: self._service.generate(self._tenant, request))

    async def request_payment_details(self, request: GenerateRequest) -> PaymentDetails:
        """Another name for `generate_payment_details`, which existing users know."""
        return await self.generate_payment_details(request)

    async def verify_payment(self, request: VerifyRequest) -> VerifyResponse:
        """Verify a proof and open (or top up) a session."""
        key = secrets.token_hex(16)
        response = await self._repeat(lambda: self._service.verify(self._tenant, request, key=key))
        if request.server_id is None and response.valid and response.session_id:
            await self._service.mark_answered(response.session_id)  # the answer is here
        return response

    async def checkpoint(self, request: Checkpoint) -> CheckpointResponse:
        """Report usage."""
        return await self._repeat(lambda: self._service.checkpoint(self._tenant, request))

    async def settle(self, request: SettleRequest) -> SettleResponse:
        """End a session."""
        return await self._repeat(lambda: self._service.settle(self._tenant, request))

    async def release(self, request: ReleaseRequest) -> CheckpointResponse:
        """Hand a live session back."""
        return await self._repeat(lambda: self._service.release(self._tenant, request))

    async def resume(self, request: ResumeRequest) -> ResumeResponse:
        """Take a session over."""
        key = secrets.token_hex(16)
        return await self._repeat(lambda: self._service.resume(self._tenant, request, key=key))

    async def refund_status(self, refund_id: str) -> RefundStatusResponse:
        """Where a refund is."""
        request = RefundStatusRequest(refund_id=refund_id)
        return await self._repeat(lambda: self._service.refund_status(self._tenant, request))

    async def issue_refund(self, request: RefundRequest) -> RefundResponse:
        """End a session as stock servers do."""
        return await self._repeat(lambda: self._service.refund(self._tenant, request))

    async def blockhash(self, network: str | None = None) -> BlockhashResponse:
        """A recent blockhash for payers on Solana."""
        return await self._repeat(lambda: self._service.blockhash(network))

    async def health_check(self) -> bool:
        """Whether the service can work."""
        try:
            await self._service.ready()
        except WS402Error:
            return False
        return True

    async def get_gateway_info(self) -> dict[str, Any]:
        """The service's figures, as GET /api/stats has them."""
        info: dict[str, Any] = msgspec.to_builtins(await self._service.stats())
        return info

    async def _repeat(self, call: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(1, self._attempts):
            try:
                return await call()
            except UnavailableError:
                await asyncio.sleep(random.uniform(0, BACKOFF_SECONDS * 2**attempt))  # noqa: S311 - not a secret
        return await call()
