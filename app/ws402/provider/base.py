"""What a WS402 server asks for payments. Implementations: `proxy` (HTTP), `direct` (in process), `mock`."""

from __future__ import annotations

from typing import Any, Protocol

from ws402.protocol import (
    BlockhashResponse,
    Checkpoint,
    CheckpointResponse,
    GenerateRequest,
    PaymentDetails,
    RefundRequest,
    RefundResponse,
    RefundStatusResponse,
    ReleaseRequest,
    ResumeRequest,
    ResumeResponse,
    SettleRequest,
    SettleResponse,
    VerifyRequest,
    VerifyResponse,
)


class PaymentProvider(Protocol):
    """Raises `UnavailableError` when the gateway cannot be reached (the call may be repeated) and other `WS402Error`s
    when it answered no. Calls are idempotent: implementations repeat them safely after a lost answer.
    """

    name: str
    """'proxy', 'direct' or 'mock', as `/status` shows it."""
    gateway_url: str | None

    async def start(self) -> None:
        """Open connections; does not fail when the gateway is away."""

    async def close(self) -> None:
        """Finish calls under way and close connections."""

    async def generate_payment_details(self, request: GenerateRequest) -> PaymentDetails:
        """Ask for an invoice."""

    async def verify_payment(self, request: VerifyRequest) -> VerifyResponse:
        """Verify a proof and open (or top up) a session. May take as long as the payment needs to confirm."""

    async def checkpoint(self, request: Checkpoint) -> CheckpointResponse:
        """Report usage; concurrent calls are sent together."""

    async def settle(self, request: SettleRequest) -> SettleResponse:
        """End a session; the same request always gets the same answer."""

    async def release(self, request: ReleaseRequest) -> CheckpointResponse:
        """Hand a live session back so that it can be resumed elsewhere."""

    async def resume(self, request: ResumeRequest) -> ResumeResponse:
        """Take a session over. Raises ConflictError for a used, unknown or outdated token."""

    async def refund_status(self, refund_id: str) -> RefundStatusResponse:
        """Where a refund is."""

    async def issue_refund(self, request: RefundRequest) -> RefundResponse:
        """End a session as stock servers do, by an amount."""

    async def blockhash(self, network: str | None = None) -> BlockhashResponse:
        """A recent blockhash for payers on Solana. Raises NoSolanaError."""

    async def health_check(self) -> bool:
        """Whether the gateway answers."""

    async def get_gateway_info(self) -> dict[str, Any]:
        """GET /api/stats."""
