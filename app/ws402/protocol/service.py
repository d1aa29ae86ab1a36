"""What the HTTP API and the direct provider ask of a payment service: the gateway's core, or the mock in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ws402.protocol import (
    AnyOp,
    BlockhashResponse,
    Checkpoint,
    CheckpointResponse,
    GenerateRequest,
    OpResult,
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
    StatsResponse,
    VerifyRequest,
    VerifyResponse,
)


class Service(Protocol):
    """Every call may raise a `WS402Error`; `tenant` sees and changes its own invoices and sessions only."""

    async def start(self) -> None:
        """Begin work."""

    async def close(self) -> None:
        """Finish calls under way."""

    async def generate(self, tenant: str, request: GenerateRequest, /) -> PaymentDetails:
        """Make an invoice."""

    async def verify(self, tenant: str, request: VerifyRequest, /, *, key: str | None = None) -> VerifyResponse:
        """Open (or top up) a session; a bad proof is an answer, not an error."""

    async def checkpoint(self, tenant: str, request: Checkpoint, /) -> CheckpointResponse:
        """Record usage."""

    async def settle(self, tenant: str, request: SettleRequest, /) -> SettleResponse:
        """End a session."""

    async def release(self, tenant: str, request: ReleaseRequest, /) -> CheckpointResponse:
        """Let a session wait for a resume."""

    async def resume(self, tenant: str, request: ResumeRequest, /, *, key: str | None = None) -> ResumeResponse:
        """Take a session over. Raises ConflictError."""

    async def refund_status(self, tenant: str, request: RefundStatusRequest, /) -> RefundStatusResponse:
        """Where a refund is. Raises NotFoundError."""

    async def refund(self, tenant: str, request: RefundRequest, /) -> RefundResponse:
        """End a session as stock servers do. Raises ConflictError with `refundable`."""

    async def run(self, tenant: str, ops: list[AnyOp], /) -> Sequence[OpResult]:
        """Answer a batch, each operation on its own, in order."""

    async def mark_answered(self, session_id: str, /) -> None:
        """The answer that opened this stock session was handed to a live connection."""

    async def pending(self) -> dict[str, Any]:
        """Open invoices and unfinished refunds, for operators."""

    async def stats(self) -> StatsResponse:
        """Counters and settings of GET /api/stats."""

    async def blockhash(self, network: str | None, /) -> BlockhashResponse:
        """A recent blockhash for payers on Solana. Raises NoSolanaError."""

    async def ready(self) -> None:
        """Raises a WS402Error that says why this service cannot do its work now."""
