"""Batched operations of our own servers: POST /api/ops."""

from __future__ import annotations

from typing import Final

import msgspec

from ws402.money import WireAmount
from ws402.protocol.base import Count, EndReason, Message
from ws402.protocol.collect import CollectRequest, SessionRequest, TermsRequest
from ws402.protocol.gateway import GenerateRequest, InvoiceSecret, PaymentStatus, VerifyRequest
from ws402.protocol.prices import PriceTerms


class Checkpoint(Message, kw_only=True):
    """Usage of a live session so far. `epoch` counts resumes: an older holder of the session is told to let go.

    `units`: how many of each unit that has a price, but time, were used.
    """

    session_id: str
    epoch: Count
    elapsed_ms: Count
    bytes_transferred: Count
    message_count: Count
    units: dict[str, Count] | None = None


class CheckpointResponse(Message, kw_only=True):
    """`live` False: the session ended or moved to another server (`reason`); stop serving it, and do not settle."""

    session_id: str
    live: bool
    reason: EndReason | None = None


class SettleRequest(Checkpoint, kw_only=True):
    """The end of a session: usage is final, the rest is owed to the payer."""

    reason: EndReason


class SettleResponse(Message, kw_only=True):
    """The settlement; the same for every repetition of the request. `refund_id` is unset when nothing is owed."""

    session_id: str
    paid: WireAmount
    consumed: WireAmount
    refund: WireAmount
    refund_id: str | None = None
    refund_state: str | None = None


class ReleaseRequest(Checkpoint, kw_only=True):
    """A server hands a live session back (drain, lost socket): it may be resumed anywhere for a while, unmetered."""


class ResumeRequest(Message, kw_only=True):
    """Take over a session with its one-time token; the answer has the next token."""

    token: str
    server_id: str
    resource_id: str | None = None


class ResumeResponse(Message, kw_only=True):
    """A resumed session: what was paid and already used, and the next one-time token."""

    session_id: str
    epoch: Count
    resume_token: str
    resource_id: str
    payer: str
    network: str
    asset: str
    paid: WireAmount
    price_per_second: WireAmount
    elapsed_ms: Count
    bytes_transferred: Count
    message_count: Count
    price: PriceTerms | None = None
    units: dict[str, Count] | None = None


class RefundStatusRequest(Message, kw_only=True):
    """Where is this refund?"""

    refund_id: str


class RefundStatusResponse(Message, kw_only=True):
    """A refund's state: waiting, due, credit, in_flight, confirmed, final or held; `tx_hash` once it was sent."""

    refund_id: str
    state: str
    amount: WireAmount
    recipient: str
    tx_hash: str | None = None


class PaymentStatusRequest(Message, kw_only=True):
    """What has arrived for these invoices?"""

    invoices: list[InvoiceSecret]


class PaymentStatusResponse(Message, kw_only=True):
    """What has arrived, in the order of the request."""

    payments: list[PaymentStatus]


class Op(Message, kw_only=True, tag_field="op"):
    """One operation of a batch. `key` makes it idempotent: the same key and body give the same answer.

    `traceparent` (W3C Trace Context) lets the operation's trace go on, whatever its neighbours are traced by.
    """

    key: str | None = None
    traceparent: str | None = None


class GenerateOp(Op, kw_only=True, tag="generate"):
    """Ask for an invoice."""

    body: GenerateRequest


class VerifyOp(Op, kw_only=True, tag="verify"):
    """Verify a proof and open (or top up) a session."""

    body: VerifyRequest


class CheckpointOp(Op, kw_only=True, tag="checkpoint"):
    """Report usage."""

    body: Checkpoint


class SettleOp(Op, kw_only=True, tag="settle"):
    """End a session."""

    body: SettleRequest


class ReleaseOp(Op, kw_only=True, tag="release"):
    """Hand a session back."""

    body: ReleaseRequest


class ResumeOp(Op, kw_only=True, tag="resume"):
    """Take a session over."""

    body: ResumeRequest


class RefundStatusOp(Op, kw_only=True, tag="refund_status"):
    """Ask for a refund's state."""

    body: RefundStatusRequest


class TermsOp(Op, kw_only=True, tag="terms"):
    """Ask in which tokens the gateway collects."""

    body: TermsRequest


class CollectOp(Op, kw_only=True, tag="collect"):
    """Collect a transfer that a payer signed."""

    body: CollectRequest


class SessionOp(Op, kw_only=True, tag="session"):
    """Ask how a session stands."""

    body: SessionRequest


class PaymentStatusOp(Op, kw_only=True, tag="payment_status"):
    """Ask what has arrived for invoices."""

    body: PaymentStatusRequest


AnyOp = (
    GenerateOp
    | VerifyOp
    | CheckpointOp
    | SettleOp
    | ReleaseOp
    | ResumeOp
    | RefundStatusOp
    | TermsOp
    | CollectOp
    | SessionOp
    | PaymentStatusOp
)


class BatchRequest(Message, kw_only=True):
    """Operations for the gateway; each is answered on its own, in order."""

    ops: list[AnyOp]


class OpError(Message, kw_only=True):
    """An operation that failed while its neighbours did not. `retry` tells whether the same call may work later.

    `status` is what the operation alone would have been answered with. The code `pending`: a verification with a key
    goes on; the same operation sent again waits for its end.
    """

    code: str
    message: str
    retry: bool
    remedy: str | None = None
    status: Count | None = None


_NOTHING: Final = msgspec.Raw(b"null")


class OpResult(Message, kw_only=True):
    """The answer to one operation: its response's JSON as it is, or (then `ok` is null and left out) an error."""

    ok: msgspec.Raw = _NOTHING
    error: OpError | None = None


class BatchResponse(Message, kw_only=True):
    """Answers in the order of the operations."""

    results: list[OpResult]
