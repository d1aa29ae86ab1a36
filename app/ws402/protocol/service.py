"""The calls of a payment service, as its servers make them, and the service that answers them by tenant."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from ws402.protocol.collect import CollectRequest, CollectResponse, SessionResponse, TermsResponse
from ws402.protocol.details import PaymentDetails
from ws402.protocol.gateway import (
    BlockhashResponse,
    GenerateRequest,
    RefundRequest,
    RefundResponse,
    StatsResponse,
    VerifyRequest,
    VerifyResponse,
)
from ws402.protocol.ops import (
    Checkpoint,
    CheckpointResponse,
    PaymentStatusRequest,
    PaymentStatusResponse,
    RefundStatusResponse,
    ReleaseRequest,
    ResumeRequest,
    ResumeResponse,
    SettleRequest,
    SettleResponse,
)


class PaymentCalls(Protocol):
    """What a WS402 server asks of its gateway, whether over HTTP, in the same process, or of the mock.

    The caller is one tenant: it sees and changes its own invoices and sessions only. Every call may raise a
    `WS402Error`: `UnavailableError` when it may be repeated, another one when the answer is no.
    """

    def generate(self, request: GenerateRequest, /) -> Awaitable[PaymentDetails]:
        """Make an invoice."""

    def verify(self, request: VerifyRequest, /, *, key: str | None = None) -> Awaitable[VerifyResponse]:
        """Check a proof, and open (or top up) a session; a bad proof is an answer, not an error. May take as long as
        the payment needs to confirm. `key`: the same key gets the same answer.
        """

    def checkpoint(self, request: Checkpoint, /) -> Awaitable[CheckpointResponse]:
        """Record usage so far."""

    def settle(self, request: SettleRequest, /) -> Awaitable[SettleResponse]:
        """End a session; the same request always gets the same answer."""

    def release(self, request: ReleaseRequest, /) -> Awaitable[CheckpointResponse]:
        """Hand a live session back so that it can be resumed elsewhere."""

    def resume(self, request: ResumeRequest, /, *, key: str | None = None) -> Awaitable[ResumeResponse]:
        """Take a session over. Raises ConflictError for a used, unknown or outdated token."""

    def refund_status(self, refund_id: str, /) -> Awaitable[RefundStatusResponse]:
        """Where a refund is. Raises NotFoundError."""

    def terms(self) -> Awaitable[TermsResponse]:
        """In which tokens the gateway collects what payers sign."""

    def collect(self, request: CollectRequest, /, *, key: str | None = None) -> Awaitable[CollectResponse]:
        """Bring a signed transfer to the chain and open its session; a refused one is an answer, not an error. Takes
        some seconds at most. Raises ConflictError when its nonce was shown for something else.
        """

    def session(self, session_id: str, /) -> Awaitable[SessionResponse]:
        """What a session was paid, has consumed and gives back. Raises NotFoundError."""

    def payment_status(self, request: PaymentStatusRequest, /) -> Awaitable[PaymentStatusResponse]:
        """What has arrived for invoices whose secrets the caller knows. Raises InvalidRequestError."""

    def refund(self, request: RefundRequest, /) -> Awaitable[RefundResponse]:
        """End a session as stock servers do, by an amount. Raises ConflictError with `refundable`, NotFoundError."""

    def blockhash(self, network: str | None = None, /) -> Awaitable[BlockhashResponse]:
        """A recent blockhash for payers on Solana. Raises NoSolanaError."""

    def stats(self) -> Awaitable[StatsResponse]:
        """Counters and settings, as GET /api/stats has them."""

    def ready(self) -> Awaitable[None]:
        """Raises a WS402Error that says why payments cannot be served now."""


class Service(Protocol):
    """Answers the calls of all tenants: the gateway's core, or the mock in memory. Operators' calls are its own."""

    async def start(self) -> None:
        """Begin work."""

    async def close(self) -> None:
        """Finish calls under way."""

    def of(self, tenant: str, /) -> PaymentCalls:
        """One tenant's calls."""

    async def stats(self) -> StatsResponse:
        """Counters and settings, as GET /api/stats has them."""

    async def blockhash(self, network: str | None, /) -> BlockhashResponse:
        """A recent blockhash for payers on Solana. Raises NoSolanaError."""

    async def ready(self) -> None:
        """Raises a WS402Error that says why payments cannot be served now."""

    async def mark_answered(self, session_id: str, /) -> None:
        """The answer that opened this stock session was handed to a live connection."""

    async def pending(self) -> dict[str, Any]:
        """Open invoices and unfinished refunds, for operators."""
