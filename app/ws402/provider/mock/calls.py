"""One tenant's calls of the mock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ws402.money import wire_amount
from ws402.protocol import (
    BlockhashResponse,
    Checkpoint,
    CheckpointResponse,
    CollectRequest,
    CollectResponse,
    GenerateRequest,
    PaymentDetails,
    PaymentStatus,
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
from ws402.provider.mock.records import now_ms

if TYPE_CHECKING:
    from ws402.provider.mock.book import MockBook
    from ws402.provider.mock.service import MockPaymentService


class MockCalls:
    """The calls of one tenant, each between the faults that were asked for. See `PaymentCalls`."""

    def __init__(self, service: MockPaymentService, tenant: str) -> None:
        self._service = service
        self._tenant = tenant

    async def generate(self, request: GenerateRequest, /) -> PaymentDetails:
        """Make an invoice."""
        return await self._service.call("generate", lambda: self._service.book.invoice(self._tenant, request))

    async def verify(self, request: VerifyRequest, /, *, key: str | None = None) -> VerifyResponse:
        """Open (or top up) a session."""
        return await self._service.verify(self._tenant, request, key)

    async def checkpoint(self, request: Checkpoint, /) -> CheckpointResponse:
        """Record usage."""
        work = self._service.checkpoint
        return await self._service.call("checkpoint", lambda: work(self._tenant, request, release=False))

    async def release(self, request: ReleaseRequest, /) -> CheckpointResponse:
        """Let a session wait for a resume."""
        work = self._service.checkpoint
        return await self._service.call("release", lambda: work(self._tenant, request, release=True))

    async def settle(self, request: SettleRequest, /) -> SettleResponse:
        """End a session."""
        return await self._service.call("settle", lambda: self._service.settle(self._tenant, request))

    async def resume(self, request: ResumeRequest, /, *, key: str | None = None) -> ResumeResponse:
        """Take a session over."""
        return await self._service.call("resume", lambda: self._service.resume(self._tenant, request, key))

    async def refund_status(self, refund_id: str, /) -> RefundStatusResponse:
        """Where a refund is."""
        return await self._service.call("refund_status", lambda: self._service.refund_status(self._tenant, refund_id))

    async def terms(self) -> TermsResponse:
        """Nothing is collected on the pretended chain."""
        return TermsResponse(tokens=[], default_network=self._service.book.network)

    async def collect(self, request: CollectRequest, /, *, key: str | None = None) -> CollectResponse:  # noqa: ARG002
        """Nothing is collected on the pretended chain."""
        return CollectResponse(state="refused", reason="invalid_network", message="The mock collects nothing.")

    async def session(self, session_id: str, /) -> SessionResponse:
        """How a session stands."""
        return await self._service.call(
            "session", lambda: self._service.book.session_response(self._tenant, session_id)
        )

    async def payment_status(self, request: PaymentStatusRequest, /) -> PaymentStatusResponse:
        """What has arrived for invoices."""
        found = [_arrived(self._service.book, self._tenant, each.reference) for each in request.invoices]
        return await self._service.call("payment_status", lambda: PaymentStatusResponse(payments=found))

    async def refund(self, request: RefundRequest, /) -> RefundResponse:
        """End a session as stock servers do."""
        return await self._service.call("refund", lambda: self._service.refund(self._tenant, request))

    async def blockhash(self, network: str | None = None, /) -> BlockhashResponse:
        """The pretended chain is not Solana."""
        return await self._service.blockhash(network)

    async def stats(self) -> StatsResponse:
        """Counters, as GET /api/stats has them."""
        return await self._service.stats()

    async def ready(self) -> None:
        """Ready unless a fault says otherwise."""
        await self._service.ready()


def _arrived(book: MockBook, tenant: str, reference: str) -> PaymentStatus:
    """What has arrived for an invoice."""
    invoice = book.invoices.get(reference)
    if invoice is None or invoice.tenant != tenant:
        return PaymentStatus(state="unknown")
    if invoice.paid_by is not None:
        return PaymentStatus(state="paid")
    for each in book.transfers.values():
        if each.reference == reference and each.state == "included":
            fits = each.amount >= invoice.amount and each.time <= invoice.expires_at
            return PaymentStatus(
                state="arrived" if fits else "returned",
                tx=each.tx,
                sender=each.sender,
                amount=wire_amount(each.amount),
            )
    return PaymentStatus(state="expired" if now_ms() > invoice.expires_at else "waiting")
