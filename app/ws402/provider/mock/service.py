"""A payment service in memory, on a pretended chain: the gateway's behaviour without its durability. For tests only."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from ws402.errors import ConflictError, InvalidRequestError, NoSolanaError, NotFoundError
from ws402.money import parse_amount, wire_amount
from ws402.protocol import (
    BlockhashResponse,
    Checkpoint,
    CheckpointResponse,
    EndReason,
    RefundRequest,
    RefundResponse,
    RefundStatusResponse,
    RejectCode,
    ResumeRequest,
    ResumeResponse,
    SettleRequest,
    SettleResponse,
    StatsResponse,
    VerifyRequest,
    VerifyResponse,
    price_terms,
)
from ws402.provider.mock.book import REASONS, MockBook
from ws402.provider.mock.calls import MockCalls
from ws402.provider.mock.faults import Call, Faults
from ws402.provider.mock.records import RECIPIENT, MockRefusal, MockSession, check_transfer, now_ms, record

T = TypeVar("T")


class MockPaymentService:
    """Implements the gateway's `Service`.

    With `auto_pay`, a proof whose transaction nobody paid counts as paid by its sender, exactly as the invoice asks, so
    that any client can use a server without a chain. Without it, only `pay` makes transfers.
    """

    def __init__(self, *, network: str = "base-sepolia", auto_pay: bool = True, faults: Faults | None = None) -> None:
        self.book = MockBook(network)
        self.faults = faults or Faults()
        self.auto_pay = auto_pay
        self.deliver_refunds = True
        """Refunds are final when asked for; False keeps them due."""
        self._answers: dict[tuple[str, str], tuple[bytes, Any]] = {}
        self._started = time.monotonic()
        self._verified = 0
        self._rejected = 0

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def of(self, tenant: str) -> MockCalls:
        """One tenant's calls."""
        return MockCalls(self, tenant)

    async def mark_answered(self, session_id: str) -> None:
        """The stock server has the answer."""
        self.book.sessions[session_id].answered = True

    async def pending(self) -> dict[str, Any]:
        """Open invoices and unfinished refunds."""
        return {
            "invoices": [each.reference for each in self.book.invoices.values() if each.paid_by is None],
            "refunds": [refund.id for refund in self.book.refunds.values() if refund.state != "final"],
        }

    async def stats(self) -> StatsResponse:
        """Counters, as GET /api/stats has them."""
        volume: dict[str, int] = {}
        for session in self.book.sessions.values():
            volume[session.asset] = volume.get(session.asset, 0) + session.paid
        return StatsResponse(
            gateway="ws402",
            provider="mock",
            network=self.book.network,
            chain_id=self.book.chain_id,
            merchant_wallet=RECIPIENT,
            auto_refund_enabled=True,
            uptime=int(time.monotonic() - self._started),
            timestamp=now_ms(),
            payments_verified=self._verified,
            payments_rejected=self._rejected,
            refunds_issued=len(self.book.refunds),
            refunds_failed=0,
            total_volume={self.book.network: {asset: wire_amount(total) for asset, total in volume.items()}},
            average_response_time=0.0,
            default_asset="ETH",
            assets=self.book.sold_for(),
        )

    async def blockhash(self, network: str | None) -> BlockhashResponse:
        """The pretended chain is not Solana."""
        raise NoSolanaError(
            f"Nothing is paid on {network or 'Solana'} here, so there is no blockhash.",
            remedy="Pay on the network that the schema names.",
        )

    async def ready(self) -> None:
        """Ready unless a fault says otherwise."""
        await self.faults.before("ready")

    def end_session(self, session_id: str, reason: EndReason = EndReason.REORGED) -> None:
        """End a session behind its server's back, as a reorg, an operator or the vanish timer does."""
        session = self.book.sessions[session_id]
        if reason is EndReason.REORGED:
            self.book.reverse(session)
        else:
            self.book.end(session, session.cost, reason)

    # --- the work, between two faults ------------------------------------------------------------------------------

    async def call(self, name: Call, work: Callable[[], T]) -> T:
        """Do one call, between two faults."""
        await self.faults.before(name)
        answer = work()
        if (error := self.faults.lost(name)) is not None:
            raise error
        return answer

    def _once(self, tenant: str, key: str | None, request: msgspec.Struct, work: Callable[[], T]) -> T:
        """The first answer again for the same idempotency key; refusals and errors are not kept."""
        if key is None:
            return work()
        body = sha256(type(request).__name__.encode() + msgspec.json.encode(request)).digest()
        known = self._answers.get((tenant, key))
        if known is not None:
            if known[0] != body:
                raise ConflictError("The idempotency key was used for another request.", code="idempotency_conflict")
            kept: T = known[1]
            return kept
        answer = work()
        if getattr(answer, "valid", True):
            self._answers[tenant, key] = (body, answer)
        return answer

    async def verify(self, tenant: str, request: VerifyRequest, key: str | None) -> VerifyResponse:
        """Open (or top up) a session; one whose answer is lost stays unanswered."""
        await self.faults.before("verify")
        answer = self._once(tenant, key, request, lambda: self._verify(tenant, request))
        if (error := self.faults.lost("verify")) is not None:
            if answer.valid and answer.session_id:
                self.book.sessions[answer.session_id].answered = False
            raise error
        return answer

    def _verify(self, tenant: str, request: VerifyRequest) -> VerifyResponse:
        if (refusal := self.faults.refusal()) is not None:
            return self._refused(*refusal)
        try:
            session, amount = self._claim(tenant, request)
        except MockRefusal as refused:
            return self._refused(refused.code)
        return self._accepted(session, amount)

    def _claim(self, tenant: str, request: VerifyRequest) -> tuple[MockSession, int]:
        """The session that the proof pays, and with how much. Raises MockRefusal."""
        proof = request.proof
        if not proof.tx or not proof.sender or not proof.reference:
            raise MockRefusal(RejectCode.MALFORMED_PROOF)
        invoice = self.book.invoices.get(proof.reference)
        if invoice is None or invoice.tenant != tenant:
            raise MockRefusal(RejectCode.UNKNOWN_INVOICE)
        if request.resource_id is not None and request.resource_id != invoice.resource_id:
            raise MockRefusal(RejectCode.RESOURCE_MISMATCH)
        tx = proof.tx.lower()
        if (claimed := self.book.claims.get(tx)) is not None or invoice.paid_by:
            session = self.book.sessions[claimed or invoice.paid_by or ""]
            if claimed != invoice.paid_by or session.answered:
                raise MockRefusal(RejectCode.ALREADY_CLAIMED)
            session.answered = True
            return session, self.book.transfers[tx].amount
        transfer = self.book.transfers.get(tx)
        if transfer is None:
            if now_ms() > invoice.expires_at:
                raise MockRefusal(RejectCode.INVOICE_EXPIRED)
            if not self.auto_pay:
                raise MockRefusal(RejectCode.TRANSFER_NOT_FOUND)
            transfer = self.book.pay(invoice, sender=proof.sender, tx=tx)
        check_transfer(invoice, transfer, proof.sender)
        target = None
        if session_id := invoice.session_id or request.session_id:
            target = self.book.sessions.get(session_id)
            if target is None or target.tenant != tenant or target.state not in ("live", "released"):
                raise MockRefusal(RejectCode.SESSION_ENDED)
        return self.book.claim(invoice, transfer, request.server_id, target), transfer.amount

    def _accepted(self, session: MockSession, amount: int) -> VerifyResponse:
        self._verified += 1
        price = session.price
        return VerifyResponse(
            valid=True,
            amount=wire_amount(amount),
            session_id=session.id,
            payer=session.payer,
            network=session.network,
            asset=session.asset,
            resource_id=session.resource_id,
            price_per_second=None if price is None else wire_amount(price.per_second),
            price=None if price is None or price.whole else price_terms(price),
            resume_token=session.resume_token if session.server_id else None,
            epoch=session.epoch,
        )

    def _refused(self, code: RejectCode, reason: str | None = None) -> VerifyResponse:
        self._rejected += 1
        reason = reason or REASONS.get(code, f"Refused: {code}.")
        return VerifyResponse(valid=False, amount=0, code=code, reason=reason)

    def _session(self, tenant: str, session_id: str) -> MockSession:
        session = self.book.sessions.get(session_id)
        if session is None or session.tenant != tenant:
            raise NotFoundError(f"There is no session '{session_id}'.")
        return session

    def checkpoint(self, tenant: str, request: Checkpoint, *, release: bool) -> CheckpointResponse:
        """Record usage, and release the session if so asked."""
        session = self._session(tenant, request.session_id)
        if session.epoch != request.epoch:
            return CheckpointResponse(session_id=session.id, live=False, reason=EndReason.SUPERSEDED)
        if session.state in ("ended", "reversed"):
            return CheckpointResponse(session_id=session.id, live=False, reason=session.reason)
        record(session, request)
        session.state = "released" if release else "live"
        return CheckpointResponse(session_id=session.id, live=True)

    def settle(self, tenant: str, request: SettleRequest) -> SettleResponse:
        """End a session."""
        session = self._session(tenant, request.session_id)
        if session.epoch != request.epoch:
            raise ConflictError("The session moved to another server.", code="superseded")
        if session.state not in ("ended", "reversed"):
            record(session, request)
            self.book.end(session, session.cost, request.reason)
        return SettleResponse(
            session_id=session.id,
            paid=wire_amount(session.paid),
            consumed=wire_amount(session.consumed),
            refund=wire_amount(session.refunded),
            refund_id=session.refund.id if session.refund else None,
            refund_state=session.refund.state if session.refund else None,
        )

    def resume(self, tenant: str, request: ResumeRequest, key: str | None) -> ResumeResponse:
        """Take a session over."""
        return self._once(tenant, key, request, lambda: self._resume(tenant, request))

    def _resume(self, tenant: str, request: ResumeRequest) -> ResumeResponse:
        session = self.book.sessions.get(self.book.tokens.get(request.token, ""))
        if session is None or session.tenant != tenant or session.resume_token != request.token:
            raise ConflictError("The resume token is unknown or was used.", code="resume_refused")
        if session.state in ("ended", "reversed"):
            raise ConflictError("The session has ended.", code="session_ended")
        if request.resource_id is not None and request.resource_id != session.resource_id:
            raise ConflictError("The session is for another resource.", code="resource_mismatch")
        if (price := session.price) is None:
            raise InvalidRequestError("The session has no price.")
        session.epoch += 1
        session.state, session.server_id = "live", request.server_id
        self.book.new_token(session)
        return ResumeResponse(
            session_id=session.id,
            epoch=session.epoch,
            resume_token=session.resume_token,
            resource_id=session.resource_id,
            payer=session.payer,
            network=session.network,
            asset=session.asset,
            paid=wire_amount(session.paid),
            price_per_second=wire_amount(price.per_second),
            price=None if price.whole else price_terms(price),
            elapsed_ms=session.elapsed_ms,
            bytes_transferred=session.bytes_transferred,
            message_count=session.message_count,
            units=session.units or None,
        )

    def refund_status(self, tenant: str, refund_id: str) -> RefundStatusResponse:
        """Where a refund is."""
        refund = self.book.refunds.get(refund_id)
        if refund is None or refund.tenant != tenant:
            raise NotFoundError(f"There is no refund '{refund_id}'.")
        if self.deliver_refunds and refund.state == "due":
            refund.state, refund.tx = "final", "0x" + sha256(refund.id.encode()).hexdigest()
        return RefundStatusResponse(
            refund_id=refund.id,
            state=refund.state,
            amount=wire_amount(refund.amount),
            recipient=refund.recipient,
            tx_hash=refund.tx,
        )

    def refund(self, tenant: str, request: RefundRequest) -> RefundResponse:
        """End a session as stock servers do."""
        amount = parse_amount(request.amount, zero=True)
        session_id = self.book.claims.get((request.proof.tx or "").lower(), "")
        session = self.book.sessions.get(session_id)
        if session is None or session.tenant != tenant:
            raise NotFoundError("No payment of this proof is known.")
        ended = session.state in ("ended", "reversed")
        refundable = session.refunded if ended else session.paid
        if (amount != refundable) if ended else (amount > refundable):
            error = ConflictError(f"At most {refundable} can be refunded.", code="over_refundable")
            error.refundable = refundable  # type: ignore[attr-defined]  # the core's contract
            raise error
        if not ended:
            self.book.end(session, session.paid - amount, EndReason.REFUND_REQUESTED)
        refund = session.refund
        return RefundResponse(
            status="success",
            amount=wire_amount(amount),
            recipient=session.payer,
            message="The refund is recorded and will be delivered.",
            timestamp=now_ms(),
            refund_id=refund.id if refund else None,
            state=refund.state if refund else None,
            tx_hash=refund.tx if refund else None,
        )
